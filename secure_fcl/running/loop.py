"""A whole run: every row, slot and round, with the ledger written before each round's noise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.files import JsonLines, read_jsonl, write_json
from privacy import Ledger
from secure_fcl.engines.disclosures import collect, informed
from secure_fcl.engines.pool import WorkerPool
from secure_fcl.engines.rosters import Rosters
from secure_fcl.engines.simulation import SIMULATION, load_arrays, save_arrays
from secure_fcl.engines.sums import SecureSums, SumResult
from secure_fcl.randomness import noise_secret
from secure_fcl.rows.budgets import RowLedger, arrivals_to_json, charges_of, kept_budget
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.certificate import row_certificate, write_certificate
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.measure import Measure
from secure_fcl.running.prepare import Prepared
from secure_fcl.strategies import State, StepContext
from secure_fcl.strategies.gradient.method import own_or


@dataclass(frozen=True)
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


class Interrupted(Exception):
    """The run was asked to stop and has saved everything up to the last round."""


class Job:
    """Runs or continues one prepared run in its folder."""

    def __init__(
        self, prepared: Prepared, folder: RunFolder, watch: Watcher, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._prepared = prepared
        self._folder = folder
        self._watch = watch
        self._stopped = stopped
        self._progress = folder.progress()
        self._run = folder.identity("run")
        self._secret = prepared.noise_key(noise_secret()) if prepared.config.replay_noise else None

    def run(self) -> None:
        """Run what is left, then write the certificate.

        Raises:
            Interrupted: `stopped()` became true; the last round is saved and `--resume` continues after it.
        """
        import torch

        torch.set_num_threads(self._prepared.config.threads)
        with ExitStack() as stack:
            writers = [stack.enter_context(writer) for writer in self._folder.writers(self._progress)]
            if self._progress.row < len(self._prepared.rows):
                pool = stack.enter_context(WorkerPool(self._prepared.config.workers, self._prepared.scenario.clients))
                for number in range(self._progress.row, len(self._prepared.rows)):
                    self._row(number, pool, *writers)
        self._certify()
        self._commit(finished=True)

    def _certify(self) -> None:
        rows = {}
        for plan, multiplier in self._prepared.rows:
            with Ledger(self._folder.ledger_path(plan.name)) as ledger:
                rows[plan.name] = row_certificate(plan, ledger, multiplier)
        write_certificate(self._folder.path, rows)

    def _row(self, number: int, pool: WorkerPool, metrics: JsonLines, costs: JsonLines) -> None:
        plan, multiplier = self._prepared.rows[number]
        measure = Measure(plan, lambda state: _models(plan, pool, state))
        tally = None
        rosters = Rosters(plan.clients_in, lambda slot: self._sums(plan, pool, slot))
        with Ledger(self._folder.ledger_path(plan.name)) as charged, rosters:
            self._open(plan, multiplier, pool, charged)
            state = self._restore(plan, pool)
            ledger = RowLedger(plan, charged, kept_budget(plan, self._folder.budget_path(plan.name)))
            for slot in range(self._progress.slot, plan.scenario.slots):
                sums = rosters.at(slot)
                for round in range(self._progress.round, plan.rounds_per_slot):
                    state = self._round(
                        plan, plan.step(slot, round), state, ledger, sums, measure, metrics, costs, pool
                    )
                    self._save_devices(plan, pool, slot * plan.rounds_per_slot + round)
                    self._commit(row=number, slot=slot, round=round + 1)
                    if self._stopped():
                        raise Interrupted
                self._close_slot(plan, pool, slot, state)
                self._save_devices(plan, pool, f"closed-{slot}")
                record, tally = measure.after_slot(state, slot)
                self._append(metrics, record)
                self._commit(row=number, slot=slot + 1, round=0)
        tally = tally or measure.tally(state)
        self._append(metrics, measure.final(tally, self._records(plan, "task"), self._records(plan, "round")))
        self._save_model(plan, state)
        self._commit(row=number + 1, slot=0, round=0)

    def _sums(self, plan: RowPlan, pool: WorkerPool, slot: int) -> SecureSums:
        config = self._prepared.config
        sums = SecureSums(plan.secure_plan(slot), pool, config.identities, config.server)
        self._record_processes(plan, pool, sums)
        return sums

    def _open(self, plan: RowPlan, multiplier: float, pool: WorkerPool, ledger: Ledger) -> None:
        """Open the row in every worker; retention coins of an earlier start are handed back to the devices."""
        path = self._folder.path / SIMULATION / f"coins-{plan.name}.npz"
        known: dict[str, np.ndarray] = {}
        if path.exists():
            known = {name: array for name, array in load_arrays(path).items() if name.startswith("keys")}
        command = {
            "do": "open", "config": self._prepared.config.model_dump(mode="python"), "row": plan.name,
            "noise_multiplier": multiplier, "secret": self._secret, "folder": str(self._folder.path.resolve()),
            "charged": [charge.to_json() for charge in charges_of(ledger.spent())],
        }  # fmt: skip
        metas = [{**command, "clients": share} for share in pool.shares]
        given = [{f"keys{k}": known[f"keys{k}"] for k in share if f"keys{k}" in known} for share in pool.shares]
        if plan.keeps:
            saved = self._saved_devices(plan)
            for share, arrays in zip(pool.shares, given, strict=True):
                owners = {f"-{k}" for k in share}
                arrays |= {name: a for name, a in saved.items() if name[name.rindex("-") :] in owners}
        coins: dict[str, np.ndarray] = {}
        for _, arrays in pool.each(metas, given):
            coins |= arrays
        if not known:
            save_arrays(path, **coins)

    def _restore(self, plan: RowPlan, pool: WorkerPool) -> State:
        """Return the state to go on from, and bring the devices' memories to the same point."""
        if not plan.keeps:
            # Memories follow from the coins alone; whatever else devices keep was handed to them with `open`.
            for slot in range(self._progress.slot):
                self._close_slot(plan, pool, slot, {})
        done = self._progress.slot * plan.rounds_per_slot + self._progress.round
        if done == 0:
            return plan.strategy.initial()
        saved = self._folder.load_round(plan.name, done - 1)
        return {name: saved[name] for name in plan.strategy.initial()}

    def _save_devices(self, plan: RowPlan, pool: WorkerPool, number: int | str) -> None:
        """Save what devices keep beyond their memories, where a strategy has such; only the last two are kept."""
        if not plan.keeps:
            return
        arrays: dict[str, np.ndarray] = {}
        for _, own in pool.everyone({"do": "export"}):
            arrays |= own
        save_arrays(self._devices_path(plan, number), **arrays)
        if isinstance(number, int):
            self._devices_path(plan, number - 2).unlink(missing_ok=True)

    def _saved_devices(self, plan: RowPlan) -> dict[str, np.ndarray]:
        slot, round = self._progress.slot, self._progress.round
        if slot == round == 0:
            return {}
        number = slot * plan.rounds_per_slot + round - 1 if round else f"closed-{slot - 1}"
        return load_arrays(self._devices_path(plan, number))

    def _devices_path(self, plan: RowPlan, number: int | str) -> Path:
        return self._folder.path / SIMULATION / f"devices-{plan.name}-{number}.npz"

    def _close_slot(self, plan: RowPlan, pool: WorkerPool, slot: int, state: State) -> None:
        held: dict[str, np.ndarray] = {}
        for _, arrays in pool.everyone({"do": "close", "slot": slot}, state):
            held |= arrays
        if plan.memory:
            save_arrays(self._folder.path / SIMULATION / f"memory-{plan.name}-{slot:03d}.npz", **held)

    def _round(
        self, plan: RowPlan, step: StepContext, state: State, ledger: RowLedger, sums: SecureSums, measure: Measure,
        metrics: JsonLines, costs: JsonLines, pool: WorkerPool,
    ) -> State:  # fmt: skip
        number = step.slot * plan.rounds_per_slot + step.round
        retired = ledger.charge(step.slot, step.round, run=self._run, row=plan.name)
        wire = plan.wire(step.phase, step.slot)
        carrier = wire.draw(step.slot, step.round)
        visit = {"slot": step.slot, "round": step.round, "retired": arrivals_to_json(retired)}
        begun = time.perf_counter()
        aside = collect(plan, pool, step, state, self._folder.path) if plan.channels and step.round == 0 else 0
        result = sums.run(number, wire.sent.name, visit, state)
        summed = time.perf_counter()
        clients = len(plan.clients_in(step.slot))
        after = plan.strategy.apply(state, step, carrier.decode(result.total), clients)
        if plan.channels:
            after = informed(plan, step, after, self._folder.path)
        self._folder.save_round(plan.name, number, after, result.total)
        if plan.config.transcript == "latest":
            # Two are kept: the round before is what a run resumes from if this one is never committed.
            self._folder.forget_round(plan.name, number - 2)
        applied = time.perf_counter()
        record: dict[str, Any] = {
            "kind": "round", "row": plan.name, "task": step.slot, "round": step.round,
            **measure.after_round(after, step.slot),
        }  # fmt: skip
        if retired:
            record["retired"] = arrivals_to_json(retired)
        saturated = carrier.saturated(result.total)
        if saturated is not None:
            record |= {"saturated": saturated, "coordinates": clients * wire.coordinates}
        self._append(metrics, record)
        changed = [n for n, array in after.items() if not np.array_equal(array, state[n])]
        cost = _cost(plan, step, result, sum(after[name].nbytes for name in changed))
        done = time.perf_counter()
        if plan.channels:
            cost["side_channel_bytes"] = aside
            cost["bytes_up"] += aside
        cost["seconds"] |= {"apply": applied - summed, "evaluate": done - applied}
        cost["wall"] = done - begun
        self._append(costs, cost, cost=True)
        self._tick(plan, step, record["probe_accuracy"])
        return after

    def _tick(self, plan: RowPlan, step: StepContext, accuracy: float) -> None:
        names = [p.name for p, _ in self._prepared.rows]
        before = sum(p.rounds for p, _ in self._prepared.rows[: names.index(plan.name)])
        epsilon = plan.config.section(plan.name).epsilon
        done = before + step.slot * plan.rounds_per_slot + step.round + 1
        self._watch(
            Tick(plan.name, step.slot, plan.scenario.slots, step.round, plan.rounds_per_slot, accuracy,
                 epsilon, done, self._prepared.rounds)
        )  # fmt: skip

    def _append(self, writer: JsonLines, record: dict[str, Any], cost: bool = False) -> None:
        writer.append(record)
        p = self._progress
        self._progress = replace(p, costs=p.costs + 1) if cost else replace(p, metrics=p.metrics + 1)

    def _commit(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)
        self._folder.save_progress(self._progress)

    def _records(self, plan: RowPlan, kind: str) -> list[dict[str, Any]]:
        records = read_jsonl(self._folder.path / "metrics.jsonl").records
        return [r for r in records if r["kind"] == kind and r["row"] == plan.name]

    def _save_model(self, plan: RowPlan, state: State) -> None:
        save_arrays(self._folder.path / "model" / f"{plan.name}.npz", **state)

    def _record_processes(self, plan: RowPlan, pool: WorkerPool, sums: SecureSums) -> None:
        processes = {"run": os.getpid(), "workers": list(pool.pids), **sums.pids}
        write_json(self._folder.path / SIMULATION / f"processes-{plan.name}.json", processes)


def _models(plan: RowPlan, pool: WorkerPool, state: State) -> list[State]:
    """Return the states to evaluate: the server's, or with each client's own weights where it has a model of its own.

    The run's process sees those weights only as the simulation that it is.
    """
    if not plan.own_models:
        return [state]
    arrays: dict[str, np.ndarray] = {}
    for _, own in pool.everyone({"do": "export"}):
        arrays |= own
    own_weights = [arrays[f"own own-{k}"] for k in range(plan.scenario.clients)]
    return [{**state, "weights": own_or(state["weights"], weights)} for weights in own_weights]


def _cost(plan: RowPlan, step: StepContext, result: SumResult, model: int) -> dict[str, Any]:
    """`model`: bytes of what changed in the server's state; a device keeps the rest, and its storage counts it."""
    clients = len(plan.clients_in(step.slot))
    return {
        "row": plan.name, "task": step.slot, "round": step.round, "upload": plan.wire(step.phase, step.slot).sent.name,
        "seconds": dict(result.seconds), "bytes_up": result.bytes_up,
        "bytes_down": model * clients + result.bytes_down, "clients": clients,
        "ciphertexts": list(result.messages),
    }  # fmt: skip
