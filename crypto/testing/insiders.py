"""Clients that sign nonsense: what must survive registered clients that say what no client says.

`corrupt` turns a client's session into one whose messages are changed before they are signed, so that they pass every
check of the envelope. `check_insiders` lets some clients of a bench do so at random, inner signatures included.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from crypto.errors import SubmissionRefused
from crypto.keys.roster import Identity
from crypto.protocols.bookkeeping import log
from crypto.protocols.envelope import SealedClient
from crypto.protocols.session import BareClient, ClientSession
from crypto.running.driver import MAX_DEADLINES, Outcome, Party, deliver, set_up
from crypto.testing.bad_values import Spoiling
from crypto.testing.bench import Bench, ConformanceError, Vectors, expect, random_vectors
from crypto.testing.faults import Draws
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Input, Item, Message

Change = Callable[[Message], Iterable[Message]]


@dataclass
class _Changed:
    """A client whose messages are changed before they reach its envelope."""

    inner: BareClient
    change: Change

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def ready(self) -> bool:
        return self.inner.ready

    @property
    def public(self) -> object | None:
        return self.inner.public

    def start(self) -> tuple[Item, ...]:
        return self._changed(self.inner.start())

    def on(self, item: Input) -> tuple[Item, ...]:
        return self._changed(self.inner.on(item))

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        sent = self._changed(self.inner.submit(round, upload, vector, model))
        return tuple(item for item in sent if isinstance(item, Message))

    def _changed(self, items: Iterable[Item]) -> tuple[Item, ...]:
        return tuple(new for item in items if isinstance(item, Message) for new in self.change(item))


def corrupt(client: object, change: Change) -> ClientSession:
    """The same client, in the same envelope; `change` says what it sends instead of each message, if anything.

    Raises:
        ConformanceError: it is no session that `crypto.open_client` opened.
    """
    if not isinstance(client, SealedClient):
        raise ConformanceError("a client is made corrupt through its envelope; open it with crypto.open_client")
    return client.with_inner(lambda inner: _Changed(inner, change))


@dataclass
class _Spoiler:
    """Changes a share of one client's messages; `vectors` says whether one that carries a vector was among them."""

    draws: Draws
    spoiling: Spoiling
    identity: Identity | None
    rate: float
    vectors: bool = False
    submitting: bool = field(default=False)

    def change(self, message: Message) -> tuple[Message, ...]:
        if not self.draws.chance(self.rate):
            return (message,)
        self.vectors |= self.submitting
        if self.draws.chance(0.1):
            return ()
        return (replace(message, payload=self.spoiling.spoiled(message, self.identity)),)


@dataclass
class _Mute:
    """Lets so many messages of one client through and no more."""

    left: int

    def change(self, message: Message) -> tuple[Message, ...]:
        self.left -= 1
        return (message,) if self.left >= 0 else ()


def check_insiders(
    bench: Bench,
    names: Collection[str],
    identities: dict[str, Identity] | None = None,
    *,
    silent: Collection[str] = (),
    seed: str = "insiders",
    sums: int = 4,
    rate: float = 0.3,
    spoiling: Spoiling | None = None,
) -> int:
    """Let the clients `names` sign nonsense in set-up and sums, and `silent` ones fall silent for good at some message,
    together at most `max_dropouts`; returns how many sums came out.

    The bench's parties are in this process, opened and not set up. Every sum has one outcome: the exact sum of what was
    submitted, with every honest client in it that speaks; or an abort that blames a corrupt client which no outcome
    blamed before, or that follows a vector which was no vector. No honest client is ever blamed, no party stumbles over
    a message, and once the nonsense ends there is a sum. `identities`: of the corrupt clients, to sign inner records
    with. `spoiling`: how payloads are changed, and a count of them.

    Raises:
        ConformanceError: the rule that was broken.
    """
    draws = Draws(seed, bench.plan.protocol)
    spoiling = Spoiling(draws) if spoiling is None else spoiling
    spoilers = {name: _Spoiler(draws, spoiling, (identities or {}).get(name), rate) for name in names}
    parties: dict[str, Party] = {**bench.parties}
    for name, spoiler in spoilers.items():
        parties[name] = corrupt(bench.parties[name], spoiler.change)
    for name in silent:
        parties[name] = corrupt(bench.parties[name], _Mute(draws.below(4 + 3 * sums)).change)
    with _no_party_stumbles():
        return _among_insiders(bench, parties, spoilers, silent, seed, sums)


