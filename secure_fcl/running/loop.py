"""The main loop: every row, slot and round, with the ledger written before each round's noise.

The numbered steps are those of docs/concepts.md. Who plays the clients, and over which transport, comes from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from privacy import Ledger
from privacy.tree_shares import PrefixSteps
from secure_fcl.config.outside import described
from secure_fcl.engines.commands import Visit
from secure_fcl.engines.disclosures import informed
from secure_fcl.engines.federation import Federation, answers_folder
from secure_fcl.engines.journals import heads_bytes
from secure_fcl.engines.rosters import Rosters
from secure_fcl.engines.simulation import file_stem, save_arrays
from secure_fcl.engines.sums import SecureSums
from secure_fcl.randomness import noise_secret
from secure_fcl.rows.budgets import RowLedger, arrivals_to_json, kept_budget
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.certificate import certify
from secure_fcl.running.devices import Devices
from secure_fcl.running.fitting import require_continuable
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.measure import Measure
from secure_fcl.running.prepare import Prepared
from secure_fcl.running.records import Laps, Records, Watcher, cost_record, record_processes, tick_of, unwatched
from secure_fcl.running.repeats import FRESH, Repeat, repeat_of, require_new
from secure_fcl.strategies import State, StepContext


class Interrupted(Exception):
    """The run was asked to stop and has saved everything up to the last round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """What the rounds of one row share."""

    plan: RowPlan
    charged: Ledger
    ledger: RowLedger
    devices: Devices
    measure: Measure
    records: Records
    prefix: PrefixSteps | None
    """Where rounds share a tree's noise: the nodes of the prefix sum so far."""


