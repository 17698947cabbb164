"""What the run's ledger claims of one round of an example: at which rate it is drawn, and under how much noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from privacy import DistributedSum, Event, SampledGaussian, SampledSkellam
from secure_fcl.auditing.charges import spent_by_fate
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.rows.noise import event_inside


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Steps of one round, each a clipped gradient sum over a Poisson sample, under Gaussian noise.

    Attributes:
        rate: at which an example of the stratum is drawn; 0: the ledger charged it nothing.
        std: of one step's noise, in units of gradients.
        steps: in a round.
    """

    rate: float
    std: float
    steps: int


def charged_by_stratum(world: AuditWorld) -> tuple[Mapping[Event, int], Mapping[Event, int]] | None:
    """Return what the ledger charged a canary while it was current, and then in the memory.

    None if no group of clients meets a task in the first slot.
    """
    current = spent_by_fate(world, "discarded")
    if current is None:
        return None
    return current, Counter(spent_by_fate(world, "kept") or {}) - Counter(current)


def claims(world: AuditWorld, charged: tuple[Mapping[Event, int], Mapping[Event, int]]) -> tuple[Claim, Claim] | None:
    """Return the claims about current and kept examples, from the ledger alone; None if it charged no sampled sum.

    Where the ledger holds several events for an example (a reference gradient, a noisy count) the one that the
    strategy names for its visit is taken if it is there, else the one charged most often.
    """
    rates = world.strategy.rates
    current = _claim(world, charged[0], rates.current)
    if current is None:
        return None
    memory = _claim(world, charged[1], rates.memory)
    return current, memory or replace(current, rate=0.0)


def _claim(world: AuditWorld, history: Mapping[Event, int], rate: float) -> Claim | None:
    plan, visit = world.plan, world.strategy.dpsgd
    inside = plan.noises.get("train")
    shares = inside if isinstance(inside, DistributedSum) else None
    named = {event_inside(shares, rate): 1} if shares is not None else visit.events(rate)
    sampled = {event: n for event, n in history.items() if isinstance(event, SampledGaussian | SampledSkellam)}
    found = next((event for event in named if event in sampled), None)
    if found is None and sampled:
        found = max(sampled, key=lambda event: sampled[event])
    match found:
        case SampledGaussian():
            return Claim(rate=found.q, std=found.noise_multiplier * visit.clipping_norm, steps=visit.steps)
        case SampledSkellam() if shares is not None:
            return Claim(rate=found.q, std=math.sqrt(found.variance) / shares.scale, steps=visit.steps)
        case _:
            return None
