"""A hundred thousand inner records of registered clients, spoiled and signed anew, against every protocol."""

import logging
import resource
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Begin, Deadline, Message, Upload, plan, set_up
from crypto.keys.roster import Identity, Roster, make_identities
from crypto.planning.masks import Mode
from crypto.protocols.bookkeeping import log
from crypto.protocols.masks.server import MaskServer
from crypto.running.driver import Outcome, deliver
from crypto.running.rehearsal import rehearse
from crypto.testing import Bench, check_insiders, corrupt, random_vectors
from crypto.testing.bad_values import Spoiling
from crypto.testing.faults import Draws
from crypto.wire.messages import Input, Item

NAMES = tuple(f"c{i}" for i in range(9))
UPLOADS = (Upload(name="g", length=400, bound=1000), Upload(name="h", length=2, bound=5, noise_bound=9))
INSIDERS = (("c1", "c4", "c6"), ("c0", "c8"), ("c7",))
# How many runs of each protocol the campaign takes, and how many of them the second stage runs.
RUNS = {"plain": (300, 20), "bfv": (150, 5), "mpc": (300, 10), "secagg": (300, 6), "secagg+": (300, 6)}
# The same for floods, and how many signed records those are at least.
KINDS = ("hello", "open", "offer", "masked", "shares", "confirmed")
FLOODS = {
    "plain": (1500, 12_500, 60),
    "bfv": (300, 7_500, 6),
    "mpc": (220, 66_000, 4),
    "secagg": (650, 7_000, 24),
    "secagg+": (650, 7_000, 24),
}
VECTORS = ("masked", "vector", "ciphertexts", "share")
SECONDS, MEMORY, GROWTH = 60.0, 1 << 25, 1 << 18


def bench_of(protocol: str, mode: Mode) -> tuple[Bench, dict[str, Identity]]:
    loose = plan(protocol, NAMES, UPLOADS, 20, max_dropouts=3)
    identities = make_identities((*NAMES, *loose.roles))
    made = loose.pinned(Roster.of(identities.values()), mode)
    return Bench(made, rehearse(made, identities)), identities


