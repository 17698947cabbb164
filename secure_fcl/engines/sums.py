"""Carries the messages of one row's secure sum between workers and the helper parties, each in its own process.

This process sees ciphertexts, sealed shares and sums; with `plain`, which hides nothing, it sees all.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.planning.masks import Mode
from crypto.planning.plans import Plan
from crypto.protocols.session import plan_roles
from crypto.running.driver import MAX_DEADLINES, Outcome, deliver, set_up
from crypto.running.processes import host_parties
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Input, Item, Message
from secure_fcl.engines.channel import pack_items, unpack_items
from secure_fcl.engines.identities import identities
from secure_fcl.engines.pool import Reply, WorkerPool
from secure_fcl.errors import SumAborted

Ints = NDArray[np.int64]
Inputs = Mapping[str, Iterable[Input]]


@dataclass(frozen=True, eq=False)
class SumResult:
    """One sum and what it took: seconds per phase, protocol bytes, and hash, size and seconds of every upload.

    `bytes_down` is what all clients together were sent since the sum before: keys, shares, survivor lists.
    """

    total: Ints
    contributors: int
    seconds: dict[str, float]
    bytes_up: int
    bytes_down: int
    messages: tuple[dict[str, Any], ...]


class SecureSums:
    """The secure sums of one row. Use it in a `with` statement."""

    def __init__(self, plan: Plan, pool: WorkerPool, given: str = "", server: Mode = "active") -> None:
        """Start the helper parties and hand out keys; `given` and `server` as in `identities`."""
        self._pool = pool
        self._down = self._up = 0
        self._waiting = 0
        self._stack = ExitStack()
        try:
            known = self._stack.enter_context(identities(plan, given, server))
            self._plan = plan = known.plan
            files = {role: known.file_of(role) for role in plan_roles(plan)}
            self._hosted = self._stack.enter_context(host_parties(plan, identities=files))
            self._parties = {**self._hosted.parties}
            keys = set_up(self._parties)
            self._down += _size(keys)
            command = {
                "do": "keys", "plan": plan.to_bytes(), "items": pack_items(keys), "identities": str(known.folder)
            }  # fmt: skip
            self._exchange(self._answers(pool.everyone(command)))
            for _ in range(MAX_DEADLINES):
                if self._waiting:
                    self._exchange([], {"server": (Deadline(0, "-"),)})
            if len(plan.clients) - self._waiting < plan.min_clients:
                raise SumAborted(f"{self._waiting} of {len(plan.clients)} clients got no keys; start again")
        except BaseException:
            self._stack.close()
            raise

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each helper party."""
        return {name: party.pid for name, party in self._hosted.parties.items()}

    def run(self, number: int, upload: str, visit: dict[str, Any], state: dict[str, NDArray[np.float32]]) -> SumResult:
        """Run one sum: workers play their clients while messages flow on to the helper parties.

        Raises:
            SumAborted: the protocol gave up; names its reason.
        """
        replies: list[Message] = []
        outcomes = self._deliver([], {"server": (Begin(number, upload),)}, replies)
        seconds = {"train": 0.0, "encrypt": 0.0, "aggregate": 0.0}
        records: list[dict[str, Any]] = []
        for meta, _ in self._pool.everyone({"do": "visit", "number": number, **visit}, state):
            if meta["re"] != "sent":
                continue
            seconds["train"] += meta["train"]
            seconds["encrypt"] += meta["encrypt"]
            items = unpack_items(meta["items"])
            records += [_record(meta, item) for item in items if isinstance(item, Message)]
            begun = time.perf_counter()
            outcomes += self._deliver(items, {}, replies)
            seconds["aggregate"] += time.perf_counter() - begun
        begun = time.perf_counter()
        self._up = sum(record["bytes"] for record in records)
        outcomes += self._exchange(self._ask(replies))
        for _ in range(MAX_DEADLINES):
            if not outcomes:
                outcomes += self._exchange([], {"server": (Deadline(number, upload),)})
        seconds["aggregate"] += time.perf_counter() - begun
        outcome = outcomes[0] if outcomes else Abort(self._plan.session, number, upload, "no answer to any deadline")
        if not isinstance(outcome, Aggregate):
            raise SumAborted(f"the secure sum of round {number} was aborted: {outcome.reason}")
        down, self._down = self._down, 0
        return SumResult(outcome.total, len(outcome.contributors), seconds, self._up, down, tuple(records))

    def _exchange(self, items: Sequence[Item], inputs: Inputs | None = None) -> list[Outcome]:
        """Carry messages both ways between helper parties and clients until nobody has more to say."""
        outcomes: list[Outcome] = []
        pending, given = list(items), inputs or {}
        while pending or given:
            replies: list[Message] = []
            outcomes += self._deliver(pending, given, replies)
            pending, given = self._ask(replies), {}
        return outcomes

    def _ask(self, messages: Sequence[Message]) -> list[Item]:
        """Give messages to the workers whose clients they are for; return the clients' answers."""
        if not messages:
            return []
        self._down += _size(messages)
        metas = []
        for share in self._pool.shares:
            names = {"clients", *(f"client{k}" for k in share)}
            mine = [message for message in messages if message.receiver in names]
            metas.append({"do": "deliver", "items": pack_items(mine)})
        return self._answers(self._pool.each(metas, [{} for _ in metas]))

    def _answers(self, replies: Iterable[Reply]) -> list[Item]:
        answers: list[Item] = []
        self._waiting = 0
        for meta, _ in replies:
            self._waiting += meta["waiting"]
            answers += unpack_items(meta["items"])
        self._up += _size(item for item in answers if isinstance(item, Message))
        return answers

    def _deliver(self, items: Sequence[Item], inputs: Inputs, replies: list[Message]) -> list[Outcome]:
        return deliver(self._parties, items, inputs=inputs, elsewhere=replies)

    def close(self) -> None:
        """End the helper parties."""
        self._stack.close()

    def __enter__(self) -> SecureSums:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _size(messages: Iterable[Message]) -> int:
    return sum(len(message.payload) for message in messages)


def _record(meta: dict[str, Any], message: Message) -> dict[str, Any]:
    digest = hashlib.sha256(message.payload).hexdigest()
    seconds = round(meta["train"] + meta["encrypt"], 6)
    return {"client": meta["client"], "sha256": digest, "bytes": len(message.payload), "seconds": seconds}