class Job:
    """Runs or continues one prepared run in its folder."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        federation: Federation,
        watch: Watcher = unwatched,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._prepared = prepared
        self._folder = folder
        self._federation = federation
        self._watch = watch
        self._stopped = stopped
        self._run = folder.identity("run")
        self._journals = federation.signs or bool(folder.about().get("journals"))
        self._secret = prepared.noise_key(noise_secret()) if prepared.config.replay_noise else None

    def run(self) -> None:
        """Run what is left, then write the certificate.

        A finished run stays as it is: its certificate is never written again.

        Raises:
            Interrupted: `stopped()` became true; the last round is saved and `--resume` continues after it.
            RunFolderError: the files of the folder do not fit one another, or carry no pins.
        """
        import torch

        if require_continuable(self._folder).finished:
            return
        torch.set_num_threads(self._prepared.config.threads)
        with Records(self._folder) as records:
            for number in range(records.progress.row, len(self._prepared.rows)):
                self._row(number, records)
            certify(self._folder, self._prepared.rows, described(self._prepared.config.model_dump()))
            records.commit(finished=True)

    def _row(self, number: int, records: Records) -> None:
        # 1. Row: open it on every device, as new or as it was when the run stopped.
        (plan, multiplier), at = self._prepared.rows[number], records.progress
        devices, tally = Devices(plan, self._folder, self._federation), None
        measure = Measure(plan, devices.models)
        rosters = Rosters(plan.clients_in, lambda slot: self._sums(plan, slot))
        with Ledger(self._folder.ledger_path(plan.name)) as charged, rosters:
            require_new(plan, charged, at)
            state = devices.open(multiplier, charged, self._secret, at)
            ledger = RowLedger(plan, charged, kept_budget(plan, self._folder.budget_path(plan.name)))
            row = _Row(
                plan=plan, charged=charged, ledger=ledger, devices=devices, measure=measure, records=records,
                prefix=None if plan.tree is None else PrefixSteps(plan.tree.tree),
            )  # fmt: skip
            again = FRESH
            if self._journals:
                # What devices sign of a round that was interrupted is known before it is charged again.
                again = repeat_of(plan, charged, self._folder, self._federation)
            for slot in range(at.slot, plan.scenario.slots):
                # 2. Slot: whoever is there by the calendar joins the secure sums.
                devices.welcome(charged)
                sums = rosters.at(slot)
                for round in range(records.progress.round, plan.rounds_per_slot):
                    step = plan.step(slot, round)
                    state, again = self._round(row, sums, step, state, again), FRESH
                    devices.save_round(step)
                    self._folder.pin_ledger(plan.name, charged)
                    records.commit(row=number, slot=slot, round=round + 1)
                    if self._stopped():
                        raise Interrupted
                # 5. Close: devices fill their memories and forget the slot's tasks; the model is measured on all.
                devices.close(slot, state)
                devices.save_slot(slot)
                record, tally = measure.after_slot(state, slot)
                records.metric(record)
                self._folder.pin_ledger(plan.name, charged)
                records.commit(row=number, slot=slot + 1, round=0)
        tally = tally or measure.tally(state)
        records.metric(measure.final(tally, records.of(plan.name, "task"), records.of(plan.name, "round")))
        model = self._folder.path / "model" / f"{file_stem(plan.name)}.npz"
        self._folder.pin(model, save_arrays(model, **state))
        records.commit(row=number + 1, slot=0, round=0)

    def _round(self, row: _Row, sums: SecureSums, step: StepContext, state: State, again: Repeat) -> State:
        # 3. Round: charge the ledger, then let clients train and sum what they send.
        plan, laps, number = row.plan, Laps(), step.slot * row.plan.rounds_per_slot + step.round
        retired = row.ledger.charge(step.slot, step.round, again.covered, run=self._run, row=plan.name, **again.what)
        wire = plan.wire(step.phase, step.slot)
        carrier = wire.draw(step.slot, step.round)
        aside = row.devices.disclose(step, state)
        entries = heads_bytes(row.charged.heads)
        shown = row.charged.last_entry if self._journals else ""
        visit = Visit(slot=step.slot, round=step.round, retired=retired, state=state, ledger=entries, entry=shown)
        away = plan.away(step.slot, step.round)
        result = sums.run(number, wire.sent.name, visit, away)
        laps.lap()
        # 4. Release: the sum becomes the next model, which is saved, measured and accounted for.
        # A mean is over those who are in the sum; the server knows them, so dividing reveals nothing.
        clients = len(result.contributors)
        summed = carrier.decode(result.total)
        if row.prefix is not None:
            # Nodes of other rounds may be of more clients, or of fewer: what is added up are means.
            summed = {name: clients * row.prefix.moved(node / clients) for name, node in summed.items()}
        after = plan.strategy.apply(state, step, summed, clients)
        if plan.channels:
            after = informed(plan, step, after, self._folder.path)
        saved = self._folder.save_round(plan.name, number, after, result.total)
        if plan.config.transcript == "latest":
            # Two are kept: the round before is what a run resumes from if this one is never committed.
            self._folder.forget_round(plan.name, number - 2)
        applied = laps.lap()
        record: dict[str, Any] = {
            "kind": "round", "row": plan.name, "task": step.slot, "round": step.round,
            **row.measure.after_round(after, step.slot),
        }  # fmt: skip
        if retired:
            record["retired"] = arrivals_to_json(retired)
        saturated = carrier.saturated(result.total)
        if saturated is not None:
            record |= {"saturated": saturated, "coordinates": clients * wire.coordinates}
        row.records.metric(record)
        cost = cost_record(plan, step, result, state, after, aside, away)
        cost["seconds"] |= {"apply": applied, "evaluate": laps.lap()}
        row.records.cost(cost | {"wall": laps.wall} | saved)
        self._watch(tick_of(self._prepared, plan, step, record["probe_accuracy"]))
        return after

    def _sums(self, plan: RowPlan, slot: int) -> SecureSums:
        config = self._prepared.config
        kept = self._federation.journals
        place = None if kept is None else answers_folder(kept, self._run, plan.name)
        sums = SecureSums(plan.secure_plan(slot), self._federation, config.identities, config.server, place)
        record_processes(self._folder, plan.name, self._federation.lab, sums.processes)
        return sums
