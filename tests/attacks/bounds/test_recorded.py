"""What canaries of one run say of a ledger: curves tested, and bounds of a family, held to simulations."""

from collections.abc import Callable

import numpy as np
import pytest

from attacks.bounds.gaussian import gaussian_epsilon, gaussian_mu_lower
from attacks.bounds.recorded import Curve, Family, curve_tests, gaussian_curve
from attacks.errors import AuditInvalid
from attacks.games.judging import Coin, Terms, epsilon_lower

DELTA = 1e-5


def drawn(rng: np.random.Generator, count: int, mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a Gaussian mechanism's canaries, and their coins."""
    coins = rng.random(count) < 0.5
    return rng.normal(size=count) + mu * coins, coins


@pytest.mark.parametrize("mu", [0.3, 1.0, 4.0])
def test_a_normal_curve_by_points_lies_just_below_the_curve(mu: float) -> None:
    from scipy import stats

    for power in (0.02, 0.3, 0.5, 0.9, 0.999):
        exact = float(stats.norm.cdf(stats.norm.ppf(power) - mu))
        assert exact * (1 - 2e-2) - 1e-9 <= gaussian_curve(mu).least(power) <= exact + 1e-9


def test_a_curve_test_refutes_what_the_bound_on_mu_refutes() -> None:
    scores, truth = drawn(np.random.default_rng(3), 1000, 2.0)
    test = curve_tests(scores, truth, gaussian_curve(0.8), gaussian_curve(0.8))[0]
    # The same counts by the bound that is there already, at the level that the union over counts leaves.
    level = 1.0 - test.p_value / len(test.guessed)
    bounds = [
        gaussian_mu_lower(right, made, candidates=1000, confidence=level)
        for right, made in zip(test.correct, test.guessed, strict=True)
    ]
    assert max(bounds) == pytest.approx(0.8, rel=0.02)
    assert test.rejected


def test_each_direction_is_held_to_its_own_curve() -> None:
    # Half of those who are in stand out, nobody who is out does: guesses on who was in are sure, the others are not.
    rng = np.random.default_rng(5)
    truth = rng.random(600) < 0.5
    scores = np.where(truth & (rng.random(600) < 0.5), 10.0, rng.normal(size=600))
    strict, lenient = gaussian_curve(0.5), Curve(epsilons=np.array([0.0]), deltas=np.array([1.0]))
    inward, outward = curve_tests(scores, truth, strict, lenient)
    assert (inward.direction, inward.rejected, outward.rejected) == ("in", True, False)
    assert outward.p_value == 1.0
    inward, outward = curve_tests(scores, truth, lenient, strict)
    assert not inward.rejected
    assert curve_tests(-scores, ~truth, lenient, strict)[1].p_value < 1e-6


def test_an_honest_curve_is_rejected_no_more_often_than_said() -> None:
    rng = np.random.default_rng(11)
    found = [
        test.rejected
        for _ in range(60)
        for test in curve_tests(*drawn(rng, 200, 1.0), gaussian_curve(1.0), gaussian_curve(1.0), confidence=0.9)
    ]
    assert sum(found) <= 12


def test_more_of_a_family_is_refuted_the_more_scores_tell() -> None:
    rng = np.random.default_rng(7)
    family = Family(shifts=np.full(400, 1.0))
    noise, coins = rng.normal(size=400), rng.random(400) < 0.5
    found = [family.largest_refuted(noise + mu * coins, coins, worlds=99) for mu in (0.0, 0.5, 1.0, 2.0)]
    assert found == sorted(found)
    assert found[0] < 0.2
    assert found[3] > 1.4


def test_smaller_members_than_a_refuted_one_are_refuted_and_larger_ones_are_not() -> None:
    scores, coins = drawn(np.random.default_rng(8), 300, 1.5)
    family = Family(shifts=np.full(300, 1.0), draws=np.array([0.2, 0.8]))
    largest = family.largest_refuted(scores, coins, worlds=99)
    at = [family.p_value(scores, coins, factor, worlds=99) for factor in (largest / 2, largest * 0.99, largest * 1.01)]
    assert [p <= 0.05 for p in at] == [True, True, False]


def test_noise_that_canaries_share_counts_once() -> None:
    """Two groups of canaries, each with one noise for all: taken for independent, they would refute the truth."""
    rng = np.random.default_rng(9)
    alike = np.kron(np.eye(2), np.ones((50, 50)))
    family, naive = Family(shifts=np.full(100, 1e-3), alike=alike), Family(shifts=np.full(100, 1e-3))
    refuted = {True: 0, False: 0}
    coins = np.repeat([True, False], 50)
    coins[:5], coins[-5:] = False, True
    for world in range(60):
        scores = np.repeat(rng.normal(size=2), 50) + 1e-6 * rng.normal(size=100)
        for shared, one in ((True, family), (False, naive)):
            refuted[shared] += one.p_value(scores, coins, worlds=99, seed=world) <= 0.05
    assert refuted[True] <= 10
    assert refuted[False] >= 20


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize(("count", "mu"), [(200, 1.0), (1000, 4.0)])
def test_the_bound_lies_above_the_truth_in_one_of_twenty_runs(
    count: int, mu: float, campaign: Callable[[int, int], list[int]]
) -> None:
    """By `largest_refuted` a bound is above the truth where the true member, g = 1, is refuted."""
    family, worlds = Family(shifts=np.full(count, mu)), campaign(1000, 300)
    above = sum(
        family.p_value(*drawn(np.random.default_rng([count, world]), count, mu), worlds=199, seed=world) <= 0.05
        for world in worlds
    )
    # Of 1,000 worlds 50 are expected; 66 are 2.3 standard deviations more.
    assert above <= 0.05 * len(worlds) + 2.3 * (0.05 * 0.95 * len(worlds)) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("mu", [1.0, 2.0, 4.0])
def test_the_bound_shows_seven_tenths_of_the_true_epsilon_with_a_thousand_canaries(mu: float) -> None:
    rng, family = np.random.default_rng(17), Family(shifts=np.full(1000, mu))
    truth, shown, steinke = gaussian_epsilon(mu, DELTA), [], []
    for world in range(200):
        scores, coins = drawn(rng, 1000, mu)
        # The bound reaches seven tenths where the member of that epsilon is refuted.
        shown.append(family.p_value(scores, coins, _mu_of(0.7 * truth) / mu, worlds=99, seed=world) <= 0.05)
        if world < 20:
            bound = epsilon_lower(scores, coins, np.arange(1000), Terms(target="x", coin=Coin(), delta=DELTA))
            steinke.append(0.0 if bound is None else bound.value)
    assert np.mean(shown) > 0.5
    assert np.median(steinke) < 0.7 * truth


def _mu_of(epsilon: float) -> float:
    from attacks.bounds.gaussian import gaussian_mu

    return gaussian_mu(epsilon, DELTA)


def test_what_is_no_curve_and_no_family_is_refused() -> None:
    ones = np.ones(4)
    for make in (
        lambda: Curve(epsilons=np.array([]), deltas=np.array([])),
        lambda: Curve(epsilons=np.array([1.0]), deltas=np.array([1.1])),
        lambda: gaussian_curve(0.0),
        lambda: Family(shifts=-ones),
        lambda: Family(shifts=ones, draws=np.array([0.5, 0.4])),
        lambda: Family(shifts=ones, alike=np.eye(3)),
        lambda: Family(shifts=ones).p_value(ones, np.ones(4, dtype=np.bool_)),
        lambda: Family(shifts=ones).p_value(ones, np.array([True, True, False, False]), worlds=5),
        lambda: Family(shifts=ones).p_value(ones, np.array([True, True, False, False]), 0.0),
        lambda: curve_tests(np.array([np.nan]), np.array([True]), gaussian_curve(1.0), gaussian_curve(1.0)),
        lambda: curve_tests(ones, ones > 0, gaussian_curve(1.0), gaussian_curve(1.0), confidence=1.0),
    ):
        with pytest.raises(AuditInvalid):
            make()
