"""Canaries through the row's own client code: the mechanism as it is written, against the ledger as it was written.

A run's examples hide each other. Canaries do not: each is an example along an axis of its own, in front of a linear
layer, so that its clipped gradient is orthogonal to every other's and the adversary knows where to look. They pass
through `Strategy.contribute` with the run's rates, steps, clipping and noise; coins decide who is there and whom the
memory keeps. What they show is compared with what the run's ledger charged an example with that fate (G-DP1: one run of
the mechanism, for the task and for retained examples).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from attacks.bounds.laws import LAW_LEVEL, variance_p_value
from attacks.games.attack import Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, RETAINED, Outcome, judge
from attacks.games.views import ONE_CLIENT_CLEAR, SUMS_ONLY
from evaluation.evidence import Score
from evaluation.roc import epsilon_lower_bound_one_run
from privacy import Event
from secure_fcl.auditing.bench import PER_DEVICE, Bench, Bools, Floats, bench_of, nobody
from secure_fcl.auditing.charges import cost
from secure_fcl.auditing.claims import Claim, charged_by_stratum, claims
from secure_fcl.auditing.law_tests import LawTest, canary_laws, empty_laws, life_laws
from secure_fcl.auditing.own_network import own_network_laws
from secure_fcl.auditing.world import AuditWorld, Played, accounted, audit_delta, finite
from secure_fcl.randomness import public_generator, public_seed

DEVICES = 4
"""Clients that carry canaries; each has its own axes and its own noise."""
#: Empty visits whose noise is measured.
_EMPTY_VISITS = 10
#: Rounds that are played at least: one visit cannot repeat itself.
_FEWEST_VISITS = 2
_LOUD_LEVEL = 1e-5

Fate = Literal["discarded", "kept"]
_STRATUM: dict[Fate, str] = {"discarded": "sampled as current data", "kept": "sampled from the memory"}
_NOTHING_CHARGED = LawTest(
    law="charges of an example's gradient sums",
    means="the ledger holds no sampled sum for an example that arrived in the first slot",
    entries=0,
    p_value=0.0,
)


def play_canaries(world: AuditWorld) -> Played:
    """Return the games on canaries, the check of the noise itself, and the tests of the claimed law.

    What is shown is one client's upload where clients add their own noise, and where they share it the sum, less the
    shares that colluding and missing clients take away from it.
    """
    plan = world.plan
    if plan.noise == "none":
        return Played(missing=(f"canaries: {plan.name} ran without noise, so there is no charge to compare with",))
    if not any(plan.scenario.released(client, 0) for client in range(plan.scenario.clients)):
        return Played(missing=("canaries: no client meets a task in the first slot",))
    charged = charged_by_stratum(world)
    claimed = None if charged is None else claims(world, charged)
    if charged is None or claimed is None:
        return Played(more=(("laws", [_NOTHING_CHARGED.record()]),))
    bench, seed = bench_of(plan, world.strategy, fine=True), plan.config.seed
    empty = empty_visits(bench_of(plan, world.strategy), seed)
    laws = empty_laws(empty, claimed[0], "canaries")
    outcomes = []
    replays = plan.memory is not None and world.strategy.memory_rate > 0 and plan.scenario.slots > 1
    for fate, history, claim in zip(_STRATUM, charged, claimed, strict=True):
        if fate == "kept" and not replays:
            continue
        visits, epsilon = _horizon(world, history, _rounds(world, fate), _rate(world, fate))
        scores, truth = play_fate(bench, seed, fate, max(visits, _FEWEST_VISITS))
        outcomes.append(_outcome(world, scores[:visits], truth, fate, epsilon))
        laws += canary_laws(scores, truth, claim, bench, _STRATUM[fate])
    base = public_seed(seed, "memory of canaries")
    replayed = plan.memory if replays else None
    laws += life_laws(bench, replayed, claimed, plan.scenario.slots, range(base, base + DEVICES))
    laws += own_network_laws(plan, world.strategy, claimed[: 1 + replays], seed)
    records = [law.record() for law in laws]
    return Played(tuple(outcomes), (), (("noise", _noise(empty, claimed[0], bench)), ("laws", records)))


def play_fate(bench: Bench, seed: int, fate: Fate, visits: int) -> tuple[Floats, Bools]:
    """Return the scores of canaries of one fate, (visits, devices, PER_DEVICE + 1), and who was there."""
    truth = public_generator(seed, "canaries", fate).random((DEVICES, PER_DEVICE)) < 0.5
    base = public_seed(seed, "canary noise", fate)
    scores = np.empty((visits, DEVICES, PER_DEVICE + 1))
    for device, here in enumerate(truth):
        current, memory = (here, nobody()) if fate == "discarded" else (nobody(), here)
        for visit in range(visits):
            scores[visit, device] = bench.visit(current, memory, base + visits * device + visit)
    return scores, truth


def _rounds(world: AuditWorld, fate: Fate) -> int:
    """Return in how many rounds canaries of a fate can be drawn from the stratum that it is about."""
    plan = world.plan
    if fate == "discarded":
        return sum(plan.chunk(round) == 0 for round in range(plan.training_rounds))
    return plan.training_rounds * (plan.scenario.slots - 1)


def _rate(world: AuditWorld, fate: Fate) -> float:
    return world.strategy.rates.current if fate == "discarded" else world.strategy.rates.memory


def _epsilon(history: Mapping[Event, int], visits: int, rounds: int, delta: float) -> float:
    part = {event: math.ceil(count * visits / rounds) for event, count in history.items()}
    return cost(part, 1, delta)


def _horizon(world: AuditWorld, history: Mapping[Event, int], rounds: int, rate: float) -> tuple[int, float]:
    """Return after how many visits missing noise would show most, and the epsilon charged until then.

    Computed from public numbers: the bound that sampled canaries without any noise would give, minus the charge.
    """
    delta, total, steps = accounted(world.plan), DEVICES * PER_DEVICE, world.strategy.dpsgd.steps
    best: tuple[float, int, float] | None = None
    for visits in sorted({min(2**power, rounds) for power in range(6)}):
        drawn = 1.0 - (1.0 - rate) ** (steps * visits)
        epsilon = _epsilon(history, visits, rounds, delta)
        shown = 0.0
        for share in (0.025, 0.1, 0.25, 0.5):
            guessed = int(share * total)
            sure = min(guessed, int(drawn * total / 2))
            right = sure + int((guessed - sure) * (1 - drawn) / (2 - drawn))
            bound = epsilon_lower_bound_one_run(
                right, guessed, candidates=total, delta=audit_delta(world.plan), confidence=1 - _LOUD_LEVEL
            )
            shown = max(shown, bound.value)
        if best is None or shown - epsilon > best[0]:
            best = shown - epsilon, visits, epsilon
    assert best is not None  # there is at least one round
    return best[1], best[2]


def _outcome(world: AuditWorld, scores: Floats, truth: Bools, fate: Fate, epsilon: float) -> Outcome:
    """Return the game on the sums of all visits, against what the ledger charged for them."""
    visits = len(scores)
    target = f"canaries in the client's own code, {_STRATUM[fate]} for {visits} round{'s' if visits > 1 else ''}"
    terms = Terms(
        target=target,
        seed=public_seed(world.plan.config.seed, "judge", target),
        coin=Coin(0.5),
        delta=audit_delta(world.plan),
        ledger_epsilon=finite(epsilon),
        about="canaries",
        guess="members",
    )
    own = scores[:, :, :-1].sum(axis=0).ravel()
    nothing = np.zeros(len(own), dtype=np.int64)
    asked = Candidates(np.zeros((len(own), 1), dtype=np.float32), nothing, np.arange(len(own)), nothing)
    # Axes tell nothing of coins: the blind baseline is one half by construction.
    blind = Score(value=0.5, low=0.5, high=0.5, confidence=terms.confidence, n=len(own))
    view = SUMS_ONLY.name if world.strategy.shared else ONE_CLIENT_CLEAR.name
    game = MEMBERSHIP if fate == "discarded" else RETAINED
    return judge(game, ("direction of a canary", view), own, asked, truth.ravel(), terms, blind)


def empty_visits(bench: Bench, seed: int) -> Floats:
    """Return what visits release that nobody was there for, (visits, PER_DEVICE + 1)."""
    base = public_seed(seed, "empty visits")
    return np.stack([bench.visit(nobody(), nobody(), base + number) for number in range(_EMPTY_VISITS)])


def _noise(released: Floats, claim: Claim, bench: Bench) -> dict[str, object]:
    """Return the deviation of an empty visit's noise as a multiple of the clipping norm, with its p-value.

    An empty batch must add its full noise: noise that is left out, too small, or scaled by the batch that came shows
    here at once. The entries are independent normals, so the sum of squares is chi-squared.
    """
    normals = released / (claim.std * math.sqrt(claim.steps))
    p_value, ratio = variance_p_value(normals), math.sqrt(float((normals**2).mean()))
    declared = claim.std / bench.strategy.dpsgd.clipping_norm
    return {
        "entries": normals.size,
        "declared": declared,
        "measured": declared * ratio,
        "p_value": p_value,
        "too_small": p_value < LAW_LEVEL and ratio < 1.0,
        "too_large": p_value < LAW_LEVEL and ratio > 1.0,
    }
