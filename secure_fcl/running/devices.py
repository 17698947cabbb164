"""What devices hold between rounds: handed out at the start of a row, saved while it runs, given back when it goes on.

In a simulation all of it passes through the lab, and the files lie in the run's `simulation` folder. Deployed devices
keep it themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from privacy import Ledger
from secure_fcl.engines.commands import AnyArray, Ask, Close, Done, Failed, Join, Open, PerClient, Simulated
from secure_fcl.engines.device import exported
from secure_fcl.engines.disclosures import collect, disclosures_path
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.journals import heads_bytes
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.engines.simulation import (
    SIMULATION,
    canaries_path,
    clear_update_path,
    coins_path,
    declared_canaries,
    file_stem,
    load_arrays,
    save_arrays,
)
from secure_fcl.errors import JournalRefused, QuorumMissing, RunFolderError, SecureFclError
from secure_fcl.rows.audited import viewed
from secure_fcl.rows.budgets import charges_of
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import Progress, RunFolder
from secure_fcl.strategies import State, StepContext


class Devices:
    """The devices of one row, as its run sees and saves them.

    Raises:
        SecureFclError: the row needs a lab and there is none.
    """

    def __init__(self, plan: RowPlan, folder: RunFolder, federation: Federation) -> None:
        self._plan = plan
        self._run = folder
        self._folder = folder.path / SIMULATION
        self._federation = federation
        self._lab = federation.lab
        # Deployed devices that began the row.
        self._there: set[str] = set()
        needs = (plan.own_models, "every client has a model of its own"), (bool(plan.channels), "it has side channels")
        if self._lab is None and (why := [text for needed, text in needs if needed]):
            raise SecureFclError(f"row {plan.name} runs in a simulation alone: {why[0]}; take another row")

    def open(self, multiplier: float, ledger: Ledger, secret: bytes | None, done: Progress) -> State:
        """Open the row on every device, as it was when the run stood at `done`; return the state to go on from.

        Raises:
            JournalRefused, WorkerLost: a device has answered for entries that the ledger lacks.
            QuorumMissing: too few deployed devices begin the row; says who does not and why.
            RunFolderError: a file of an earlier start is missing or damaged.
        """
        plan, lab = self._plan, self._lab
        if lab is None:
            # Deployed devices have all that they were, and take no more than this from a server.
            self._join(self._begin(ledger), plan.clients_in(min(done.slot, plan.scenario.slots - 1)))
            return self._state(done)
        given = Simulated(
            noise_multiplier=multiplier,
            charged=tuple(charges_of(ledger.spent())),
            secret=secret,
            journals=self._federation.journals,
            run=self._run.identity("run"),
            ledger=heads_bytes(ledger.heads),
        )
        self._tell(Open(row=plan.name, config=plan.config, simulated=given))
        self._recall(done)
        return self._state(done)

    def _state(self, done: Progress) -> State:
        plan = self._plan
        if done.slot == done.round == 0:
            return plan.strategy.initial()
        saved = self._run.load_round(plan.name, done.slot * plan.rounds_per_slot + done.round - 1)
        return {name: saved[name] for name in plan.strategy.initial()}

    def _recall(self, done: Progress) -> None:
        """Bring devices to where they were: coins of an earlier start, and what they held."""
        assert self._lab is not None
        plan = self._plan
        path, declared = coins_path(self._run.path, plan.name), canaries_path(self._run.path, plan.name)
        coins: PerClient = {}
        if path.exists():
            known = load_arrays(path)
            names = ("keys",) if plan.scenario.canaries is None else ("keys", "canaries")
            clients = [k for k in range(plan.scenario.clients) if f"keys{k}" in known]
            coins = {k: {name: known[f"{name}{k}"] for name in names} for k in clients}
        self._lab.restore(coins, self._saved(done))
        if not coins:
            save_arrays(path, **{f"{name}{k}": a for k, own in self._lab.coins().items() for name, a in own.items()})
        self._run.pin(path)
        if canaries := declared_canaries(plan):
            if not declared.exists():
                save_arrays(declared, **canaries)
            self._run.pin(declared)
        if not plan.keeps:
            # Memories follow from the coins alone; whatever else devices keep was handed to them. What they held was
            # written when the slots were closed, and is pinned: it is not written again.
            for slot in range(done.slot):
                self._tell(Close(slot=slot, state={}))

    def close(self, slot: int, state: State) -> None:
        """Close a slot's tasks on every device, and save which examples the memories hold."""
        self._tell(Close(slot=slot, state=state))
        if self._plan.memory and self._lab is not None:
            held = {f"held{k}": own["held"] for k, own in self._lab.held().items()}
            self._save_arrays(self._folder / f"memory-{file_stem(self._plan.name)}-{slot:03d}.npz", held)

    def disclose(self, step: StepContext, state: State) -> int | None:
        """Let the strategy's side channels speak in the first round of a slot; return the bytes, None without any."""
        if not self._plan.channels or self._lab is None:
            return None
        if step.round != 0:
            return 0
        sent = collect(self._plan, self._lab, step, state, self._run.path)
        self._run.pin(disclosures_path(self._run.path, self._plan.name, step.slot))
        return sent

    def save_round(self, step: StepContext) -> None:
        """Save what devices keep beyond their memories, and the clear update where a view of it is declared.

        Only the last two rounds are kept.
        """
        if self._lab is None:
            return
        if viewed(self._plan) and step.slot == step.round == 0:
            for update in self._lab.clear().values():
                self._save_arrays(clear_update_path(self._run.path, self._plan.name), update)
        number = step.slot * self._plan.rounds_per_slot + step.round
        self._save(number)
        # No longer pinned by the commit of this round, gone in the next: no crash leaves a pin without its file.
        self._run.unpin(self._path(number - 1))
        self._path(number - 2).unlink(missing_ok=True)

    def save_slot(self, slot: int) -> None:
        """Save what devices keep beyond their memories when a slot is closed."""
        self._save(f"closed-{slot}")

    def models(self, state: State) -> list[State]:
        """Return the states to evaluate: the server's, or with each client's own weights where it has its own model.

        The run's process sees those weights only as the simulation that it is.
        """
        if not self._plan.own_models or self._lab is None:
            return [state]
        return [self._plan.personal(state, own["own"]) for own in self._lab.own().values()]

    def _tell(self, ask: Ask) -> None:
        for answer in self._asked(ask):
            # A deployed device that could not do it makes up for it at its next visit.
            if not (self._lab is None and isinstance(answer.reply, Failed)):
                answer.of(Done)

    def welcome(self, ledger: Ledger) -> None:
        """Let deployed devices begin the row that could not be reached when it began; who refuses stays out."""
        if self._lab is None and (late := [p for p in self._federation.parties.present() if p not in self._there]):
            asks = dict.fromkeys(late, self._begin(ledger))
            for answer in self._federation.parties.ask(asks, self._federation.deadline):
                if not isinstance(answer.reply, Failed):
                    self._there.add(answer.party)

    def _begin(self, ledger: Ledger) -> Join:
        return Join(
            row=self._plan.name,
            run=self._run.identity("run"),
            digest=self._federation.digest,
            ledger=heads_bytes(ledger.heads),
        )

    def _join(self, ask: Join, expected: Collection[Party]) -> None:
        """Let every deployed device begin the row; `expected`: who is to take part now, by the calendar.

        Raises:
            JournalRefused: a device has answered for entries that the ledger lacks.
            QuorumMissing: too few begin; says who does not and why.
        """
        there, refused = self._there, dict[str, str]()
        for answer in self._asked(ask):
            if isinstance(answer.reply, Failed):
                refused[answer.party] = answer.reply.error
            else:
                answer.of(Done)
                there.add(answer.party)
        older = sorted(party for party, error in refused.items() if error == JournalRefused.__name__)
        if older:
            raise JournalRefused(
                f"{', '.join(older)} refused the ledger of row {ask.row}: it lacks entries that they answered for; the "
                "run folder was set back to an older copy: restore the newest one, or start a new run"
            )
        missing = {party: refused.get(party, "silent") for party in sorted(set(expected) - there)}
        if len(missing) > self._plan.config.privacy.max_dropouts:
            why = ", ".join(f"{party} {error}" for party, error in missing.items())
            raise QuorumMissing(
                f"row {ask.row} can miss {self._plan.config.privacy.max_dropouts} devices, and {len(missing)} did not "
                f"begin it: {why}; mend or start them, and go on with --resume"
            )

    def _asked(self, ask: Ask) -> Iterator[Answer]:
        parties = self._federation.parties
        return parties.ask(dict.fromkeys(parties.present(), ask), self._federation.deadline)

    def _save(self, number: int | str) -> None:
        if self._plan.keeps and self._lab is not None:
            kept = {f"{name}-{k}": a for k, own in self._lab.kept().items() for name, a in own.items()}
            self._save_arrays(self._path(number), kept)

    def _save_arrays(self, path: Path, arrays: Mapping[str, AnyArray]) -> None:
        self._run.pin(path, save_arrays(path, **arrays))

    def _saved(self, done: Progress) -> PerClient:
        slot, round = done.slot, done.round
        if not self._plan.keeps or slot == round == 0:
            return {}
        path = self._path(slot * self._plan.rounds_per_slot + round - 1 if round else f"closed-{slot - 1}")
        saved, names = load_arrays(path), exported(self._plan)
        try:
            return {k: {n: saved[f"{n}-{k}"] for n in names} for k in range(self._plan.scenario.clients)}
        except KeyError as error:
            raise RunFolderError(f"{path} lacks {error}; restore it or start a new run") from error

    def _path(self, number: int | str) -> Path:
        return self._folder / f"devices-{file_stem(self._plan.name)}-{number}.npz"
