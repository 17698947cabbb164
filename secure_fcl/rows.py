"""One row of a run as public numbers: strategy, memory, noise, upload, and what every round charges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from crypto.encoding import FixedPoint
from crypto.planning import Plan, Upload, plan
from privacy import Charge, Cohort, DpSgdPlan, Event, NonPrivate, SkellamSum, smallest_multiplier, spent
from secure_fcl import config as cfg
from secure_fcl.errors import ConfigInvalid
from secure_fcl.memory import (
    OVERFLOW_PROBABILITY,
    EverythingMemory,
    HerdingMemory,
    MemoryPolicy,
    StoragePlan,
    ThresholdMemory,
    plan_storage,
    threshold_memory,
)
from secure_fcl.strategies import ClassSums, GradientStrategy, Strategy
from secure_fcl.streams import Scenario

#: Probability, per run, that the noise of a sum leaves the field that the plan gives it.
NOISE_EXCESS = 2.0**-42


@dataclass(frozen=True, eq=False)
class RowPlan:
    """Everything public about one row; server, workers and ledger read the same plan."""

    name: str
    config: cfg.Config
    scenario: Scenario
    strategy: Strategy
    memory: MemoryPolicy | None
    storage: StoragePlan
    shares: SkellamSum | None

    @property
    def rounds_per_slot(self) -> int:
        """Rounds of every slot; each chunk gets at least one, exactly one where it is released or seen once."""
        chunks = self.storage.chunks
        once = self.strategy.once_per_chunk or self.scenario.seen_once
        return chunks if once else max(self.strategy.rounds, chunks)

    @property
    def rounds(self) -> int:
        """Rounds of the whole row."""
        return self.rounds_per_slot * self.scenario.slots

    def chunk(self, round: int) -> int:
        """Return which chunk of the stream the devices hold in a round of a slot."""
        return round * self.storage.chunks // self.rounds_per_slot

    @cached_property
    def encoder(self) -> FixedPoint:
        """Real to integer and back."""
        return FixedPoint(self.strategy.upload.scale, self.strategy.upload.largest_bound)

    @property
    def clients(self) -> tuple[str, ...]:
        """Names of the clients in the secure sum."""
        return tuple(f"client{k}" for k in range(self.scenario.clients))

    def secure_plan(self) -> Plan:
        """Return the plan of the secure sum.

        Raises:
            crypto.errors.PlanRefused: a sum could overflow, or the plan is unsafe.
        """
        upload = self.strategy.upload
        excess = NOISE_EXCESS / self.rounds
        noise = self.shares.noise_bound(upload.length, excess) if self.shares else 0
        declared = Upload(upload.name, upload.length, self.encoder.bound, noise, excess if self.shares else 0.0)
        return plan(
            self.config.protection, self.clients, (declared,), self.rounds,
            min(self.config.privacy.max_dropouts, max(0, self.scenario.clients - 2)),
        )  # fmt: skip

    def charges(self, slot: int, round: int) -> list[Charge]:
        """Return what one round costs every cohort; written to the ledger before its noise is drawn."""
        found = []
        members = dict(zip(self.scenario.groups, range(self.scenario.clients), strict=True))
        for group, client in sorted(members.items()):
            for task in self.scenario.released(client, slot):
                for fate in ("kept", "discarded") if self.memory else ("discarded",):
                    cohort = Cohort(group, task, self.chunk(round), fate)
                    found += [Charge(cohort, e, n) for e, n in self._current_events(round).items()]
            if self.memory:
                for closed in (t for before in range(slot) for t in self.scenario.released(client, before)):
                    for chunk in range(self.storage.chunks):
                        cohort = Cohort(group, closed, chunk, "kept")
                        found += [Charge(cohort, e, n) for e, n in self.strategy.events("memory").items()]
        return found

    def _current_events(self, round: int) -> Mapping[Event, int]:
        events: Counter[Event] = Counter(self.strategy.events("current"))
        if self.shares:
            events[self.shares.event] += 1
        if self.memory and not self.memory.private and round == self.rounds_per_slot - 1:
            events[NonPrivate("herding: what is kept depends on the values of all examples")] += 1
        return events

    def schedule(self) -> Iterator[tuple[int, int]]:
        """Yield (slot, round) of the whole row, in order."""
        for slot in range(self.scenario.slots):
            for round in range(self.rounds_per_slot):
                yield slot, round

    @property
    def overflow(self) -> float:
        """Probability that the memory's coins displace an example; part of delta."""
        return OVERFLOW_PROBABILITY if isinstance(self.memory, ThresholdMemory) else 0.0

    @property
    def noise_excess(self) -> float:
        """What noise beyond its field adds to delta: the client then refuses to send, which others can see."""
        epsilon = float(getattr(self.config, self.name).epsilon)
        return (1.0 + math.exp(min(epsilon, 50.0))) * NOISE_EXCESS if self.shares else 0.0

    @property
    def accounting_delta(self) -> float:
        """Delta left for the accountants."""
        return self.config.privacy.delta - self.overflow - self.noise_excess

    @property
    def protected(self) -> bool:
        """Whether any epsilon can be claimed."""
        return self.noise != "none" and (self.memory is None or self.memory.private)

    @property
    def noise(self) -> str:
        """Place of the noise: local, shared or none."""
        return str(getattr(self.config, self.name).noise)


