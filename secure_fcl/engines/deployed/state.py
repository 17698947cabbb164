"""What one row has on a device's disk: coins, memory, ledger, journal, claims and session, and how it is taken up."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.engines.deployed.claims import ClaimBook
from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.sessions import DurableSession
from secure_fcl.engines.deployed.vault import Vault
from secure_fcl.engines.device import Device
from secure_fcl.engines.host import OpenRow
from secure_fcl.engines.journals import HASH_BYTES, Journal
from secure_fcl.engines.parties import parties_of
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import DeviceRefused
from secure_fcl.randomness import Coins
from secure_fcl.rows.budgets import NO_ARRIVALS, Arrivals, ClientBudget, RowBudget, arrivals_to_json, planned_budget
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import State
from secure_fcl.streams import Scenario

_RUN_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_CLOSED_NONE = -1


class ChargedBudget:
    """A device's own count with a ledger of its own: what a round charges is on disk before it trains.

    An entry names that of the run's ledger which it answers for. What the run's entry does not charge again, because
    the one before it did, is not charged here only where this ledger has answered for that one.
    """

    def __init__(self, plan: RowPlan, ledger: Ledger, run: str) -> None:
        self.planned: RowBudget | None = planned_budget(plan)
        self._count = ClientBudget(plan, self.planned, ledger.spent())
        self._ledger, self._labels = ledger, {"run": run, "row": plan.name}
        self._entry = self._before = ""

    def at(self, ledger: bytes) -> None:
        """Say which entry of the run's ledger is answered for next: the last of these hashes."""
        self._entry, self._before = ledger[-HASH_BYTES:].hex(), ledger[-2 * HASH_BYTES : -HASH_BYTES].hex()

    def require(self, group: str, slot: int, round: int, retired: Arrivals, covered: Arrivals) -> None:
        """Raise BudgetSpent where `take_part` would; charge nothing."""
        self._count.admitted((group,), slot, round, retired, self._paid(covered))

    def take_part(
        self, groups: Iterable[str], slot: int, round: int, retired: Arrivals, covered: Arrivals = NO_ARRIVALS
    ) -> None:
        """See `ClientBudget.take_part`; the charges are synced to disk before this returns."""
        own, paid = tuple(groups), self._paid(covered)
        charges = self._count.admitted(own, slot, round, retired, paid)
        mine = frozenset(arrival for arrival in paid if arrival[0] in own)
        named = {"covered": json.dumps(arrivals_to_json(mine))} if mine else {}
        self._ledger.charge(charges, slot=slot, round=round, entry=self._entry, **self._labels, **named)
        self._count.take_part(own, slot, round, retired, paid)

    def _paid(self, covered: Arrivals) -> Arrivals:
        """Return what of `covered` this ledger has charged; a device that missed the attempt before has not."""
        there = any(label.get("entry") == self._before for label in self._ledger.labels)
        return covered if covered and there else NO_ARRIVALS


@dataclass
class RowState:
    """One row as it stands on the device; everything that changes is on disk before anything leaves."""

    run: str
    plan: RowPlan
    folder: Path
    vault: Vault
    device: Device
    ledger: Ledger
    journal: Journal
    budget: ChargedBudget
    book: ClaimBook
    open: OpenRow
    multiplier: float
    closed: int
    session: DurableSession | None = None

    @property
    def group(self) -> str:
        """The device's calendar: clients of one group are charged together."""
        return self.plan.scenario.groups[self.device.client]

    def save(self, head: str = "", answer: bytes = b"") -> None:
        """Put memory, kept arrays and coins on disk as they are now, and with them the answer to the entry `head`.

        Raises:
            evaluation.errors.StorageError: the system refused.
        """
        arrays = {"draws": self.device.draws, **{f"kept {name}": a for name, a in self.device.export().items()}}
        self.book.answer = (head, answer) if head else self.book.answer
        kept = self.book.answer or ("", b"")
        self.vault.write(_device_file(self.folder), [self.closed, self.multiplier, *kept], arrays)

    def close_up_to(self, slot: int, state: State) -> None:
        """Close all slots up to one that are not closed yet, under `state`: what was missed is made up for."""
        if slot <= self.closed:
            return
        for late in range(self.closed + 1, slot + 1):
            self.device.close(late, state)
        self.closed = slot
        self.save()

    def let_go(self) -> None:
        """Close all files."""
        self.ledger.close()
        self.book.close()
        if self.session is not None:
            self.session.close()


def open_row(
    place: DeviceFolder, scenario: Scenario, vault: Vault, run: str, row: str, secret: bytes | None
) -> RowState:
    """Return a row as it stands on the device's disk, begun there if it is new, with noise calibrated by the device.

    Raises:
        DeviceRefused: the row may not run on a deployed device, or its state is damaged.
        ConfigInvalid, privacy.PrivacyError: as `calibrated_row`.
    """
    if not _RUN_NAME.fullmatch(run):
        raise DeviceRefused("a run's name is letters, digits, - and _, at most 80; update the server")
    _require_deployable(place.config, row, secret)
    folder = place.state / run / file_stem(row)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = vault.read(_device_file(folder))
    if kept is None:
        plan, multiplier = calibrated_row(place.config, scenario, row)
    else:
        multiplier = float(kept[0][1])
        plan = build_row(place.config, scenario, row, multiplier)
    if plan.channels or plan.own_models:
        raise DeviceRefused(f"row {row} runs in a simulation alone; take another row")
    coins = Coins(secret)
    device = Device(plan, place.client, coins, None if kept is None else kept[1]["draws"])
    if kept is not None:
        device.restore({name.removeprefix("kept "): a for name, a in kept[1].items() if name != "draws"})
    ledger = Ledger(_private(folder / "ledger.jsonl"))
    budget = ChargedBudget(plan, ledger, run)
    journal = Journal(place.state / "journals", run, row, place.name, vault, place.identity())
    opened = OpenRow(plan, parties_of(scenario.clients), {place.name: device}, coins, budget, {place.name: journal})
    answer = None if kept is None or not kept[0][2] else (str(kept[0][2]), bytes(kept[0][3]))
    book = ClaimBook(folder, vault, f"{run} {row}", answer)
    state = RowState(
        run=run, plan=plan, folder=folder, vault=vault, device=device, ledger=ledger, journal=journal, budget=budget,
        book=book, open=opened, multiplier=multiplier, closed=_CLOSED_NONE if kept is None else int(kept[0][0]),
    )  # fmt: skip
    if kept is None:
        # Coins before anything that depends on them.
        state.save()
    state.session = DurableSession.resume(folder, vault, book, place.identity())
    if state.session is not None:
        opened.sessions[place.name] = state.session
    return state


def _require_deployable(config: Config, row: str, secret: bytes | None) -> None:
    if row not in config.rows:
        raise DeviceRefused(f"row {row!r} is none of this device's configuration; give server and devices one run.toml")
    if config.attacks.enabled:
        raise DeviceRefused("attacks.enabled = true reads training data; set it to false in the device's run.toml")
    if config.replay_noise and secret is None:
        raise DeviceRefused("replay_noise = true needs a secret that no deployed device has; set it to false")


def _device_file(folder: Path) -> Path:
    return folder / "device.bin"


def _private(path: Path) -> Path:
    """Return a file's path, made empty and readable to its owner alone if it is new."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return path
