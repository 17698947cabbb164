"""The device's side of a run: the only place where a clear update ever exists.

It trains, encodes, adds noise shares and encrypts; what leaves it are protocol messages. It knows no transport.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crypto.keys.randomness import KeyedStream
from crypto.keys.roster import Identity
from crypto.opening import open_client
from crypto.protocols.session import ClientSession
from crypto.wire.messages import Item, Message
from privacy import PrivacyError, RandomBytes, spent
from privacy.ledger import read_entry
from secure_fcl.compression import Carrier
from secure_fcl.data import load_chosen
from secure_fcl.engines import commands as c
from secure_fcl.engines.device import Device
from secure_fcl.engines.frames import grouped
from secure_fcl.engines.identities import state_digest
from secure_fcl.engines.journals import HASH_BYTES, Begun, Journal
from secure_fcl.engines.parties import Answer, Party, parties_of
from secure_fcl.engines.simulation import clear_update
from secure_fcl.errors import JournalRefused, SecureFclError
from secure_fcl.randomness import Coins
from secure_fcl.rows.audited import viewed
from secure_fcl.rows.budgets import NO_ARRIVALS, Arrivals, ClientBudget, covered_by, planned_budget
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import Contribution, DeviceView, State, StepContext
from secure_fcl.strategies.side_channels import Discloses
from secure_fcl.streams import Scenario, build_scenario

Ints = NDArray[np.int64]

TOGETHER = 1 << 22
"""Numbers in the vectors of clients that train together: enough for speed, and no matter how many clients there are."""


class Budget(Protocol):
    """A device's own count: `secure_fcl.rows.budgets.ClientBudget`, or one that writes a ledger of its own."""

    def take_part(
        self, groups: Iterable[str], slot: int, round: int, retired: Arrivals, covered: Arrivals = NO_ARRIVALS
    ) -> None:
        """See `ClientBudget.take_part`."""


@dataclass
class OpenRow:
    """What a host holds while one row runs."""

    plan: RowPlan
    numbers: Mapping[Party, int]
    devices: dict[Party, Device]
    coins: Coins
    budget: Budget
    journals: Mapping[Party, Journal]
    sessions: dict[Party, ClientSession] = field(default_factory=dict)
    clear: dict[Party, c.Arrays] = field(default_factory=dict)


