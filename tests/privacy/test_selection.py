"""Private selection against the paper's own statements, dp_accounting, and exact distributions of small mechanisms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq

from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.renyi import epsilon_at
from privacy.selection import NegativeBinomial, PoissonRuns, Runs, draw_runs, selected_epsilon

A = np.asarray(ORDERS)
LAWS: list[Runs] = [
    NegativeBinomial(eta=1.0, gamma=0.1),
    NegativeBinomial(eta=0.0, gamma=0.02),
    NegativeBinomial(eta=-0.5, gamma=0.01),
    NegativeBinomial(eta=2.5, gamma=0.3),
    PoissonRuns(mean=1.0),
    PoissonRuns(mean=12.0),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_law_sums_to_one_and_has_its_mean(law: Runs) -> None:
    shares = [law.probability(k) for k in range(20_000)]
    assert math.fsum(shares) == pytest.approx(1.0, abs=1e-9)
    assert math.fsum(k * p for k, p in enumerate(shares)) == pytest.approx(law.mean, rel=1e-9)


def test_a_mean_is_met() -> None:
    for eta in (-0.5, 0.0, 1.0, 3.0):
        assert NegativeBinomial.of_mean(eta, 10.0).mean == pytest.approx(10.0, rel=1e-9)
    assert NegativeBinomial.of_mean(1.0, 8.0).gamma == pytest.approx(1 / 8)


def test_pure_dp_costs_two_plus_eta_times() -> None:
    """Corollary 3 of the paper: the best of epsilon-DP runs is (2 + eta) epsilon-DP, whatever gamma."""
    huge = [1e6, 1e7, 1e8]
    for eta in (-0.5, 0.0, 1.0):
        curve = NegativeBinomial(eta=eta, gamma=0.01).selected(huge, np.full(3, 0.7))
        assert curve[-1] == pytest.approx((2 + eta) * 0.7, rel=1e-5)


def test_concentrated_dp_has_a_closed_form() -> None:
    """Of a curve rho a, Theorem 2 gives rho a + (1 + eta)(2 sqrt(rho log(1/gamma)) - rho) + log E[K] / (a - 1)."""
    rho, law = 0.02, NegativeBinomial(eta=0.0, gamma=1e-3)
    dense = np.linspace(1.001, 200.0, 200_000)
    found = law.selected([*dense], rho * dense)
    root = math.sqrt(-rho * math.log(law.gamma))
    exact = rho * dense + (2 * root - rho) + math.log(law.mean) / (dense - 1)
    # The curve is filled from higher orders, so it is compared where the closed form rises.
    rising = dense > 1 + math.sqrt(math.log(law.mean) / rho)
    assert found[rising] == pytest.approx(exact[rising], rel=1e-6)


@pytest.mark.parametrize("shape", [0.0, 1.0, 3.0, math.inf])
def test_dp_accounting_agrees(shape: float) -> None:
    from dp_accounting.rdp import rdp_privacy_accountant as rdp

    curve = A / (2 * 3.0**2)
    law: Runs = PoissonRuns(mean=10.0) if math.isinf(shape) else NegativeBinomial.of_mean(shape, 10.0)
    theirs = np.minimum.accumulate(np.asarray(rdp._compute_rdp_repeat_and_select([*A], [*curve], 10.0, shape))[::-1])[
        ::-1
    ]
    assert law.selected(ORDERS, curve) == pytest.approx(theirs, rel=1e-6)


def test_what_the_choice_of_one_run_of_epsilon_1_costs() -> None:
    """Figures computed apart from this code: ten runs on average, one run at epsilon 1, delta 1e-5."""
    sigma = brentq(lambda s: epsilon_at(ORDERS, (A / (2 * s * s)).tolist(), 1e-5) - 1.0, 1.0, 10.0)
    curve = A / (2 * sigma * sigma)
    found = {eta: selected_epsilon(NegativeBinomial.of_mean(eta, 10.0), curve, 1e-5) for eta in (0.0, 1.0, -0.5)}
    assert found == pytest.approx({0.0: 1.76, 1.0: 2.13, -0.5: 1.54}, abs=0.01)
    assert selected_epsilon(PoissonRuns(mean=10.0), curve, 1e-5) == pytest.approx(2.33, abs=0.01)
    assert epsilon_at(ORDERS, curve.tolist(), 1e-5) == pytest.approx(1.0, abs=1e-3)


def best_of(law: Runs, outcomes: np.ndarray) -> np.ndarray:
    """The law of the best of K draws, outcomes in rising order of score; the last entry: nothing was drawn."""
    shares = np.array([law.probability(k) for k in range(4000)])
    below = np.concatenate([[0.0], np.cumsum(outcomes)])
    at_most = np.array([float(shares[1:] @ (f ** np.arange(1, 4000))) for f in below])
    return np.append(np.diff(at_most), shares[0])


def renyi(p: np.ndarray, q: np.ndarray, order: float) -> float:
    some = p > 0
    terms = order * np.log(p[some]) + (1 - order) * np.log(q[some])
    return float(np.logaddexp.reduce(terms) / (order - 1))


def exceeds(charge: Callable[[Runs, np.ndarray], np.ndarray], law: Runs, p: np.ndarray, q: np.ndarray) -> bool:
    """Whether the exact divergence of the choice is above what is charged for it, at any order, either way."""
    one = np.array([max(renyi(p, q, a), renyi(q, p, a)) for a in A])
    best, other = best_of(law, p), best_of(law, q)
    charged = charge(law, one)
    return any(
        max(renyi(best, other, a), renyi(other, best, a)) > bound + 1e-9
        for a, bound in zip(A, charged, strict=True) if a <= 512
    )  # fmt: skip


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    made = []
    for epsilon in (0.1, 0.5, 1.0):
        # Randomized response whose good answer is the private bit.
        share = 1 / (1 + math.exp(epsilon))
        made.append((np.array([share, 1 - share]), np.array([1 - share, share])))
        # A rare outcome of the best score, which the choice amplifies most.
        rare = np.array([1 - 1e-3, 1e-3])
        more = np.array([1 - 1e-3 * math.exp(epsilon), 1e-3 * math.exp(epsilon)])
        made.append((rare, more))
    rng = np.random.default_rng(0)
    for _ in range(5):
        base = rng.dirichlet(np.ones(5))
        tilted = base * np.exp(rng.uniform(-0.5, 0.5, 5))
        made.append((base, tilted / tilted.sum()))
    return made


def charge_the_choice(law: Runs, one: np.ndarray) -> np.ndarray:
    return law.selected(ORDERS, one)


def charge_one_run(law: Runs, one: np.ndarray) -> np.ndarray:
    return one


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_exact_choices_never_lose_more_than_charged(law: Runs) -> None:
    assert not [number for number, (p, q) in enumerate(pairs()) if exceeds(charge_the_choice, law, p, q)]


@pytest.mark.parametrize("law", [law for law in LAWS if law.mean > 1.0], ids=str)
def test_charging_only_one_run_is_caught(law: Runs) -> None:
    assert any(exceeds(charge_one_run, law, p, q) for p, q in pairs())


def test_a_fixed_number_of_runs_is_not_covered() -> None:
    """Negative control: were the number not random (no law is), Theorem 2's charge would be too little."""

    class Always:
        mean = 200.0

        def probability(self, runs: int) -> float:
            return float(runs == 200)

        def selected(self, orders: object, curve: np.ndarray) -> np.ndarray:
            return NegativeBinomial.of_mean(0.0, self.mean).selected(ORDERS, curve)

    assert any(exceeds(charge_the_choice, Always(), p, q) for p, q in pairs())


