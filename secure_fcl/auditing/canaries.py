"""Canaries through the row's own client code: the mechanism as it is written, against the ledger as it was written.

A run's examples hide each other. Canaries do not: each is an example along an axis of its own, in front of a linear
layer, so that its clipped gradient is orthogonal to every other's and the adversary knows where to look. They pass
through `Strategy.contribute` with the run's rates, steps, clipping and noise; coins decide who is there and whom the
memory keeps. What they show is compared with what the run's ledger charged an example with that fate (G-DP1: one run of
the mechanism, for the task and for retained examples).
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.games.attack import Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, RETAINED, Outcome, judge
from attacks.games.views import ONE_CLIENT_CLEAR, SUMS_ONLY
from crypto.keys.randomness import KeyedStream, derive_key
from crypto.vectors.encoding import FixedPoint
from evaluation.evidence import Score
from evaluation.roc import epsilon_lower_bound_one_run
from privacy import DistributedSum, Event, RandomBytes
from secure_fcl.auditing.charges import cost, spent_by_fate
from secure_fcl.auditing.world import AuditWorld, Played, accounted, audit_delta, finite
from secure_fcl.randomness import public_generator, public_seed
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, StepContext
from secure_fcl.strategies.gradient.method import Plain

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DEVICES = 4
"""Clients that carry canaries; each has its own axes and its own noise."""
PER_DEVICE = 1500
#: Empty visits whose noise is measured.
_EMPTY_VISITS = 10
#: Level at which the noise is said to be smaller than declared; the audit's verdict over all games asks for .001.
_NOISE_LEVEL = 1e-6
_LOUD_LEVEL = 1e-5


@dataclass(frozen=True, eq=False)
class _Bench:
    """The row's strategy in front of a linear layer, and the noise that is added inside its sums, if any is."""

    world: AuditWorld
    strategy: GradientStrategy
    noise: DistributedSum | None = None

    @property
    def scale(self) -> float:
        """Length of a canary, such that its gradient is clipped at zero weights and for a while after."""
        return 10.0 * max(1.0, self.strategy.dpsgd.clipping_norm)

    def examples(self, present: Bools) -> Examples:
        """Return the canaries that are there, as examples of class 0."""
        x = np.zeros((int(present.sum()), PER_DEVICE), dtype=np.float32)
        x[np.arange(len(x)), np.flatnonzero(present)] = self.scale
        return Examples(x, np.zeros(len(x), dtype=np.int64))

    def visit(self, current: Bools, memory: Bools, number: int) -> Floats:
        """Return what one round releases along every canary's direction, (PER_DEVICE,), in units of its upload."""
        state = {name: np.zeros_like(array) for name, array in self.strategy.initial().items()}
        view = DeviceView(self.examples(current), self.examples(memory))
        coins = KeyedStream(derive_key(b"canaries of an audit", str(number)))
        with warnings.catch_warnings():
            # A network of one layer has no inputs to differentiate, which torch finds worth a line per process.
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            made = self.strategy.contribute(state, view, StepContext(slot=0, round=0, classes=(0, 1)), coins).parts
        if not self.strategy.shared:
            return _along(made["update"])
        return -_along(self._with_shares(made, coins))

    def _with_shares(self, made: Mapping[str, Floats], coins: RandomBytes) -> Floats:
        """Return the sum as those see it who know the shares of all but the honest clients: integers and noise."""
        upload, noise = self.strategy.uploads["train"], self.noise
        if noise is not None:
            # The steps of the run, which rounds coarser where few bits are sent; its maps turn no canary.
            upload = replace(upload, scale=noise.scale)
        vector, _ = upload.clip(upload.flatten(made))
        total = FixedPoint(scale=upload.scale, clip=upload.largest_bound).encode(vector, coins).values
        if noise is not None:
            total = total + sum(noise.share(len(total), coins) for _ in range(shares_in_a_sum(noise)))
        return upload.split(total / upload.scale)["gradient"]


def shares_in_a_sum(noise: DistributedSum) -> int:
    """Return how many shares of the noise the ledger relies on: those of clients that stay and keep them secret."""
    return noise.honest


def _along(flat: Floats) -> Floats:
    """Return how far a flat vector of the linear layer goes along each canary's descent direction."""
    rows = np.asarray(flat, dtype=np.float64)[: 2 * PER_DEVICE].reshape(2, PER_DEVICE)
    return np.asarray(rows[0] - rows[1])


def play_canaries(world: AuditWorld) -> Played:
    """Return the games on canaries, and the check of the noise itself.

    What is shown is one client's upload where clients add their own noise, and where they share it the sum, less the
    shares that colluding and missing clients take away from it.
    """
    plan = world.plan
    if plan.noise == "none":
        return Played(missing=(f"canaries: {plan.name} ran without noise, so there is no charge to compare with",))
    shares = plan.noises.get("train")
    noise = replace(shares, dimension=2 * PER_DEVICE) if isinstance(shares, DistributedSum) else None
    bench = _Bench(world, bench_strategy(world.strategy), noise)
    games = [_game(bench, "discarded")]
    if plan.memory is not None and world.strategy.memory_rate > 0 and plan.scenario.slots > 1:
        games.append(_game(bench, "kept"))
    outcomes = tuple(game for game in games if game is not None)
    return Played(outcomes, (), (("noise", _noise(bench)),))


