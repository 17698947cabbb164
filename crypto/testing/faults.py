"""A network that misbehaves, from a seed: it drops, delays, duplicates, reorders, truncates, alters and replays
messages between parties of one process. The same seed gives the same schedule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError, SubmissionRefused
from crypto.keys.randomness import KeyedStream, derive_key
from crypto.planning.plans import Plan
from crypto.protocols.session import ClientSession, Session
from crypto.running.driver import MAX_DEADLINES, Outcome
from crypto.wire.messages import Begin, Deadline, Input, Item, Message, decode, encode

HISTORY = 256


@dataclass(frozen=True, kw_only=True)
class Faults:
    """For each message on its way, the probability of each fault.

    `drop`: lost. `duplicate`: arrives twice. `delay`: arrives after the next deadline or in a later round.
    `reorder`: another message goes first. `truncate`, `flip`: arrives cut, or with one bit flipped. `replay`: an
    old message, of any round, arrives once more after it, half of the time at another party.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    truncate: float = 0.0
    flip: float = 0.0
    replay: float = 0.0


class Draws:
    """Decisions from a seed."""

    def __init__(self, *labels: str | int) -> None:
        """Start the decisions that the labels name."""
        self._stream = KeyedStream(derive_key(b"crypto.testing.faults schedule", *labels))

    def below(self, n: int) -> int:
        """A number from 0 to n - 1 (n >= 1; the bias, n / 2^64, does not matter here)."""
        return int.from_bytes(self._stream(8), "little") % n

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.below(1 << 53) < probability * (1 << 53)

    def bytes(self, n: int) -> bytes:
        """So many bytes."""
        return self._stream(n)


@dataclass(frozen=True)
class Schedule:
    """What came of one round: the outcome (None if no deadline brought one), who submitted, further outcomes (there
    must be none), and how often each fault struck.
    """

    outcome: Outcome | None
    submitted: tuple[str, ...]
    surplus: tuple[Outcome, ...]
    struck: Mapping[str, int]


@dataclass
class FaultyNetwork:
    """Carries the messages of a plan's parties, all in this process, with faults."""

    plan: Plan
    parties: Mapping[str, Session]
    faults: Faults
    draws: Draws
    _queue: list[tuple[str, bytes]] = field(default_factory=list)
    _late: list[tuple[str, bytes]] = field(default_factory=list)
    _history: list[tuple[str, bytes]] = field(default_factory=list)
    _outcomes: list[Outcome] = field(default_factory=list)
    _struck: Counter[str] = field(default_factory=Counter)

    def set_up(self) -> None:
        """Let all parties start; their key messages meet faults like all others."""
        for party in self.parties.values():
            self._send(party.start())
        self._settle()

    def run(self, round: int, upload: str, vectors: Mapping[str, npt.NDArray[np.int64]]) -> Schedule:
        """Run one sum in which every client of `vectors` that has its keys submits."""
        self._struck.clear()
        self._outcomes.clear()
        self._give("server", Begin(round, upload))
        submitted = []
        for name, vector in vectors.items():
            client = self.parties[name]
            if not isinstance(client, ClientSession):
                continue
            try:
                self._send(client.submit(round, upload, vector))
            except SubmissionRefused:
                # A client whose keys were lost sits the round out.
                continue
            submitted.append(name)
        self._settle()
        for _ in range(MAX_DEADLINES):
            if self._outcomes:
                break
            self._give("server", Deadline(round, upload))
            self._release()
            self._settle()
        outcome = self._outcomes[0] if self._outcomes else None
        return Schedule(outcome, tuple(submitted), tuple(self._outcomes[1:]), dict(self._struck))

    def _send(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if not isinstance(item, Message):
                self._outcomes.append(item)
                continue
            data = encode(item)
            to_all = item.receiver == "clients"
            for name in self.plan.clients if to_all else (item.receiver,):
                self._queue.append((name, data))

    def _settle(self) -> None:
        while self._queue:
            at = self.draws.below(len(self._queue)) if self._strikes("reorder") else 0
            self._carry(*self._queue.pop(at))

    def _carry(self, name: str, data: bytes) -> None:
        if self._strikes("drop"):
            return
        if self._strikes("delay"):
            self._late.append((name, data))
            return
        if self._strikes("duplicate"):
            self._queue.append((name, data))
        self._history.append((name, data))
        del self._history[:-HISTORY]
        if self._strikes("truncate"):
            data = data[: self.draws.below(len(data))]
        if data and self._strikes("flip"):
            data = flipped(data, self.draws)
        self._arrive(name, data)
        if self._strikes("replay"):
            other, old = self._history[self.draws.below(len(self._history))]
            names = tuple(self.parties)
            self._arrive(names[self.draws.below(len(names))] if self.draws.chance(0.5) else other, old)

    def _arrive(self, name: str, data: bytes) -> None:
        try:
            item = decode(data)
        except MessageError:
            return
        if isinstance(item, Message):
            self._give(name, item)

    def _give(self, name: str, item: Input) -> None:
        party = self.parties.get(name)
        if party is not None:
            self._send(party.on(item))

    def _release(self) -> None:
        """Let some of the delayed messages arrive now; the others stay for later."""
        waiting, self._late = self._late, []
        for entry in waiting:
            (self._queue if self.draws.chance(0.5) else self._late).append(entry)

    def _strikes(self, fault: str) -> bool:
        hit = self.draws.chance(float(getattr(self.faults, fault)))
        self._struck[fault] += hit
        return hit


def flipped(data: bytes, draws: Draws) -> bytes:
    """The bytes with one bit flipped."""
    at = draws.below(8 * len(data))
    out = bytearray(data)
    out[at // 8] ^= 1 << at % 8
    return bytes(out)


def draw_faults(draws: Draws) -> Faults:
    """Some of the faults, each with a probability of 1 to 40 %."""
    rates = {entry.name: (1 + draws.below(40)) / 100 if draws.chance(0.4) else 0.0 for entry in fields(Faults)}
    return Faults(**rates)