def _among_insiders(
    bench: Bench,
    parties: dict[str, Party],
    spoilers: dict[str, _Spoiler],
    silent: Collection[str],
    seed: str,
    sums: int,
) -> int:
    honest = [name for name in bench.plan.clients if name not in spoilers]
    speaking = [name for name in honest if name not in silent]
    set_up(parties)
    for _ in range(MAX_DEADLINES):
        if not all(_client(parties, name).ready for name in speaking):
            deliver(parties, (), inputs={"server": (Deadline(0, "-"),)})
    blamed: tuple[str, ...] = ()
    came = 0
    for place in range(sums + len(spoilers) + 1):
        if place >= sums:
            for spoiler in spoilers.values():
                spoiler.rate = 0.0
        number, upload = bench.fresh(), bench.plan.uploads[place % len(bench.plan.uploads)]
        vectors = random_vectors(bench.plan, upload, f"{seed} {number}")
        outcome = _run(parties, number, upload.name, vectors, spoilers, silent)
        wrong = any(spoiler.vectors for spoiler in spoilers.values())
        _judge(outcome, vectors, honest, speaking, wrong, blamed)
        blamed, came = outcome.blamed, came + isinstance(outcome, Aggregate)
    expect(isinstance(outcome, Aggregate), f"no sum came after the nonsense ended: {outcome}")
    return came


@contextmanager
def _no_party_stumbles() -> Iterator[None]:
    """Envelopes catch what a session raises by mistake and log it as an error: that is a broken rule here."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    expect(not found, f"a party stumbled over what an insider signed: {found[:1]}")


def _client(parties: dict[str, Party], name: str) -> ClientSession:
    session = parties[name]
    if not isinstance(session, ClientSession):
        raise ConformanceError(f"{name} has no client session in this process")
    return session


def _run(
    parties: dict[str, Party],
    number: int,
    upload: str,
    vectors: Vectors,
    spoilers: dict[str, _Spoiler],
    silent: Collection[str],
) -> Outcome:
    outcomes = deliver(parties, (), inputs={"server": (Begin(number, upload),)})
    for name, vector in vectors.items():
        client, spoiler = _client(parties, name), spoilers.get(name)
        if spoiler is None and name in silent and not client.ready:
            continue
        if spoiler is None:
            expect(client.ready, f"the honest client {name} has no keys for round {number}")
            outcomes += deliver(parties, client.submit(number, upload, vector))
            continue
        spoiler.vectors, spoiler.submitting = False, True
        try:
            sent = client.submit(number, upload, vector)
        except SubmissionRefused:
            sent = ()
        spoiler.submitting = False
        outcomes += deliver(parties, sent)
    for _ in range(MAX_DEADLINES):
        if not outcomes:
            outcomes += deliver(parties, (), inputs={"server": (Deadline(number, upload),)})
    if len(outcomes) != 1:
        raise ConformanceError(f"round {number} among insiders had {len(outcomes)} outcomes: {outcomes}")
    return outcomes[0]


def _judge(
    outcome: Outcome,
    vectors: Vectors,
    honest: Collection[str],
    speaking: Collection[str],
    wrong: bool,
    before: tuple[str, ...],
) -> None:
    accused = set(outcome.blamed) & set(honest)
    expect(not accused, f"honest clients were blamed: {accused}")
    if isinstance(outcome, Abort):
        fresh = set(outcome.blamed) - set(before)
        expect(bool(fresh) or wrong, f"a sum was aborted, and nobody new blamed: {outcome.reason}")
        return
    missing = set(speaking) - set(outcome.contributors)
    expect(not missing, f"honest clients that answered are not in the sum: {missing}")
    expected = np.sum([vectors[name] for name in outcome.contributors], axis=0, dtype=np.int64)
    expect(wrong or np.array_equal(outcome.total, expected), "the sum is not that of the submitted vectors")