class ClientHost:
    """The `Host` of clients of one machine; each reads its own private key in the secure sums.

    Args:
        identities: folder of `<party>.key`; None: a lab says where before the first `Keys`.
        journals: folder of the devices' journals, outside every run folder; None: what `Open` says, or none.
    """

    def __init__(self, identities: Path | None = None, journals: Path | None = None) -> None:
        self._identities = identities
        self._journals = journals
        self._scenario: Scenario | None = None
        self._row: OpenRow | None = None

    def take(self, row: OpenRow) -> None:
        """Play a row that was opened elsewhere: by a device that has all of it on its own disk."""
        self._row = row

    def answer(self, asks: Mapping[Party, c.Ask | c.LabAsk]) -> Iterator[Answer]:
        """See `Host`.

        Raises:
            Exception: whatever a client could not do; its transport decides who learns of it.
        """
        for ask, parties in grouped(asks):
            for party, reply in self._replies(ask, parties):
                yield Answer(party=party, reply=reply)

    def _replies(self, ask: c.Ask | c.LabAsk, parties: Sequence[Party]) -> Iterator[tuple[Party, c.Reply]]:
        match ask:
            case c.Open():
                self._open(ask, parties)
            case c.Join():
                raise SecureFclError("a simulated client is begun with Open; Join is for deployed devices")
            case c.Identify():
                self._identities = ask.folder
            case c.Keys():
                yield from self._keys(ask, parties)
                return
            case c.Deliver():
                yield from ((party, self._on(party, ask.items)) for party in parties)
                return
            case c.Visit():
                yield from self._visit(ask, parties)
                return
            case c.Settle():
                yield from ((party, self._settled(party, ask)) for party in parties)
                return
            case c.Close():
                for party in parties:
                    self._current().devices[party].close(ask.slot, ask.state)
            case c.Restore():
                for party in parties:
                    self._restore(party, ask)
            case _:
                yield from ((party, c.Given(arrays=self._given(party, ask))) for party in parties)
                return
        yield from ((party, c.Done()) for party in parties)

    def _open(self, ask: c.Open, parties: Sequence[Party]) -> None:
        import torch

        torch.set_num_threads(ask.config.threads)
        if self._scenario is None:
            self._scenario = build_scenario(load_chosen(ask.config.data), ask.config)
        plan = build_row(ask.config, self._scenario, ask.row, ask.simulated.noise_multiplier)
        coins, numbers = Coins(ask.simulated.secret), parties_of(self._scenario.clients)
        devices = {party: Device(plan, numbers[party], coins) for party in parties}
        # The plan is the client's own, so its budget is too; only what was charged before is told to it.
        budget = ClientBudget(plan, planned_budget(plan), spent(ask.simulated.charged))
        folder = self._journals or ask.simulated.journals
        journals = {party: Journal(folder, ask.simulated.run, ask.row, party) for party in parties} if folder else {}
        for journal in journals.values():
            journal.open(ask.simulated.ledger)
        self._row = OpenRow(plan, numbers, devices, coins, budget, journals)

    def _current(self) -> OpenRow:
        if self._row is None:
            raise RuntimeError("no row is open; the run's process must send Open first")
        return self._row

    def _keys(self, ask: c.Keys, parties: Sequence[Party]) -> Iterator[tuple[Party, c.Reply]]:
        row, folder = self._current(), self._identities
        if folder is None:
            raise SecureFclError("a device knows no folder of private keys; name one, or let a lab name it")
        public: object | None = None
        # Who is not in the plan has not joined yet, or has left.
        row.sessions.clear()
        for party in parties:
            own = Identity.load(folder / f"{party}.key")
            session = row.sessions[party] = open_client(ask.plan, own.name, public=public, identity=own)
            yield party, self._on(party, ask.items, session.start())
            public = session.public

    def _on(self, party: Party, items: Sequence[Item], before: Sequence[Item] = ()) -> c.Answered:
        """Give a client its messages, and return what follows."""
        session = self._current().sessions[party]
        answers = list(before)
        for message in items:
            if isinstance(message, Message) and message.receiver in (party, "clients"):
                answers += session.on(message)
        return c.Answered(items=tuple(answers), ready=session.ready)

    def _visit(self, ask: c.Visit, parties: Sequence[Party]) -> Iterator[tuple[Party, c.Reply]]:
        row, state = self._current(), ask.state
        plan, step = row.plan, row.plan.step(ask.slot, ask.round)
        model = state_digest(state, f"{plan.name} {step.slot} {step.round}")
        # Helper parties remember models across an interruption; the attempt after it has an entry and a name of its own
        told = hashlib.sha256(model + ask.ledger[-HASH_BYTES:]).digest() if ask.ledger else model
        groups = {party: plan.scenario.groups[row.numbers[party]] for party in parties}
        covered = covered_in(ask.ledger, ask.entry)
        row.budget.take_part(groups.values(), step.slot, step.round, ask.retired, covered)
        for party, group in groups.items():
            row.devices[party].attend(step.slot, step.round, retired_of(group, ask.retired))
        # On disk before anything of this attempt is drawn.
        attempts = self._begun(row, groups, ask.ledger, {group for group, _ in covered})
        size = max(1, TOGETHER // plan.wire(step.phase, step.slot).source.length)
        for first in range(0, len(parties), size):
            yield from self._sent(ask, parties[first : first + size], attempts, model, told)

    def _sent(
        self, ask: c.Visit, parties: Sequence[Party], attempts: Mapping[Party, Begun], model: bytes, told: bytes
    ) -> Iterator[tuple[Party, c.Reply]]:
        """Train these clients together, and yield what each sends."""
        row, state = self._current(), ask.state
        plan, step = row.plan, row.plan.step(ask.slot, ask.round)
        groups = {party: plan.scenario.groups[row.numbers[party]] for party in parties}
        wire = plan.wire(step.phase, step.slot)
        carrier = wire.draw(step.slot, step.round)
        begun = time.perf_counter()
        views = {
            party: row.devices[party].view(step.slot, step.round, retired_of(group, ask.retired))
            for party, group in groups.items()
            if party not in attempts or attempts[party].again is None
        }
        coins = [self._training_coins(row, party, state, view, step) for party, view in views.items()]
        made: dict[Party, Contribution] = {}
        if views:
            found = plan.strategy.contribute_all(state, list(views.values()), step, coins)
            made = dict(zip(views, found, strict=True))
        number = step.slot * plan.rounds_per_slot + step.round
        for party in parties:
            # Taken out, so that what a client made is gone when its vector is sent.
            if (own := made.pop(party, None)) is not None:
                own = row.devices[party].released(own)
                carried: c.Arrays = own.carried
                values, noise = self._encoded(row, party, carrier, own, step)
                del own
            else:
                values, noise, carried = _vector_of(attempts[party], wire.encoder.bound)
            row.devices[party].carried = dict(carried)
            trained = time.perf_counter()
            session = row.sessions[party]
            # Who missed the last answer has no keys for this sum and sits it out.
            messages = session.submit(number, wire.sent.name, values, noise, model=told) if session.ready else ()
            journal = ""
            if party in attempts:
                journal = json.dumps(asdict(attempts[party].head))
                # On disk before the first byte leaves: without it the device could not say that none did.
                kept = _kept(values, noise, carried) if self._may_repeat(row, party, step) else None
                row.journals[party].sending(ask.ledger, model.hex(), kept)
            sealed = time.perf_counter()
            yield party, c.Sent(items=messages, train=trained - begun, encrypt=sealed - trained, journal=journal)
            begun = time.perf_counter()

    def _begun(
        self, row: OpenRow, groups: Mapping[Party, str], ledger: bytes, covered: Collection[str]
    ) -> dict[Party, Begun]:
        """Begin the attempt in every journal; who is to repeat without a charge needs one that allows it."""
        for party, group in groups.items():
            if group in covered and party not in row.journals:
                raise JournalRefused(
                    f"{party} refuses to repeat a round without a charge: it keeps no journal that allows it; charge "
                    "the round again"
                )
        return {p: row.journals[p].answer(ledger, group in covered) for p, group in groups.items() if p in row.journals}

    def _settled(self, party: Party, ask: c.Settle) -> c.Settled:
        row = self._current()
        if party not in row.journals:
            return c.Settled(said="", proof="")
        group = row.plan.scenario.groups[row.numbers[party]]
        repeats = any(group == covered for covered, _ in covered_in(ask.ledger, ask.entry))
        saying = row.journals[party].settle(ask.ledger, repeats)
        return c.Settled(said=saying.said, proof=saying.proof)

    def _may_repeat(self, row: OpenRow, party: Party, step: StepContext) -> bool:
        """Return whether a vector may be sent again in another session of the secure sums.

        It must carry all of its noise itself: whatever is computed from the same vectors is the same release. With a
        share of the noise the same vector among others would be another release. Nor could what is kept, vector plus
        noise, be taken apart again within two bounds on norms. Where a clear view of the very vector is declared, that
        view is gone with the attempt.
        """
        apart = bool(row.plan.noises) and row.plan.bounds_norms
        return row.plan.noise == "local" and not apart and not self._shown(row, party, step)

    def _shown(self, row: OpenRow, party: Party, step: StepContext) -> bool:
        mine = row.numbers[party] == row.plan.config.attacks.client
        return mine and viewed(row.plan) and step.slot == step.round == 0

    def _training_coins(
        self, row: OpenRow, party: Party, state: State, view: DeviceView, step: StepContext
    ) -> RandomBytes:
        """Return a client's coins for one round, and lay by its update in the clear where a view of it is declared."""
        plan, client = row.plan, row.numbers[party]
        coins: RandomBytes = row.coins.stream(plan.name, "round", client, step.slot, step.round, "training")
        if not self._shown(row, party, step):
            return coins
        # One key for both visits: the noise-free twin sees the same batches, and no coin is ever stored.
        key = coins(32)
        row.clear[party] = clear_update(plan, state, view, KeyedStream(key), KeyedStream(key))
        return KeyedStream(key)

    def _encoded(
        self, row: OpenRow, party: Party, carrier: Carrier, contribution: Contribution, step: StepContext
    ) -> tuple[Ints, Ints | None]:
        """Return the integer vector of one client (contribution, shortened, clipped, encoded) and its noise share."""
        labels = (row.plan.name, "round", row.numbers[party], step.slot, step.round)
        values = carrier.encode(contribution.parts, row.coins.stream(*labels, "rounding"))
        noise = row.plan.noise_in(step.slot, step.phase)
        return values, noise.share(len(values), row.coins.stream(*labels, "noise")) if noise else None

    def _restore(self, party: Party, ask: c.Restore) -> None:
        row = self._current()
        if ask.coins:
            keys, inserted = ask.coins["keys"], ask.coins.get("canaries")
            row.devices[party] = Device(row.plan, row.numbers[party], row.coins, keys, inserted)
        if ask.kept:
            row.devices[party].restore(ask.kept)

    def _given(self, party: Party, ask: c.LabAsk) -> c.Arrays:
        """Return what a lab asks of one client."""
        row = self._current()
        device = row.devices[party]
        match ask:
            case c.GiveCoins():
                found = {"keys": device.draws, "items": device.items}
                return found if row.plan.scenario.canaries is None else found | {"canaries": device.inserted}
            case c.GiveHeld():
                return {"held": device.held.index}
            case c.GiveKept():
                return device.export()
            case c.GiveOwn():
                return {"own": device.carried["own"]}
            case c.GiveClear():
                return row.clear.pop(party, {})
            case c.Disclose():
                strategy, step = row.plan.strategy, row.plan.step(ask.slot, ask.round)
                if isinstance(strategy, Discloses):
                    return strategy.disclose(ask.state, device.view(step.slot, step.round), step)
                return {}
            case _:
                raise TypeError(f"{type(ask).__name__} asks for no arrays")


def retired_of(group: str, retired: Arrivals) -> set[int]:
    """Return the arrival tasks of a group that are retired."""
    return {task for other, task in retired if other == group}


def covered_in(ledger: bytes, entry: str) -> Arrivals:
    """Return what the ledger's last entry does not charge again, read off the entry itself and not off a server's word.

    Raises:
        JournalRefused: what is shown as that entry is not it.
    """
    if not entry:
        return NO_ARRIVALS
    try:
        return covered_by(read_entry(entry, ledger[-HASH_BYTES:].hex()).what)
    except (PrivacyError, ValueError, TypeError) as error:
        raise JournalRefused(f"a device is shown an entry that is not the ledger's last ({error})") from error


def _kept(values: Ints, noise: Ints | None, carried: c.Arrays) -> dict[str, c.AnyArray]:
    """Return what a device keeps of a vector that it may send again: noise included, and what is carried on."""
    noised = values if noise is None else values + noise
    return {"vector": noised, **{f"own {name}": array for name, array in carried.items()}}


def _vector_of(attempt: Begun, bound: int) -> tuple[Ints, Ints | None, dict[str, c.AnyArray]]:
    """Return the vector to send again and what the device carries on after it: what `_kept` was given.

    Vector and noise come in parts that keep the upload's two bounds, which need not be the parts of before: only
    their sum is ever seen.
    """
    assert attempt.again is not None
    own = {name.removeprefix("own "): array for name, array in attempt.again.items() if name != "vector"}
    vector = attempt.again["vector"]
    values = np.clip(vector, -bound, bound)
    beyond = vector - values
    return values, beyond if beyond.any() else None, own
