"""Planted bugs: small mechanisms that do what their ledger says, or one thing less. An audit must tell them apart.

The mechanism is DP-SGD at its most exposed: m canaries, each with a gradient of norm 1 along its own axis and inserted
by its own fair coin; T rounds; in each, canaries join by Poisson sampling and the sum is released with Gaussian noise.
The adversary knows the axes. Other data could only hide canaries, so what this catches is caught at the worst case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.canaries import DirectionScore
from attacks.bounds.gaussian import TwoRunAudit, two_run_audit
from attacks.errors import AuditInvalid
from attacks.games.attack import Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, Outcome, play
from attacks.games.views import ONE_CLIENT_CLEAR, SUMS_ONLY, View
from evaluation.evidence import Score


@unique
class Bug(Enum):
    """What is wrong with the mechanism; the ledger never knows."""

    NONE = "none"
    NO_NOISE = "the noise is left out"
    NOISE_BY_REALISED_BATCH = "the noise is scaled by the batch that came"
    REPLAY_NOT_CHARGED = "the memory is replayed and only the first task is charged"
    ONE_CLIENT_UNMASKED = "one client's upload, which carries its noise share only, is seen in the clear"


@dataclass(frozen=True, kw_only=True)
class PlantedSchedule:
    """The mechanism as its ledger describes it.

    Attributes:
        noise_multiplier: of the sum's noise, in units of one canary.
        rate: Poisson rate per round.
        rounds: T, what the ledger charges.
        canaries: m.
        clients: who share the noise; the canaries are all of client 0.
        replay_rate: rate in the replay rounds (only with that bug).
        replay_rounds: number of replay rounds (only with that bug).
        seed: public seed: this is a test mechanism, not a private one.
    """

    noise_multiplier: float
    rate: float = 1.0
    rounds: int = 1
    canaries: int = 2000
    clients: int = 30
    replay_rate: float = 0.8
    replay_rounds: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.rounds, self.canaries, self.clients, self.replay_rounds)
        rates = (self.rate, self.replay_rate)
        if min(counts) < 1 or not all(0 < r <= 1 for r in rates) or not self.noise_multiplier > 0:
            raise AuditInvalid(f"{self}: counts and noise must be positive, rates in (0, 1]")


def planted_outcome(plan: PlantedSchedule, bug: Bug, ledger_epsilon: float, delta: float = 1e-5) -> Outcome:
    """Runs the mechanism once with the bug and plays membership against it.

    Args:
        plan: what the ledger believes.
        bug: what is done instead. `NOISE_BY_REALISED_BATCH` shows at expected batch 1 only: see `planted_two_run`.
        ledger_epsilon: the accountant's epsilon of `rounds` sampled Gaussians of the plan.
        delta: at which it holds.

    Returns:
        The outcome; `simultaneous.contradictions` says whether the bug was caught.
    """
    random = np.random.default_rng([plan.seed, 1])
    coins = random.random(plan.canaries) < 0.5
    axes = np.eye(plan.canaries, dtype=np.float32)
    sums = [_round(plan, bug, coins, plan.rate, random) for _ in range(plan.rounds)]
    if bug is Bug.REPLAY_NOT_CHARGED:
        sums += [_round(plan, bug, coins, plan.replay_rate, random) for _ in range(plan.replay_rounds)]
    numbers = np.arange(plan.canaries)
    zeros = np.zeros(plan.canaries, dtype=np.int64)
    released = {"sums": np.stack(sums), "sum_clients": np.full(len(sums), plan.clients)}
    view = View.of(ONE_CLIENT_CLEAR if bug is Bug.ONE_CLIENT_UNMASKED else SUMS_ONLY, released)
    terms = Terms(
        target=f"planted bug: {bug.value}", seed=plan.seed, coin=Coin(), delta=delta, ledger_epsilon=ledger_epsilon
    )
    # Axes tell nothing of coins: the blind baseline is one half by construction, and costs minutes to compute.
    blind = Score(value=0.5, low=0.5, high=0.5, confidence=terms.confidence, n=plan.canaries)
    return play(MEMBERSHIP, DirectionScore(), view, Candidates(axes, zeros, numbers, zeros), coins, terms, blind)


def _round(
    plan: PlantedSchedule, bug: Bug, coins: NDArray[np.bool_], rate: float, random: np.random.Generator
) -> NDArray[np.float64]:
    joins = coins & (random.random(plan.canaries) < rate)
    scale = plan.noise_multiplier
    if bug is Bug.NO_NOISE:
        scale = 0.0
    elif bug is Bug.NOISE_BY_REALISED_BATCH:
        scale *= joins.sum() / max(1.0, rate * plan.canaries / 2)
    elif bug is Bug.ONE_CLIENT_UNMASKED:
        scale /= plan.clients**0.5
    return joins + scale * random.normal(size=plan.canaries)


def planted_two_run(
    plan: PlantedSchedule,
    bug: Bug,
    *,
    trials: int = 1000,
    dimension: int = 16,
    delta: float = 1e-5,
    confidence: float = 0.999,
) -> TwoRunAudit:
    """One round on an otherwise empty data set, with one canary (expected batch 1 at rate 1) or without.

    The score is minus the log density ratio of the release under no data: it sees a canary along its axis, and noise
    that is absent or too small. Noise scaled by the batch that came is zero for the empty batch, so the two worlds are
    told apart at once; at larger batches the same bug moves the noise by a fraction and no audit of this size sees it.

    Raises:
        AuditInvalid: fewer than 20 trials.
    """

    def run(present: bool, number: int) -> float:
        random = np.random.default_rng([plan.seed, 2, number])
        batch = int(present and random.random() < plan.rate)
        scale = plan.noise_multiplier * {Bug.NO_NOISE: 0.0, Bug.NOISE_BY_REALISED_BATCH: float(batch)}.get(bug, 1.0)
        release = scale * random.normal(size=dimension)
        release[0] += batch
        return float(release[0] if np.any(release) else -np.inf)

    return two_run_audit(run, trials=trials, delta=delta, confidence=confidence, seed=plan.seed)