def one_run(protocol: str, seed: int) -> Counter[str]:
    """One cohort among insiders; how many records of each kind they signed."""
    masked = protocol.startswith("secagg")
    bench, identities = bench_of(protocol, "active" if masked and seed % 2 else "semi-honest")
    insiders = INSIDERS[seed % 3]
    silent = ("c2",) if seed % 5 == 0 and len(insiders) < 3 else ()
    spoiling, rate = Spoiling(Draws("campaign", protocol, seed)), (0.3, 0.7, 1.0)[seed // 3 % 3]
    came = check_insiders(
        bench, insiders, identities, silent=silent, seed=f"campaign {seed}", rate=rate, sums=3, spoiling=spoiling
    )
    assert came > 0
    return Counter(spoiling.signed)


class Watch:
    """Memory and time of many runs."""

    def __init__(self) -> None:
        self.signed: Counter[str] = Counter()
        # Kibibytes, on Linux.
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def run(self, place: int, run: Callable[[], Counter[str]]) -> None:
        """One run; every fiftieth with its memory traced."""
        begun = time.monotonic()
        if place % 50 == 3:
            tracemalloc.start()
        # Pytest keeps every line that is logged, and with it the message that the line is about.
        log.propagate = False
        try:
            self.signed += run()
        finally:
            log.propagate = True
        if tracemalloc.is_tracing():
            assert tracemalloc.get_traced_memory()[1] < MEMORY
            tracemalloc.stop()
        assert time.monotonic() - begun < SECONDS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before < GROWTH


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("protocol", sorted(RUNS))
def test_nothing_that_insiders_sign_is_taken_for_something_else(
    protocol: str, campaign: Callable[[int, int], list[int]]
) -> None:
    """No honest client is blamed, no sum wrong, no party stumbles or hangs, and memory stays bounded."""
    count, sample = RUNS[protocol]
    one_run(protocol, 0)
    watch = Watch()
    for place, seed in enumerate(campaign(count, sample)):
        watch.run(place, lambda seed=seed: one_run(protocol, seed))  # type: ignore[misc]
    assert watch.signed.total() > 0


class Lenient:
    """A server that forgives: who is at fault goes on, so that thousands of messages of one client reach every check.
    What it refuses must have changed nothing.
    """

    def __init__(self, party: Any) -> None:
        self.name, self._party, self._inner = "server", party, party._inner
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.forged: set[bytes] = set()
        self._inner._faults.note = lambda fault: True
        if isinstance(self._inner, MaskServer):
            self._inner._leave_out = lambda *indices: ()  # type: ignore[method-assign]

    def start(self) -> tuple[Item, ...]:
        return tuple(self._party.start())

    def on(self, item: Input) -> tuple[Item, ...]:
        """Note what is accepted of what was forged: what is ignored or at fault leaves a line in the log."""
        lines: list[str] = []
        handler = logging.Handler(logging.INFO)
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        level = log.level
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            answer = tuple(self._party.on(item))
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
        assert not any("stumbled" in line for line in lines), lines
        if isinstance(item, Message) and item.payload in self.forged and (not lines or self._shares_taken(item)):
            self.accepted[item.sender, item.kind] += 1
        return answer

    def _shares_taken(self, item: Message) -> bool:
        """Right shares with a bad offer in one message: the shares are taken, and the offer is at fault."""
        current = self._inner._current if item.kind == "shares" else None
        opening = None if current is None else current.opening
        return opening is not None and NAMES.index(item.sender) in opening.answered


def flood(protocol: str, seed: int) -> Counter[str]:
    """Two clients send many spoiled messages before each one of a kind, all of them signed; how many of each kind."""
    masked = protocol.startswith("secagg")
    bench, identities = bench_of(protocol, "active" if masked and seed % 2 else "semi-honest")
    server = Lenient(bench.parties["server"])
    spoiling = Spoiling(Draws("flood", protocol, seed))
    parties: dict[str, Any] = {**bench.parties, "server": server}
    flooded = KINDS[seed // 2 % len(KINDS)]

    outcomes: list[Outcome] = []

    def change(message: Message) -> Iterable[Message]:
        envelope = parties[message.sender]._envelope
        for _ in range(60 if message.kind == flooded or not masked else 0):
            # A client whose forgery was accepted has said what it has said: more would only come second.
            if any(name == message.sender for name, _ in server.accepted):
                break
            payload = spoiling.spoiled(message, identities[message.sender])
            server.forged.add(payload)
            outcomes.extend(deliver(parties, envelope.sign((replace(message, payload=payload),))))
        return (message,)

    for name in ("c1", "c6"):
        parties[name] = corrupt(parties[name], change)
    set_up(parties)
    for _ in range(4):
        deliver(parties, (), inputs={"server": (Deadline(0, "-"),)})
    for number in range(2):
        vectors = random_vectors(bench.plan, UPLOADS[0], f"flood {seed} {number}")
        outcomes += deliver(parties, (), inputs={"server": (Begin(number, "g"),)})
        for name in NAMES:
            if parties[name].ready:
                outcomes += deliver(parties, parties[name].submit(number, "g", vectors[name]))
        for _ in range(6):
            if not outcomes:
                outcomes += deliver(parties, (), inputs={"server": (Deadline(number, "g"),)})
        outcome = outcomes.pop()
        assert outcomes == []
        assert outcome.blamed == ()
        said = {name for name, _ in server.accepted}
        # Where a forgery was accepted, its sender has ruined a sum, or is missing; nothing else has changed anything.
        if isinstance(outcome, Abort):
            assert said, outcome.reason
            break
        assert {*NAMES} - said <= {*outcome.contributors}
        total = np.sum([vectors[name] for name in outcome.contributors], axis=0)
        assert np.array_equal(outcome.total, total) or any(kind in VECTORS for _, kind in server.accepted)
    return Counter(spoiling.signed)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("protocol", sorted(FLOODS))
def test_refused_messages_change_nothing(protocol: str, campaign: Callable[[int, int], list[int]]) -> None:
    """A hundred thousand of them in the whole campaign."""
    count, least, sample = FLOODS[protocol]
    seeds = campaign(count, sample)
    flood(protocol, 0)
    watch = Watch()
    for place, seed in enumerate(seeds):
        watch.run(place, lambda seed=seed: flood(protocol, seed))  # type: ignore[misc]
    assert watch.signed.total() >= (least if len(seeds) == count else len(seeds))