def test_the_drawn_number_follows_the_law() -> None:
    law = NegativeBinomial(eta=0.0, gamma=0.1)
    # Every quantile of a fine grid in turn: the counts are the law itself.
    grid = 20_000
    drawn = [draw_runs(law, lambda n, k=k: n * k // grid) for k in range(grid)]
    for runs in (1, 2, 5, 20):
        assert drawn.count(runs) / grid == pytest.approx(law.probability(runs), abs=2 / grid)
    assert draw_runs(law) >= 1
    assert {draw_runs(PoissonRuns(mean=1.0), lambda n: 0)} == {0}


def test_failures_count_once_for_every_expected_run() -> None:
    curve, law = A / 50.0, NegativeBinomial.of_mean(0.0, 10.0)
    plain = selected_epsilon(law, curve, 1e-5)
    assert selected_epsilon(law, curve, 1e-5, failure=1e-7) > plain
    assert math.isinf(selected_epsilon(law, curve, 1e-5, failure=1e-6))
    assert math.isinf(selected_epsilon(law, np.full(len(A), math.inf), 1e-5))
    assert math.isinf(selected_epsilon(PoissonRuns(mean=3.0), np.full(len(A), math.inf), 1e-5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NegativeBinomial(eta=-1.0, gamma=0.5),
        lambda: NegativeBinomial(eta=0.0, gamma=1.0),
        lambda: NegativeBinomial(eta=math.nan, gamma=0.5),
        lambda: NegativeBinomial.of_mean(1.0, 1.0),
        lambda: PoissonRuns(mean=0.5),
        lambda: PoissonRuns(mean=math.nan),
    ],
)
def test_laws_outside_the_theorems_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidParameter):
        make()