def bench_strategy(strategy: GradientStrategy) -> GradientStrategy:
    """Return the strategy with a linear layer in place of its network, and nothing that comes after the noise.

    Its optimizer starts afresh, as at a client's first visit.
    """
    linear = replace(strategy.networks, kind="linear", shape=(PER_DEVICE,), classes=2)
    return replace(
        strategy, networks=linear, groups=None, last_from=None, examples=PER_DEVICE, method=Plain(), keep_moments=False
    )


def _charged(world: AuditWorld, fate: str) -> tuple[Mapping[Event, int], int] | None:
    """Return what the ledger charged canaries of a fate in all their rounds, and how many rounds those are."""
    plan = world.plan
    current = spent_by_fate(world, "discarded")
    if current is None:
        return None
    if fate == "discarded":
        return current, sum(plan.chunk(round) == 0 for round in range(plan.training_rounds))
    kept = spent_by_fate(world, "kept") or {}
    return Counter(kept) - Counter(current), plan.training_rounds * (plan.scenario.slots - 1)


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


def _game(bench: _Bench, fate: str) -> Outcome | None:
    world = bench.world
    charged = _charged(world, fate)
    if charged is None or charged[1] < 1:
        return None
    rates = bench.strategy.rates
    rate = rates.current if fate == "discarded" else rates.memory
    visits, epsilon = _horizon(world, *charged, rate)
    rng = public_generator(world.plan.config.seed, "canaries", fate)
    truth = rng.random((DEVICES, PER_DEVICE)) < 0.5
    nobody = np.zeros(PER_DEVICE, dtype=np.bool_)
    base = public_seed(world.plan.config.seed, "canary noise", fate)
    scores = []
    for device, here in enumerate(truth):
        current, memory = (here, nobody) if fate == "discarded" else (nobody, here)
        numbers = range(base + visits * device, base + visits * (device + 1))
        scores.append(np.sum([bench.visit(current, memory, number) for number in numbers], axis=0))
    view = SUMS_ONLY.name if bench.strategy.shared else ONE_CLIENT_CLEAR.name
    rounds = f"{visits} round{'s' if visits > 1 else ''}"
    target = (
        f"canaries in the client's own code, sampled as current data for {rounds}"
        if fate == "discarded"
        else f"canaries in the client's own code, sampled from the memory for {rounds}"
    )
    terms = Terms(
        target=target,
        seed=public_seed(world.plan.config.seed, "judge", target),
        coin=Coin(0.5),
        delta=audit_delta(world.plan),
        ledger_epsilon=finite(epsilon),
        guess="members",
    )
    return _judged(np.concatenate(scores), truth.ravel(), terms, fate, view)


def _judged(scores: Floats, truth: Bools, terms: Terms, fate: str, view: str) -> Outcome:
    nothing = np.zeros(len(scores), dtype=np.int64)
    asked = Candidates(np.zeros((len(scores), 1), dtype=np.float32), nothing, np.arange(len(scores)), nothing)
    # Axes tell nothing of coins: the blind baseline is one half by construction.
    blind = Score(value=0.5, low=0.5, high=0.5, confidence=terms.confidence, n=len(scores))
    game = MEMBERSHIP if fate == "discarded" else RETAINED
    names = ("direction of a canary", view)
    return judge(game, names, scores, asked, truth, terms, blind)


def _noise(bench: _Bench) -> dict[str, object]:
    """Return the deviation of an empty visit's noise as a multiple of the declared one, with its p-value.

    An empty batch must add its full noise: noise that is left out, too small, or scaled by the batch that came shows
    here at once. The entries are independent normals, so the sum of squares is chi-squared.
    """
    plan = bench.strategy.dpsgd
    nobody = np.zeros(PER_DEVICE, dtype=np.bool_)
    base = public_seed(bench.world.plan.config.seed, "empty visits")
    values = np.concatenate([bench.visit(nobody, nobody, base + number) for number in range(_EMPTY_VISITS)])
    # A gradient sum with shared noise is one release; an update adds up the noise of its steps.
    weights, one = [1.0], plan.noise_multiplier * plan.clipping_norm
    if not bench.strategy.shared:
        weights = [sum(plan.momentum**later for later in range(plan.steps - step)) for step in range(plan.steps)]
        one *= plan.learning_rate / plan.denominator
    declared = one * math.sqrt(sum(weight**2 for weight in weights)) * math.sqrt(2.0)
    squares = float((values**2).sum()) / declared**2
    p_value = float(stats.chi2.cdf(squares, len(values)))
    return {
        "entries": len(values),
        "declared": plan.noise_multiplier,
        "measured": plan.noise_multiplier * math.sqrt(squares / len(values)),
        "p_value": p_value,
        "too_small": p_value < _NOISE_LEVEL,
    }
