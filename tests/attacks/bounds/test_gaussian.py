from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attacks.bounds.gaussian import gaussian_bound, gaussian_epsilon, gaussian_mu, gaussian_mu_lower, two_run_audit
from attacks.errors import AuditInvalid
from attacks.games.judging import GuessCounts


@pytest.mark.parametrize(
    ("mu", "epsilon"), [(0.5, 1.99309), (1.0, 4.37718), (2.0, 9.99726), (4.0, 24.38161), (0.0, 0.0)]
)
def test_epsilon_of_gaussian_privacy(mu: float, epsilon: float) -> None:
    """At delta 1e-5; 4.3772 at mu = 1 is the value dp_accounting's tests quote for the analytic Gaussian."""
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(epsilon, abs=1e-5)


@given(st.floats(0.05, 20), st.sampled_from([1e-6, 1e-5, 1e-3]))
def test_mu_and_epsilon_are_inverse(mu: float, delta: float) -> None:
    assert gaussian_mu(gaussian_epsilon(mu, delta), delta) == pytest.approx(mu, rel=1e-6)


def _frontier(points: np.ndarray) -> np.ndarray:
    """Vertices of the convex hull's upper side, as the reference implementation prunes its thresholds."""
    index = np.arange(len(points))
    while len(index) > 2:
        step = np.diff(points[index], axis=0)
        bent = step[:-1, 1] * step[1:, 0] - step[1:, 1] * step[:-1, 0] > 0
        if bent.all():
            return index
        index = index[np.r_[True, bent, True]]
    return index


@pytest.mark.parametrize(("shift", "epsilon"), [(1, 2.164749), (2, 4.7218075), (4, 9.133752)])
def test_against_the_values_of_another_implementation(shift: int, epsilon: float) -> None:
    """jax-privacy's auditing tests: 10,000 canaries each at normal quantiles, delta 1e-6, significance .05 shared
    between all thresholds on the frontier, guesses on one side only."""
    n = 10_000
    out = stats.norm.ppf((np.arange(n) + 0.5) / n)
    inside = out + shift
    thresholds = np.append(np.union1d(inside, out), np.inf)
    missed, spared = np.searchsorted(inside, thresholds), np.searchsorted(out, thresholds)
    vertices = _frontier(np.stack([missed, spared], axis=1))
    found, accused = n - missed[vertices], n - spared[vertices]
    level = 0.05 / len(vertices)
    order = np.argsort(-stats.beta.ppf(level, found, np.maximum(accused, 1)))[:40]
    best = max(
        gaussian_mu_lower(int(found[i]), int(found[i] + accused[i]), candidates=2 * n, confidence=1 - level)
        for i in order
        if found[i]
    )
    assert gaussian_epsilon(best, 1e-6) == pytest.approx(epsilon, rel=1e-5)


def _counts(mu: float, candidates: int, random: np.random.Generator) -> GuessCounts:
    truth = random.random(candidates) < 0.5
    order = np.argsort(truth * mu + random.normal(size=candidates))
    each = candidates // 8
    right = int(truth[order[-each:]].sum() + (~truth[order[:each]]).sum())
    return GuessCounts(candidates, (2 * each,), (right,))


@pytest.mark.parametrize("mu", [0.5, 1.5])
def test_the_bound_holds_for_a_gaussian_mechanism(mu: float) -> None:
    random = np.random.default_rng(5)
    bounds = [gaussian_bound(_counts(mu, 400, random), 1e-5).mu for _ in range(200)]
    # At 95 % at most 5 % exceed; Binomial(200, .05) exceeds 27 with probability below 1e-6.
    assert sum(bound > mu for bound in bounds) <= 27
    assert np.mean(bounds) > 0.3 * mu


def test_the_gaussian_bound_is_tighter_than_the_general_one() -> None:
    counts = _counts(2.0, 2000, np.random.default_rng(0))
    assert gaussian_bound(counts, 1e-5).epsilon > 1.5 * counts.bound(1e-5, 0.95).value


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_more_right_guesses_show_more(guessed: int, right: int, silent: int) -> None:
    right = min(right, guessed)
    candidates = guessed + silent
    here = gaussian_mu_lower(right, guessed, candidates=candidates)
    assert here >= 0.0
    if right < guessed:
        assert gaussian_mu_lower(right + 1, guessed, candidates=candidates) >= here - 1e-9
    if 2 * right <= guessed:
        assert here == 0.0


def test_no_guesses_show_nothing_and_the_ceiling_caps() -> None:
    assert gaussian_mu_lower(0, 0, candidates=10) == 0.0
    counts = GuessCounts(200, (50, 200), (48, 190))
    bound = gaussian_bound(counts, 1e-5)
    assert 0 < bound.mu < bound.ceiling
    perfect = gaussian_bound(GuessCounts(200, (50, 200), (50, 200)), 1e-5)
    assert perfect.mu == perfect.ceiling


@pytest.mark.parametrize("call", [
    lambda: gaussian_epsilon(-1.0, 1e-5),
    lambda: gaussian_epsilon(math.nan, 1e-5),
    lambda: gaussian_epsilon(1.0, 0.0),
    lambda: gaussian_mu(math.inf, 1e-5),
    lambda: gaussian_mu(1e9, 1e-5),
    lambda: gaussian_mu_lower(3, 2, candidates=5),
    lambda: gaussian_mu_lower(2, 6, candidates=5),
    lambda: gaussian_mu_lower(1, 2, candidates=5, confidence=1.0),
    lambda: two_run_audit(lambda present, run: 0.0, trials=5, delta=1e-5),
    lambda: two_run_audit(lambda present, run: math.nan, trials=50, delta=1e-5),
])  # fmt: skip
def test_impossible_numbers_are_refused(call: object) -> None:
    with pytest.raises(AuditInvalid):
        call()  # type: ignore[operator]


def test_two_runs_bound_a_known_mechanism_from_below() -> None:
    """Gaussian mechanism of mu = 2 (epsilon 10.0 at 1e-5), 2,000 runs of each kind."""

    def run(present: bool, number: int) -> float:
        return float(2.0 * present + np.random.default_rng([3, number]).normal())

    found = two_run_audit(run, trials=2000, delta=1e-5)
    assert 1.0 < found.epsilon.value < gaussian_epsilon(2.0, 1e-5)
    assert 1.6 < found.gaussian.mu < 2.0
    assert found.gaussian.mu < found.gaussian.ceiling


def test_two_runs_without_a_canary_show_nothing() -> None:
    found = two_run_audit(lambda present, number: float(np.random.default_rng([4, number]).normal()), trials=500,
                          delta=1e-5)  # fmt: skip
    assert found.epsilon.value == 0.0
    assert found.gaussian.mu < 0.3
