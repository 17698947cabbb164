"""What a run writes down as it goes: metrics, costs, where it stands, and what a progress display is told."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from evaluation.files import JsonLines, read_jsonl, write_json
from evaluation.strict_json import to_json
from secure_fcl.engines.parties import Lab
from secure_fcl.engines.simulation import SIMULATION, file_stem
from secure_fcl.engines.sums import SumResult
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared
from secure_fcl.strategies import State, StepContext
from secure_fcl.streams import Absent


@dataclass(frozen=True, kw_only=True)
class Tick:
    """What a progress display shows after a round. `epsilon` is the planned budget of the row's worst cohort."""

    row: str
    slot: int
    slots: int
    round: int
    rounds: int
    accuracy: float
    epsilon: float
    done: int
    total: int


Watcher = Callable[[Tick], None]


def unwatched(tick: Tick) -> None:
    """Show nothing."""


class _Pinned:
    """A record file, and the digest of all that is in it."""

    def __init__(self, path: Path, lines: JsonLines) -> None:
        self.path = path
        self._lines = lines
        self._digest = hashlib.sha256(path.read_bytes())

    def append(self, record: Mapping[str, Any]) -> None:
        self._lines.append(record)
        self._digest.update((to_json(dict(record)) + "\n").encode())

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Records:
    """Appends to metrics.jsonl and cost.jsonl and commits state.json. Use it in a `with` statement."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.progress = folder.recall()

    def __enter__(self) -> Records:
        metrics, costs = self._folder.writers(self.progress)
        self._metrics = _Pinned(self._folder.path / "metrics.jsonl", self._stack.enter_context(metrics))
        self._costs = _Pinned(self._folder.path / "cost.jsonl", self._stack.enter_context(costs))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def metric(self, record: dict[str, Any]) -> None:
        """Append to metrics.jsonl."""
        self._metrics.append(record)
        self.progress = replace(self.progress, metrics=self.progress.metrics + 1)

    def cost(self, record: dict[str, Any]) -> None:
        """Append to cost.jsonl."""
        self._costs.append(record)
        self.progress = replace(self.progress, costs=self.progress.costs + 1)

    def commit(self, **changes: Any) -> None:
        """Go on from here if the run is continued: whatever was appended so far is kept, and pinned with the rest."""
        self.progress = replace(self.progress, **changes)
        for file in (self._metrics, self._costs):
            self._folder.pin(file.path, file.sha256)
        self._folder.save_progress(self.progress)

    def of(self, row: str, kind: str) -> list[dict[str, Any]]:
        """Return the metrics of one row and kind so far."""
        records = read_jsonl(self._folder.path / "metrics.jsonl").records
        return [r for r in records if r["kind"] == kind and r["row"] == row]


class Laps:
    """Seconds of a round's parts."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the lap before."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before

    @property
    def wall(self) -> float:
        """Seconds from the start to the last lap."""
        return self._last - self._begun


def cost_record(
    plan: RowPlan,
    step: StepContext,
    result: SumResult,
    before: State,
    after: State,
    aside: int | None,
    away: Absent,
) -> dict[str, Any]:
    """Return the cost of a round, but for the seconds of the server's own work.

    What went down is what changed in the server's state: a device keeps the rest, and its storage counts it. `aside`:
    bytes of side channels, None where a strategy has none. `away`: who was away by the public draw; who missed its
    upload was sent no model.
    """
    clients = len(plan.clients_in(step.slot))
    told = clients - sum(missed == "upload" for missed in away.values())
    model = sum(array.nbytes for name, array in after.items() if not np.array_equal(array, before[name]))
    record: dict[str, Any] = {
        "row": plan.name, "task": step.slot, "round": step.round, "upload": plan.wire(step.phase, step.slot).sent.name,
        "seconds": dict(result.seconds), "bytes_up": result.bytes_up + (aside or 0),
        "bytes_down": model * told + result.bytes_down, "clients": clients,
        "ciphertexts": list(result.messages),
    }  # fmt: skip
    if away:
        record["away"] = {str(client): missed for client, missed in away.items()}
    if len(result.contributors) < clients:
        record["in_sum"] = len(result.contributors)
    if result.blamed:
        record["blamed"] = list(result.blamed)
    if result.heads:
        record["heads"] = [asdict(head) for head in sorted(result.heads, key=lambda head: head.device)]
    return record if aside is None else record | {"side_channel_bytes": aside}


def tick_of(prepared: Prepared, plan: RowPlan, step: StepContext, accuracy: float) -> Tick:
    """Return what a display shows after a round."""
    names = [p.name for p, _ in prepared.rows]
    before = sum(p.rounds for p, _ in prepared.rows[: names.index(plan.name)])
    done = before + step.slot * plan.rounds_per_slot + step.round + 1
    return Tick(
        row=plan.name, slot=step.slot, slots=plan.scenario.slots, round=step.round, rounds=plan.rounds_per_slot,
        accuracy=accuracy, epsilon=plan.config.section(plan.name).epsilon, done=done, total=prepared.rounds,
    )  # fmt: skip


def record_processes(folder: RunFolder, row: str, lab: Lab | None, helpers: Mapping[str, int]) -> None:
    """Write which process plays whom, where a simulation knows."""
    if lab is not None:
        processes = {"run": os.getpid(), "workers": list(lab.processes), **helpers}
        write_json(folder.path / SIMULATION / f"processes-{file_stem(row)}.json", processes)
