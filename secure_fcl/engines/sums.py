"""Carries the messages of one row's secure sum between workers and the helper parties, each in its own process.

This process sees ciphertexts, sealed shares and sums; with `plain`, which hides nothing, it sees all.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.driver import Outcome, deliver, set_up
from crypto.hosting import host_parties
from crypto.messages import Aggregate, Begin, Deadline, Input, Item, Message
from crypto.planning import Plan
from secure_fcl.engines.channel import pack_items, unpack_items
from secure_fcl.engines.pool import WorkerPool
from secure_fcl.errors import SumAborted

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SumResult:
    """One sum and what it took: seconds per phase, and sender, hash and size of every client message."""

    total: Ints
    contributors: int
    seconds: dict[str, float]
    bytes_up: int
    messages: tuple[dict[str, Any], ...]


class SecureSums:
    """The secure sums of one row. Use it in a `with` statement."""

    def __init__(self, plan: Plan, pool: WorkerPool) -> None:
        self._plan = plan
        self._pool = pool
        self._hosted = host_parties(plan)
        self._parties = {**self._hosted.parties}
        try:
            keys = set_up(self._parties)
            self._key_bytes = sum(len(message.payload) for message in keys)
            command = {"do": "keys", "plan": plan.to_bytes(), "items": pack_items(keys)}
            for _ in pool.everyone(command):
                pass
        except BaseException:
            self._hosted.close()
            raise

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each helper party."""
        return {name: party.pid for name, party in self._hosted.parties.items()}

    @property
    def broadcast_bytes(self) -> int:
        """Bytes of key material that every client downloads once."""
        return self._key_bytes

    def run(self, number: int, upload: str, visit: dict[str, Any], state: dict[str, NDArray[np.float32]]) -> SumResult:
        """Run one sum: workers play their clients while messages flow on to the helper parties.

        Raises:
            SumAborted: the protocol gave up; names its reason.
        """
        outcomes = self._deliver([], {"server": (Begin(number, upload),)})
        seconds = {"train": 0.0, "encrypt": 0.0, "aggregate": 0.0}
        records: list[dict[str, Any]] = []
        for meta, _ in self._pool.everyone({"do": "visit", "number": number, **visit}, state):
            if meta["re"] != "sent":
                continue
            seconds["train"] += meta["train"]
            seconds["encrypt"] += meta["encrypt"]
            items = unpack_items(meta["items"])
            records += [_record(meta["client"], item) for item in items if isinstance(item, Message)]
            begun = time.perf_counter()
            outcomes += self._deliver(items)
            seconds["aggregate"] += time.perf_counter() - begun
        if not outcomes:
            outcomes += self._deliver([], {"server": (Deadline(number, upload),)})
        outcome = outcomes[0]
        if not isinstance(outcome, Aggregate):
            raise SumAborted(f"the secure sum of round {number} was aborted: {outcome.reason}")
        sent = sum(record["bytes"] for record in records)
        return SumResult(outcome.total, len(outcome.contributors), seconds, sent, tuple(records))

    def _deliver(self, items: Sequence[Item], inputs: dict[str, tuple[Input, ...]] | None = None) -> list[Outcome]:
        return deliver(self._parties, items, inputs=inputs)

    def close(self) -> None:
        """End the helper parties."""
        self._hosted.close()

    def __enter__(self) -> SecureSums:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _record(client: int, message: Message) -> dict[str, Any]:
    digest = hashlib.sha256(message.payload).hexdigest()
    return {"client": client, "sha256": digest, "bytes": len(message.payload)}
