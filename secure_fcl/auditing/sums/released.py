"""What a closed-form row of a run released, sum by sum, beside what must be in it: all of it from the run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.files import read_jsonl
from privacy import Event, Ledger
from privacy.skellam_gdp import dominating
from secure_fcl.engines.simulation import inserted_canaries
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.strategies import DeviceView, Examples
from secure_fcl.strategies.base import State
from secure_fcl.strategies.contribution import UploadSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class NotReadable(Exception):
    """The sums of a row cannot be read back exactly; the sentence says why."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Release:
    """One released sum of a run.

    Attributes:
        number: of the round in the row; slot, in_slot: of the calendar.
        state: the model before the round, which the clients had.
        total: the released sum (D,), in the strategy's own units.
        clients: whose uploads are in it.
        charged: standard deviation of an entry's noise that the ledger was charged for; 0 without noise.
        share: standard deviation of one client's part of the noise, and rounding: that of its rounding to integers.
    """

    number: int
    slot: int
    in_slot: int
    state: State
    total: Floats
    clients: Ints
    charged: float
    share: float
    rounding: float

    def deviation(self, known: int = 0) -> float:
        """Return the deviation of the noise that is there for who knows the shares of `known` clients."""
        unknown = max(len(self.clients) - known, 0)
        return math.sqrt(unknown * self.share**2 + len(self.clients) * self.rounding**2)

    @property
    def rounded(self) -> float:
        """Deviation of what a sum without noise differs by from the sum of its examples: rounding."""
        return math.sqrt(len(self.clients)) * self.rounding


@dataclass(frozen=True, eq=False)
class SumsRow:
    """A finished row whose releases are sums: its releases, and what any examples add to one of them."""

    plan: RowPlan
    folder: RunFolder

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """All sums of the row in their order.

        Raises:
            NotReadable: a round was repeated or left out, or nobody wrote down who was in a sum.
        """
        plan = self.plan
        with Ledger(self.folder.ledger_path(plan.name)) as ledger:
            if ledger.spent() != plan.scheduled():
                raise NotReadable("a round was repeated, or went without examples whose budget was spent")
        who, state, found = self._uploaded(), plan.strategy.initial(), list[Release]()
        for number, (slot, in_slot) in enumerate(plan.schedule()):
            saved, phase = self.folder.load_round(plan.name, number), plan.phase(in_slot)
            upload, noise = plan.strategy.uploads[phase], plan.noise_in(slot, phase)
            parts = plan.wire(phase, slot).draw(slot, in_slot).decode(saved["total"])
            found.append(
                Release(
                    number=number, slot=slot, in_slot=in_slot, state=state, total=upload.flatten(dict(parts)),
                    clients=who[number], charged=math.sqrt(noise.guaranteed_variance) / upload.scale if noise else 0.0,
                    share=math.sqrt(noise.share_variance) / upload.scale if noise else 0.0,
                    # Stochastic rounding of a fraction that is uniform: its mean variance is 1/6.
                    rounding=math.sqrt(1.0 / 6.0) / upload.scale,
                )
            )  # fmt: skip
            state = {name: array for name, array in saved.items() if name != "total"}
        return tuple(found)

    def _uploaded(self) -> list[Ints]:
        """Return whose uploads are in each round, by the run's own record."""
        records = [r for r in read_jsonl(self.folder.path / "cost.jsonl").records if r.get("row") == self.plan.name]
        if len(records) != self.plan.rounds:
            raise NotReadable(f"the run recorded {len(records)} of {self.plan.rounds} rounds, so who sent is not known")
        found = list[Ints]()
        for record in records:
            clients = np.array(sorted({int(one["client"]) for one in record.get("ciphertexts", ())}), dtype=np.int64)
            if len(clients) != record.get("clients"):
                raise NotReadable(f"round {len(found) + 1} names {len(clients)} senders of {record.get('clients')}")
            found.append(clients)
        return found

    @cached_property
    def inserted(self) -> Ints:
        """Numbers of the canaries that were in the run, by the coins of its devices."""
        return inserted_canaries(self.plan, self.folder.path)

    @property
    def private(self) -> bool:
        """Whether there is noise in the sums."""
        return bool(self.plan.noises)

    @property
    def noises(self) -> tuple[bool, ...]:
        """Whether the noise counts, in each way the row is attacked: with it where there is any, and without."""
        return (True, False) if self.private else (False,)

    def upload(self, release: Release) -> UploadSpec:
        """Return how a release was declared."""
        return self.plan.strategy.uploads[self.plan.phase(release.in_slot)]

    def added(self, release: Release, index: Ints) -> Floats:
        """Return what examples add to a release together, (D,), by the strategy's own client side."""
        plan, scenario = self.plan, self.plan.scenario
        view = DeviceView(self._examples(index), Examples(scenario.x[:0], scenario.data.y[:0]))
        step = plan.step(release.slot, release.in_slot)
        made = plan.strategy.contribute(dict(release.state), view, step, bytes)
        return self.upload(release).flatten(made.parts)

    def _examples(self, index: Ints) -> Examples:
        return Examples(self.plan.scenario.x[index], self.plan.scenario.data.y[index])

    def members(self, release: Release, client: int) -> Ints:
        """Return the numbers of a client's examples that a release holds, canaries that were in included."""
        scenario, storage = self.plan.scenario, self.plan.storage
        chunk = self.plan.chunk(release.in_slot)
        held = [
            scenario.experience(client, task, self.inserted).chunk(chunk, storage.places_per_chunk)
            for task in scenario.released(client, release.slot)
        ]
        return np.concatenate([*held, np.empty(0, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def charged_mu(self) -> float | None:
        """Mu of what the ledger charged the example that paid most; None without a guarantee."""
        with Ledger(self.folder.ledger_path(self.plan.name)) as ledger:
            return max((mu_of(history) for history in ledger.spent().values()), default=0.0) if self.private else None


def mu_of(history: Mapping[Event, int]) -> float:
    """Return mu of a history of sums over all examples: Skellam releases, each dominated by a Gaussian one.

    Raises:
        NotReadable: the noise's variance is outside the range in which its law is known.
    """
    found = dominating(history)
    if found is None:
        raise NotReadable("the noise's variance is outside the range in which its law is known")
    return math.sqrt(math.fsum(count / event.noise_multiplier**2 for event, count in found.items()))
