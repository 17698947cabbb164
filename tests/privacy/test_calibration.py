import pytest

from privacy import NonPrivate, SampledGaussian, SkellamRelease, smallest_multiplier
from privacy.calibration import SMALLEST_MULTIPLIER, Schedule
from privacy.errors import BudgetUnreachable, InvalidParameter
from privacy.statement import best_epsilon

DELTA = 1e-5


def replay(sigma: float) -> list[dict]:
    """Two cohorts: who is kept is sampled on, who is discarded is not."""
    current = {SampledGaussian(q=0.25, noise_multiplier=sigma): 40}
    return [current, current | {SampledGaussian(q=0.05, noise_multiplier=sigma): 200}]


def release(sigma: float) -> list[dict]:
    return [{SkellamRelease(variance=(sigma * 100.0) ** 2, l2=100.0, l1=900.0): 1}]


def tiny_steps(sigma: float) -> list[dict]:
    """Steps so small that the grid of PLD is coarse and RDP certifies less."""
    return [{SampledGaussian(q=1e-3, noise_multiplier=sigma): 20_000}]


def worst(schedule: Schedule, sigma: float) -> float:
    return max(min(e for e in best_epsilon(h, DELTA) if e is not None) for h in schedule(sigma))


@pytest.mark.parametrize(
    ("schedule", "epsilon"),
    [(replay, 8.0), (replay, 1.0), (release, 2.0), (tiny_steps, 0.2)],
    ids=["replay 8", "replay 1", "Skellam 2", "tiny steps"],
)
def test_the_budget_is_met_and_one_percent_less_noise_breaks_it(schedule: Schedule, epsilon: float) -> None:
    sigma = smallest_multiplier(schedule, epsilon, DELTA)
    assert worst(schedule, sigma) <= epsilon
    assert worst(schedule, 0.99 * sigma) > epsilon


def test_a_smaller_budget_never_needs_less_noise() -> None:
    found = [
        smallest_multiplier(lambda sigma: [{SampledGaussian(q=0.5, noise_multiplier=sigma): 10}], e, DELTA)
        for e in (9.0, 3.0, 2.9)
    ]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_nothing_charged_needs_the_least_noise() -> None:
    assert smallest_multiplier(lambda sigma: [], 1.0, DELTA) == SMALLEST_MULTIPLIER
    assert smallest_multiplier(lambda sigma: [{}], 1.0, DELTA) == SMALLEST_MULTIPLIER


def test_histories_that_name_unused_events_are_not_lost() -> None:
    """{a: 1} and {a: 1, b: 0} contain each other; dropping both would ask for no noise at all."""

    def twice(sigma: float) -> list[dict]:
        event, unused = SampledGaussian(q=1.0, noise_multiplier=sigma), SampledGaussian(q=0.5, noise_multiplier=sigma)
        return [{event: 1}, {event: 1, unused: 0}]

    assert smallest_multiplier(twice, 1.0, DELTA) > 3.0


def test_an_unreachable_budget_says_what_to_change() -> None:
    with pytest.raises(BudgetUnreachable, match=r"still spends .*lower rounds, steps or sampling rates"):
        smallest_multiplier(lambda sigma: [{SampledGaussian(q=1.0, noise_multiplier=sigma): 10**7}], 0.1, DELTA)


def test_no_noise_mends_a_release_without_guarantee() -> None:
    with pytest.raises(BudgetUnreachable, match="no noise mends"):
        smallest_multiplier(lambda sigma: [{NonPrivate("herding"): 1}], 8.0, DELTA)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("inf"), float("nan")])
def test_an_epsilon_is_positive_and_finite(epsilon: float) -> None:
    with pytest.raises(InvalidParameter, match="epsilon"):
        smallest_multiplier(replay, epsilon, DELTA)


@pytest.mark.parametrize("delta", [0.0, 1.0, float("nan")])
def test_a_delta_is_a_probability(delta: float) -> None:
    with pytest.raises(InvalidParameter, match="delta"):
        smallest_multiplier(replay, 1.0, delta)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, float("nan")])
def test_a_tolerance_lies_between_0_and_1(tolerance: float) -> None:
    with pytest.raises(InvalidParameter, match="tolerance"):
        smallest_multiplier(replay, 1.0, DELTA, tolerance)