def build_row(config: cfg.Config, scenario: Scenario, name: str, noise_multiplier: float) -> RowPlan:
    """Return one row with the given noise multiplier (0: no noise).

    Raises:
        ConfigInvalid: a combination that does not exist.
        StorageTooSmall: the device's budget cannot hold the stream's smallest piece beside the memory.
    """
    memory = _memory(config, scenario) if name == "replay" else None
    if name != "class_sums":
        strategy: Strategy = _gradient(config, scenario, name, noise_multiplier)
        storage = _storage(config, scenario, memory, strategy)
        return RowPlan(name, config, scenario, strategy, memory, storage, None)
    storage = _storage(config, scenario, memory, None)
    widest = max(len(scenario.slot_classes(slot)) for slot in range(scenario.slots))
    sums = ClassSums(
        scenario.data.shape, len(scenario.data.classes), widest,
        storage.pool_examples * scenario.most_released,
        2.0**config.class_sums.scale_bits, noise_multiplier > 0,
    )  # fmt: skip
    return RowPlan(name, config, scenario, sums, None, storage, _shares(config, scenario, sums, noise_multiplier))


def _gradient(config: cfg.Config, scenario: Scenario, name: str, noise_multiplier: float) -> GradientStrategy:
    t = config.training
    plan = DpSgdPlan(t.steps, t.denominator, t.clipping_norm, noise_multiplier, t.learning_rate, t.momentum)
    return GradientStrategy(
        name, plan, t.q_current, t.q_memory if name == "replay" else 0.0, t.rounds, t.upload_clip, t.upload_bits,
        t.model, scenario.data.shape, len(scenario.data.classes), config.seed, config.device,
    )  # fmt: skip


def _shares(config: cfg.Config, scenario: Scenario, sums: ClassSums, multiplier: float) -> SkellamSum | None:
    placement = config.class_sums.noise
    if multiplier == 0.0 or placement == "none":
        return None
    upload = sums.upload
    if upload.sensitivity_l2 is None or upload.sensitivity_entries is None:
        raise ConfigInvalid(f"upload {upload.name!r} declares no sensitivity, so no noise can be shared in its sum")
    p = config.privacy
    if placement == "shared" and scenario.clients - p.max_dropouts - p.colluders < 1:
        raise ConfigInvalid(
            f"privacy.max_dropouts = {p.max_dropouts} and privacy.colluders = {p.colluders} leave none of "
            f"{scenario.clients} clients that surely adds noise; lower them or set class_sums.noise = 'local'"
        )
    dropouts = p.max_dropouts if placement == "shared" else 0
    # Local noise trusts nobody: each client's own share carries the whole guarantee.
    parties = scenario.clients if placement == "shared" else max(scenario.clients, 2)
    return SkellamSum(
        parties, dropouts, p.colluders if placement == "shared" else 1,
        upload.sensitivity_l2 * upload.scale, upload.sensitivity_entries, multiplier, placement,
    )  # fmt: skip


def _memory(config: cfg.Config, scenario: Scenario) -> MemoryPolicy:
    m = config.memory
    if config.scenario.setting == "cross-silo":
        return EverythingMemory(int(scenario.data.train.sum()))
    if m.policy == "herding":
        return HerdingMemory(m.capacity)
    item_size = scenario.units.largest_item
    return threshold_memory(m.keep, m.capacity, scenario.largest_place, item_size, scenario.tasks)


def _storage(
    config: cfg.Config, scenario: Scenario, memory: MemoryPolicy | None, strategy: Strategy | None
) -> StoragePlan:
    """Return the device's plan; `strategy` is None for class sums, which keep nothing and need the plan's pool."""
    silo = config.scenario.setting == "cross-silo"
    return plan_storage(
        budget=None if silo else config.storage.budget_kib * 1024,
        example_bytes=4 * math.prod(scenario.data.shape) + 16,
        windows_per_place=scenario.units.windows_per_unit,
        largest_place=scenario.largest_place,
        memory_examples=memory.capacity if memory else 0,
        held_places=scenario.most_waiting * scenario.largest_place,
        # A stream seen once is cut into as many chunks as there are rounds; each lives for one of them.
        most_places=-(-scenario.largest_place // strategy.rounds) if strategy and scenario.seen_once else None,
        kept=strategy.kept if strategy else (),
        examples=config.storage.budget_examples or None,
    )


def calibrated_row(config: cfg.Config, scenario: Scenario, name: str) -> tuple[RowPlan, float]:
    """Return a row whose noise is the least that keeps its worst cohort within its epsilon, and the multiplier.

    Raises:
        privacy.errors.BudgetUnreachable: no noise reaches the epsilon.
    """
    row = getattr(config, name)
    if row.noise == "none":
        return build_row(config, scenario, name, 0.0), 0.0
    delta = build_row(config, scenario, name, 1.0).accounting_delta
    if delta <= 0.0:
        raise ConfigInvalid(
            f"privacy.delta = {config.privacy.delta:g} is used up by memory overflow and noise bounds "
            f"({config.privacy.delta - delta:.3g} at {name}.epsilon = {row.epsilon:g}); raise delta or lower epsilon"
        )

    def histories(multiplier: float) -> list[Mapping[Event, int]]:
        plan = build_row(config, scenario, name, multiplier)
        total = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
        # Herding is declared non-private; its noise is that of the same row with a private memory.
        return [{e: n for e, n in h.items() if not isinstance(e, NonPrivate)} for h in total.values()]

    multiplier = smallest_multiplier(histories, row.epsilon, delta)
    return build_row(config, scenario, name, multiplier), multiplier
