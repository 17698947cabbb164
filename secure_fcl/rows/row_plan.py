"""One row of a run as public numbers: strategy, memory, noise, upload, and what every round charges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.catalogue import entry_of as protocol_entry
from crypto.protocols.plans import plan
from privacy import Charge, Cohort, DistributedSum, Event, NonPrivate, SkellamSum, spent
from privacy.cohorts import Spent
from privacy.matrix import BinaryTree
from privacy.tree_shares import TreeShares
from secure_fcl.compression import Wire
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.memory import (
    OVERFLOW_PROBABILITY,
    MemoryPolicy,
    StoragePlan,
    ThresholdMemory,
)
from secure_fcl.rows.noise import SumNoise, counted_inside, event_inside
from secure_fcl.rows.norms import noise_norm_bound
from secure_fcl.strategies import GradientStrategy, Phase, State, StepContext, Strategy, Stratum
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.gradient.numbers import LearntNorm
from secure_fcl.strategies.side_channels import SideChannel, side_channels
from secure_fcl.streams import Absences, Absent, Scenario

#: Probability, per run, that the noise of a sum leaves the field that the plan gives it; less at a large epsilon.
NOISE_EXCESS = 2.0**-42
#: Part of delta that such noise may take; e to the epsilon times its probability is what it takes.
EXCESS_SHARE = 1e-3
LARGEST_EPSILON = 600.0


@dataclass(frozen=True, eq=False)
class RowPlan:
    """Everything public about one row; server, workers and ledger read the same plan."""

    name: str
    config: Config
    scenario: Scenario
    strategy: Strategy
    memory: MemoryPolicy | None
    storage: StoragePlan
    noises: Mapping[Phase, SumNoise]
    wires: Mapping[Phase, tuple[Wire, ...]]
    """How each phase's upload is sent: in the first slot, and in later ones; the last entry goes on."""

    @property
    def train_noise(self) -> SumNoise | None:
        """Noise added inside the sums of training rounds, if any."""
        return self.noises.get("train")

    @cached_property
    def tree(self) -> TreeShares | None:
        """The tree over all rounds whose nodes the sums release; None: every round has noise of its own."""
        node = self.train_noise
        if self.config.privacy.mechanism != "tree" or not isinstance(node, DistributedSum):
            return None
        return TreeShares(BinaryTree(self.rounds), node)

    @property
    def training_rounds(self) -> int:
        """Rounds of a slot that train; each chunk gets at least one, exactly one where it is released or seen once."""
        chunks = self.storage.chunks
        once = self.strategy.once_per_chunk or self.scenario.seen_once
        return chunks if once else max(self.strategy.rounds, chunks)

    @property
    def rounds_per_slot(self) -> int:
        """Rounds of every slot, the closing one of some strategies included."""
        return self.training_rounds + ("close" in self.strategy.uploads)

    @property
    def persons(self) -> bool:
        """Whether the unit of the guarantee is a client with its whole stream, not an example."""
        return self.config.privacy.unit == "person"

    @property
    def channels(self) -> tuple[SideChannel, ...]:
        """What the strategy sends beside the sums; outside every guarantee."""
        return side_channels(self.strategy)

    @property
    def own_models(self) -> bool:
        """Whether every client has a model of its own, kept as the device's array "own", and there is no common one."""
        return isinstance(self.strategy, GradientStrategy) and self.strategy.method.own

    def personal(self, state: State, own: Floats) -> State:
        """Return the state that one client's own model predicts by, from its array "own"."""
        return self.strategy.method.personal(state, own) if isinstance(self.strategy, GradientStrategy) else state

    @property
    def keeps(self) -> bool:
        """Whether devices keep more between rounds than examples."""
        return bool(self.strategy.carried) or self.strategy.columns > 0

    def phase(self, round: int) -> Phase:
        """Return what a round of a slot is for."""
        return "train" if round < self.training_rounds else "close"

    def step(self, slot: int, round: int) -> StepContext:
        """Return the public facts of a round."""
        seen = {c for earlier in range(slot) for c in self.scenario.slot_classes(earlier)}
        return StepContext(
            slot=slot, round=round, classes=self.scenario.slot_classes(slot), seen=tuple(sorted(seen)),
            phase=self.phase(round), last=round == self.training_rounds - 1,
        )  # fmt: skip

    @property
    def rounds(self) -> int:
        """Rounds of the whole row."""
        return self.rounds_per_slot * self.scenario.slots

    def chunk(self, round: int) -> int:
        """Return which chunk of the stream the devices hold in a round of a slot."""
        return min(round * self.storage.chunks // self.training_rounds, self.storage.chunks - 1)

    def wire(self, phase: Phase = "train", slot: int = 0) -> Wire:
        """Return how a phase's upload is sent in a slot."""
        found = self.wires[phase]
        return found[min(slot, len(found) - 1)]

    def clients_in(self, slot: int) -> tuple[str, ...]:
        """Names of the clients in the secure sums of a slot: those who are there by the public calendar."""
        return tuple(f"client{k}" for k in np.flatnonzero(self.scenario.dates.present[:, slot]))

    @cached_property
    def _absences(self) -> Absences:
        return Absences(self.config, self.scenario.dates, self.rounds_per_slot)

    def away(self, slot: int, round: int) -> Absent:
        """Return which of the slot's clients are away from a round by the public draw, and from what on."""
        return self._absences.at(slot, round)

    def expected(self, slot: int, round: int) -> int:
        """Return how many clients are in a round's sum if nobody is missing but by the public draw."""
        return len(self.clients_in(slot)) - sum(missed == "upload" for missed in self.away(slot, round).values())

    def tolerated(self, slot: int) -> int:
        """Most clients of a slot that may be away from a sum: at least two always stay."""
        return min(self.config.privacy.max_dropouts, max(0, len(self.clients_in(slot)) - 2))

    def noise_in(self, slot: int, phase: Phase = "train") -> SumNoise | None:
        """Noise shares of a slot's clients; together they carry what is charged, however many there are."""
        noise = self.noises.get(phase)
        if noise is None or (isinstance(noise, SkellamSum) and noise.placement == "local"):
            return noise
        return replace(noise, parties=len(self.clients_in(slot)))

    def secure_plan(self, slot: int = 0) -> Plan:
        """Return the plan of the secure sums of a slot.

        Raises:
            crypto.errors.PlanRefused: a sum could overflow, or the plan is unsafe.
        """
        clients = self.clients_in(slot)
        uploads = tuple(self._declared(slot, phase, wire) for phase, found in self.wires.items() for wire in found)
        entry, corrupt = protocol_entry(self.config.protection), None
        # Who may reveal its noise may as well work with the server: a sum must hold against as many.
        if self.noises and entry.hiding != "nothing":
            corrupt = max(self.config.privacy.colluders, len(clients) // 10 if entry.masks is not None else 0)
        return plan(self.config.protection, clients, uploads, self.rounds, self.tolerated(slot), corrupt=corrupt)

    def _declared(self, slot: int, phase: Phase, wire: Wire) -> Upload:
        upload, noise, bound = wire.sent, self.noise_in(slot, phase), wire.encoder.bound
        if noise is None:
            return Upload(name=upload.name, length=upload.length, bound=bound, norm_bound=wire.norm_bound)
        excess = self.excess_probability / self.rounds
        return Upload(
            name=upload.name,
            length=upload.length,
            bound=bound,
            noise_bound=noise.noise_bound(upload.length, excess),
            noise_excess=excess,
            norm_bound=wire.norm_bound,
            noise_norm_bound=noise_norm_bound(noise, upload.length, excess) if wire.norm else 0,
        )

    @property
    def client_bytes(self) -> int:
        """Predicted bytes that a client who is always there sends in the whole row, envelopes aside."""
        plans: dict[tuple[str, ...], Plan] = {}
        total = 0
        for slot, round in self.schedule():
            present = self.clients_in(slot)
            if present not in plans:
                plans[present] = self.secure_plan(slot)
            total += plans[present].client_bytes(self.wire(self.phase(round), slot).sent.name)
        return total

    def charges(self, slot: int, round: int) -> list[Charge]:
        """Return what one round costs every cohort; written to the ledger before its noise is drawn.

        For persons a cohort is a group of clients, charged for every round in which a member may bring anything by the
        public calendar, whether or not it has anything and whether or not it drops out.
        """
        found = []
        members = dict(zip(self.scenario.groups, range(self.scenario.clients), strict=True))
        if self.persons:
            here = [group for group, client in sorted(members.items()) if self.scenario.released(client, slot)]
            events = self._current_events(round).items()
            return [Charge(Cohort.of_clients(group), event, n) for group in here for event, n in events]
        for group, client in sorted(members.items()):
            for task in self.scenario.released(client, slot):
                for fate in ("kept", "discarded") if self.memory else ("discarded",):
                    cohort = Cohort(group=group, arrival=task, chunk=self.chunk(round), fate=fate)
                    found += [Charge(cohort, e, n) for e, n in self._current_events(round).items()]
            if self.memory:
                for closed in (t for before in range(slot) for t in self.scenario.released(client, before)):
                    for chunk in range(self.storage.chunks):
                        cohort = Cohort(group=group, arrival=closed, chunk=chunk, fate="kept")
                        found += [Charge(cohort, e, n) for e, n in self.events("memory", self.phase(round)).items()]
        return found

    def events(self, stratum: Stratum, phase: Phase = "train") -> Mapping[Event, int]:
        """Return what one round charges an example of a stratum: the client's own noise, and that inside the sum."""
        events: Counter[Event] = Counter(self.strategy.events(stratum, phase))
        noise = self.noises.get(phase)
        if self.tree is not None:
            # In the one round that an example takes part in, whatever nodes it will still be released in.
            events.update(self.tree.events() if stratum == "current" else {})
        elif noise is not None:
            events.update(event_inside(noise, rate) for rate in self.strategy.sampled(stratum, phase))
            if self.learnt_norm is not None and stratum == "current":
                events[self.of_the_count(noise)] += 1
        return events

    @property
    def learnt_norm(self) -> LearntNorm | None:
        """How the norm of a person's vector is learnt; None where it is given, or the row trains no network."""
        return self.strategy.learnt if isinstance(self.strategy, GradientStrategy) else None

    def of_the_count(self, noise: SumNoise) -> Event:
        """Return what a round charges for the count by which a norm is learnt: of a coin of its own, at the same rate.

        Raises:
            ConfigInvalid: no norm is learnt, or the noise is another mechanism's.
        """
        if not isinstance(self.strategy, GradientStrategy) or self.strategy.learnt is None:
            raise ConfigInvalid(f"{self.name} counts nothing: its clipping norm is given; set training.clipping")
        return counted_inside(noise, self.strategy.q_current, self.strategy.learnt.most)

    def _current_events(self, round: int) -> Mapping[Event, int]:
        events: Counter[Event] = Counter(self.events("current", self.phase(round)))
        if self.memory and not self.memory.private and round == self.rounds_per_slot - 1:
            events[NonPrivate(f"{self.config.memory.policy}: what is kept depends on the values of all examples")] += 1
        if round == 0:
            events.update(NonPrivate(f"side channel {channel.name}") for channel in self.channels)
        return events

    def schedule(self) -> Iterator[tuple[int, int]]:
        """Yield (slot, round) of the whole row, in order."""
        for slot in range(self.scenario.slots):
            for round in range(self.rounds_per_slot):
                yield slot, round

    def scheduled(self) -> Spent:
        """Return what the whole schedule charges every cohort if every round runs once."""
        return spent(charge for slot, round in self.schedule() for charge in self.charges(slot, round))

    def planned(self) -> Spent:
        """Return what the whole schedule charges every cohort, with `privacy.spare_rounds` of each kind of round."""
        total: Spent = {}
        kinds: dict[Cohort, set[frozenset[tuple[Event, int]]]] = {}
        for slot, round in self.schedule():
            charged = spent(self.charges(slot, round))
            for cohort, events in charged.items():
                total.setdefault(cohort, Counter()).update(events)
                kinds.setdefault(cohort, set()).add(frozenset(events.items()))
        spare = self.config.privacy.spare_rounds
        for cohort, found in kinds.items():
            for kind in found:
                total[cohort].update({event: spare * count for event, count in kind if spare})
        return total

    @property
    def overflow(self) -> float:
        """Probability that the memory's coins displace an example; part of delta."""
        return OVERFLOW_PROBABILITY if isinstance(self.memory, ThresholdMemory) else 0.0

    @property
    def excess_probability(self) -> float:
        """Probability, per run and way, that noise leaves its field; the field is as wide as that takes."""
        weight = self._excess_weight
        return (
            min(NOISE_EXCESS, EXCESS_SHARE * self.config.privacy.delta / weight) if weight < math.inf else NOISE_EXCESS
        )

    @property
    def noise_excess(self) -> float:
        """What noise beyond its field adds to delta: the client then refuses to send, which others can see."""
        return self._excess_weight * self.excess_probability if self.noises else 0.0

    @property
    def _excess_weight(self) -> float:
        """What delta grows by for a probability of 1: two neighbours may both refuse, e to the epsilon for one."""
        epsilon = self.config.section(self.name).epsilon
        # With bounded norms there is a second way to leave it, as improbable as the first.
        ways = 2 if self.bounds_norms else 1
        return ways * (1.0 + math.exp(epsilon)) if epsilon <= LARGEST_EPSILON else math.inf

    @property
    def bounds_norms(self) -> bool:
        """Whether the norm of any upload is checked."""
        return any(wire.norm for found in self.wires.values() for wire in found)

    @property
    def accounting_delta(self) -> float:
        """Delta left for the accountants."""
        return self.config.privacy.delta - self.overflow - self.noise_excess

    @property
    def protected(self) -> bool:
        """Whether any epsilon can be claimed."""
        return self.noise != "none" and (self.memory is None or self.memory.private) and not self.channels

    @property
    def noise(self) -> str:
        """Place of the noise: local, shared or none."""
        return self.config.section(self.name).noise
