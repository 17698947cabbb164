"""Whole sums in one process, with the CPU time of every party told apart."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.crypto.results import Point
from crypto import Aggregate, ClientSession, Message, Plan, Upload, open_client, open_party, plan, plan_roles
from crypto.protocols.session import Session
from crypto.running.driver import Party, run_round, set_up
from crypto.wire.messages import Input, Item

BOUND = 32767
ROUNDS = 64
CLIENTS = "clients"


@dataclass
class Clock:
    """CPU seconds and bytes by (party or "clients", kind of what it took)."""

    seconds: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    sent: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    @contextmanager
    def time(self, party: str, kind: str) -> Iterator[None]:
        """Add the CPU time of the block."""
        begun = time.process_time()
        yield
        self.seconds[party, kind] += time.process_time() - begun

    def of(self, party: str, *kinds: str) -> float:
        """Seconds of one party, of these kinds or of all."""
        mine = {kind: spent for (who, kind), spent in self.seconds.items() if who == party}
        return sum(mine.get(kind, 0.0) for kind in kinds or mine)

    def reset(self) -> None:
        """Start anew."""
        self.seconds.clear()
        self.sent.clear()


@dataclass
class TimedParty:
    """A session that keeps the time."""

    inner: Session
    clock: Clock
    who: str

    @property
    def name(self) -> str:
        """The party's name."""
        return self.inner.name

    def start(self) -> tuple[Item, ...]:
        """See `Session.start`."""
        with self.clock.time(self.who, "start"):
            return self._noted("start", self.inner.start())

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        kind = item.kind if isinstance(item, Message) else "deadline"
        with self.clock.time(self.who, kind):
            answer = self.inner.on(item)
        return self._noted(kind, answer)

    def _noted(self, kind: str, items: tuple[Item, ...]) -> tuple[Item, ...]:
        self.clock.sent[self.who] += sum(len(item.payload) for item in items if isinstance(item, Message))
        return items


@dataclass
class TimedClient(TimedParty):
    """A client's session that keeps the time."""

    inner: ClientSession

    @property
    def ready(self) -> bool:
        """See `ClientSession.ready`."""
        return self.inner.ready

    @property
    def public(self) -> object | None:
        """See `ClientSession.public`."""
        return self.inner.public

    def submit(
        self,
        round: int,
        upload: str,
        vector: npt.NDArray[np.int64],
        noise: npt.NDArray[np.int64] | None = None,
        *,
        model: bytes = b"",
    ) -> tuple[Message, ...]:
        """See `ClientSession.submit`."""
        with self.clock.time(self.who, "submit"):
            sent = self.inner.submit(round, upload, vector, noise, model=model)
        self.clock.sent["vectors"] += sum(len(message.payload) for message in sent)
        return sent


def share_plan(protocol: str, n: int, dropout: float, lengths: tuple[int, ...]) -> Plan:
    """The plan of a cohort: 16-bit entries, `dropout` of the clients may vanish, rounded up.

    A tenth of the clients may be corrupt, or a hundredth where 30 % may drop out (more cannot be had from a sparse
    graph).
    """
    masked = protocol in ("secagg", "secagg+")
    corrupt = (n // 100 if dropout > 0.2 else n // 10) if masked else None
    uploads = [Upload(name=str(length), length=length, bound=BOUND) for length in lengths]
    return plan(protocol, [f"client{i}" for i in range(n)], uploads, ROUNDS, math.ceil(dropout * n), corrupt=corrupt)


@dataclass
class Cohort:
    """A cohort that is set up once and sums many times."""

    plan: Plan
    clock: Clock = field(default_factory=Clock)
    parties: dict[str, Party] = field(default_factory=dict)
    done: int = 0

    def _open(self) -> None:
        public = None
        for name in self.plan.clients:
            client = open_client(self.plan, name, public=public)
            # One client checks what all would check: the others' time is not of interest here.
            public = public or client.public
            self.parties[name] = TimedClient(client, self.clock, CLIENTS)
        for role in plan_roles(self.plan):
            self.parties[role] = TimedParty(open_party(self.plan, role), self.clock, role)
        set_up(self.parties)

    def sum(self, length: int, drops: int) -> Point:
        """Run one sum of `length` entries in which the first `drops` clients send no vector; checks the total."""
        if not self.parties:
            self._open()
        self.clock.reset()
        vector = np.random.default_rng(length).integers(-BOUND, BOUND + 1, length)
        gone = self.plan.clients[:drops]
        outcome = run_round(self.parties, self.done, str(length), dict.fromkeys(self.plan.clients, vector), gone)
        self.done += 1
        left = len(self.plan.clients) - drops
        if not isinstance(outcome, Aggregate) or not np.array_equal(outcome.total, left * vector):
            raise RuntimeError(f"The sum of {left} clients and {length} entries is wrong: {outcome!r}.")
        return self._point(length, drops, left)

    def _point(self, length: int, drops: int, left: int) -> Point:
        clock, n = self.clock, len(self.plan.clients)
        masks = self.plan.masks
        near = 0 if masks is None else masks.neighbours
        vectors = clock.of("server", "masked", "ciphertexts")
        return {
            "clients": n,
            "length": length,
            "survivors": left,
            "dropped": drops,
            "neighbours": near,
            "threshold": 0 if masks is None else masks.threshold,
            # Every survivor's own mask, and those it shares with the dropped (of all neighbours, this many survive).
            "masks": left + drops * near * left / max(1, n - 1) if near else 0,
            "submit_s": clock.of(CLIENTS, "submit") / left,
            "keys_s": (clock.of(CLIENTS) - clock.of(CLIENTS, "submit")) / n,
            "server_s": clock.of("server"),
            "server_vectors_s": vectors,
            "keyholder_s": clock.of("keyholder"),
            "wire_bytes": clock.sent["vectors"] / left / length,
            "other_bytes": clock.sent[CLIENTS] / n,
        }


def lazily(make: Callable[[], Plan]) -> Callable[[], Cohort]:
    """A cohort that is made when it is first needed."""
    made: list[Cohort] = []

    def get() -> Cohort:
        if not made:
            made.append(Cohort(make()))
        return made[0]

    return get
