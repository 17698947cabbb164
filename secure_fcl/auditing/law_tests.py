"""The claimed law itself, tested on canaries: not only how much they show, but every way in which they may not look.

Each test has a p-value that is uniform if the mechanism is what the ledger says, and a sentence on what it means if
it is not. One below `LAW_LEVEL` is a verdict of the audit, like a bound above the ledger's epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.laws import (
    LAW_LEVEL,
    ScoreLaw,
    distribution_p_value,
    drawn_counts,
    kept_counts,
    remainders,
    repetition_p_value,
    variance_p_value,
)
from crypto.keys.randomness import KeyedStream, derive_key
from privacy import DistributedSum
from privacy.randomness import uniforms
from secure_fcl.auditing.bench import PER_DEVICE, Bench, Bools, Floats, nobody
from secure_fcl.auditing.claims import Claim
from secure_fcl.memory import EverythingMemory, Held, MemoryPolicy, ThresholdMemory

#: Noise multiplier of visits that show who was drawn, its least size in integers, and rounds after a task closed.
_QUIET, _INTEGERS, _ROUNDS = 0.002, 32.0, 4

NO_NOISE = np.ones(1)
"""The law of a count that is always 0."""


@dataclass(frozen=True, kw_only=True)
class LawTest:
    """One test of the claimed law.

    Attributes:
        law: what was looked at.
        means: what follows if it is not as claimed.
        entries: number of values.
        p_value: uniform under the claim.
    """

    law: str
    means: str
    entries: int
    p_value: float

    @property
    def broken(self) -> bool:
        """Whether the claim is refuted."""
        return self.p_value < LAW_LEVEL

    def record(self) -> dict[str, Any]:
        """Return it as attacks.json has it."""
        return {
            "law": self.law, "means": self.means, "entries": self.entries, "p_value": self.p_value,
            "level": LAW_LEVEL, "broken": self.broken,
        }  # fmt: skip


def empty_laws(released: Floats, claim: Claim, where: str) -> list[LawTest]:
    """Return the tests of visits that nobody was drawn in: their noise alone, (visits, entries), in gradient units."""
    normals = released / (claim.std * math.sqrt(claim.steps))
    return [
        LawTest(
            law=f"variance of empty visits, {where}",
            means="the noise of an empty batch is not of the charged size",
            entries=normals.size,
            p_value=variance_p_value(normals),
        ),
        LawTest(
            law=f"independence of empty visits, {where}",
            means="visits that should be independent share noise, or take it back",
            entries=normals.size,
            p_value=repetition_p_value(normals),
        ),
    ]


def canary_laws(scores: Floats, truth: Bools, claim: Claim, bench: Bench, where: str) -> list[LawTest]:
    """Return the tests of visits with canaries in one stratum.

    Args:
        scores: (visits, devices, PER_DEVICE + 1), as `Bench.visit` returns them; two visits or more.
        truth: (devices, PER_DEVICE), who was there.
        claim: about the stratum.
        bench: what the visits were made with.
        where: the stratum, in words.
    """
    std = claim.std * math.sqrt(claim.steps)
    absent = ScoreLaw(counts=NO_NOISE, shift=bench.shift, std=std)
    inserted = ScoreLaw(counts=drawn_counts([(claim.rate, claim.steps)]), shift=bench.shift, std=std)
    own, bias = scores[:, :, :-1], scores[:, :, -1]
    normals = np.where(truth, inserted.normal_scores(own), absent.normal_scores(own)).reshape(len(own), -1)
    together = [
        ScoreLaw(counts=drawn_counts([(claim.rate, claim.steps * int(there.sum()))]), shift=bench.bias_shift, std=std)
        for there in truth
    ]
    sums = np.stack([law.normal_scores(bias[:, device]) for device, law in enumerate(together)])
    return [
        LawTest(
            law=f"scores of canaries that were left out, {where}",
            means="noise on what nobody touched is not the charged noise",
            entries=int((~truth).sum()) * len(own),
            p_value=distribution_p_value(absent, own[:, ~truth]),
        ),
        LawTest(
            law=f"scores of inserted canaries, {where}",
            means="rate, clipping or noise of a sampled example are not those that were charged",
            entries=int(truth.sum()) * len(own),
            p_value=distribution_p_value(inserted, own[:, truth]),
        ),
        LawTest(
            law=f"independence of visits, {where}",
            means="visits that should be independent share noise or coins",
            entries=normals.size,
            p_value=repetition_p_value(normals),
        ),
        LawTest(
            law=f"the bias that all canaries share, {where}",
            means="a batch holds more or fewer examples than its rate says, or a tensor lies outside the clipped norm",
            entries=sums.size,
            p_value=variance_p_value(sums),
        ),
    ]


def life_laws(
    bench: Bench, policy: MemoryPolicy | None, strata: tuple[Claim, Claim], slots: int, numbers: Sequence[int]
) -> list[LawTest]:
    """Return the tests of a canary's whole way: drawn while current, kept by its coin, drawn from the memory.

    The canaries pass through the row's own memory policy, with keys of their own, one device for each of `numbers`;
    the noise is small, so that the draws show, each with all that it adds. A memory that is not made of coins is left
    out.
    """
    kept = None if policy is None else _kept(policy)
    closings = 0 if kept is None else min(slots - 1, 2)
    quiet, noise = _quiet(bench)
    lives = np.stack([_life(quiet, policy, closings, number) for number in numbers])
    current, memory = strata
    counts = drawn_counts([(current.rate, current.steps)])
    if kept is not None and closings:
        once = drawn_counts([(memory.rate, memory.steps * _ROUNDS)])
        after = once if closings == 1 else kept_counts(once, once, kept[1] / kept[0])
        counts = kept_counts(counts, after, kept[0])
    std = noise * math.sqrt(current.steps + closings * _ROUNDS * memory.steps)
    scores = lives.sum(axis=1)
    return [
        *_added(lives, bench.shift, noise * math.sqrt(current.steps)),
        LawTest(
            law="scores of canaries from their arrival to the memory",
            means="examples are drawn, kept or replayed otherwise than charged rates and the memory's thresholds say",
            entries=scores.size,
            p_value=distribution_p_value(ScoreLaw(counts=counts, shift=bench.shift, std=std), scores),
        ),
    ]


def _added(lives: Floats, shift: float, std: float) -> list[LawTest]:
    """Return the test of what a draw adds, where a visit has few enough steps for its draws to show."""
    if 12.0 * std > shift:
        return []
    left = remainders(lives, shift, std)
    return [
        LawTest(
            law="what one draw of a canary adds",
            means="an example that is drawn adds more or less than its clipped gradient",
            entries=left.size,
            p_value=variance_p_value(left),
        )
    ]


def _kept(policy: MemoryPolicy) -> tuple[float, float] | None:
    """Return with which probability an item is kept when its own task closes, and when the next one does."""
    match policy:
        case ThresholdMemory(thresholds=thresholds):
            return thresholds[0], thresholds[min(1, len(thresholds) - 1)]
        case EverythingMemory():
            return 1.0, 1.0
        case _:
            return None


def _quiet(bench: Bench) -> tuple[Bench, float]:
    """Return the bench with little noise, and how much a step has, in units of gradients."""
    norm = bench.strategy.dpsgd.clipping_norm
    factor = quiet_multiplier(bench.noise, norm)
    visit = replace(bench.strategy.dpsgd, noise_multiplier=factor)
    noise = None if bench.noise is None else replace(bench.noise, noise_multiplier=factor)
    return Bench(replace(bench.strategy, dpsgd=visit), noise), factor * norm


def quiet_multiplier(noise: DistributedSum | None, clipping_norm: float) -> float:
    """Return a noise multiplier that hides nothing, and is still much more than the rounding to integers."""
    return _QUIET if noise is None else max(_QUIET, _INTEGERS / (noise.scale * clipping_norm))


def _life(bench: Bench, policy: MemoryPolicy | None, closings: int, number: int) -> Floats:
    """Return the scores of one device's canaries in all their rounds, (rounds, PER_DEVICE)."""
    everyone = np.arange(PER_DEVICE)
    coins = KeyedStream(derive_key(b"memory of canaries", str(number)))
    keys: NDArray[np.float64] = uniforms(coins, (PER_DEVICE,))
    held, arrived = Held.nothing(), Held(everyone, everyone, np.zeros(PER_DEVICE, dtype=np.int64))
    data = np.zeros((PER_DEVICE, 1), dtype=np.float32), np.zeros(PER_DEVICE, dtype=np.int64)
    first = number * (closings * _ROUNDS + 1)
    rounds = [bench.visit(~nobody(), nobody(), first)]
    for closing in range(closings if policy is not None else 0):
        assert isinstance(policy, ThresholdMemory | EverythingMemory)
        # The run's capacity is for as many items as its devices meet.
        roomy = replace(policy, capacity=PER_DEVICE)
        held = roomy.close(closing, held, arrived if closing == 0 else Held.nothing(), keys, *data)
        there = np.isin(everyone, held.index)
        rounds += [bench.visit(nobody(), there, first + len(rounds) + round) for round in range(_ROUNDS)]
    return np.stack(rounds)[:, :-1]
