import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import PldAccountant, RdpAccountant, SampledGaussian
from privacy.allocator import (
    ReplaySchedule,
    equal_fractions,
    geometric_fractions,
    solve_memory_rate,
    solve_noise,
    solve_replay_weight,
    split_releases,
)
from privacy.errors import BudgetUnreachable, InvalidParameter

#: 10,000 examples, 500 steps a task, 5 tasks, memory of 500 with 10 sampled from it.
PLAN = ReplaySchedule(tasks=5, steps=500, q_current=0.01, q_memory=0.02, noise_multiplier=2.0)


@pytest.mark.parametrize(
    ("sigma", "q_memory", "seen", "kept"),
    [(1.0, 0.1, 1.33, 39.7), (1.0, 0.02, 1.33, 5.80), (2.0, 0.1, 0.43, 12.6), (2.0, 0.02, 0.43, 2.00)],
)
def test_measured_epsilons_of_a_memory(sigma: float, q_memory: float, seen: float, kept: float) -> None:
    plan = ReplaySchedule(tasks=5, steps=500, q_current=0.01, q_memory=q_memory, noise_multiplier=sigma)
    assert plan.epsilon(1e-5) == pytest.approx(kept, rel=0.02)
    assert PldAccountant().epsilon(plan.history(0, False), 1e-5) == pytest.approx(seen, rel=0.03)
    assert plan.history(4, True) == plan.history(4, False)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6), st.sampled_from([0.1, 1.0, 6.0]))
def test_a_split_costs_what_was_asked_for(weights: list, epsilon: float) -> None:
    fractions = [w / math.fsum(weights) for w in weights]
    multipliers = split_releases(epsilon, 1e-5, fractions)
    one = 1 / math.sqrt(math.fsum(1 / s**2 for s in multipliers))
    assert PldAccountant(1e-4).epsilon({SampledGaussian(q=1.0, noise_multiplier=one): 1}, 1e-5) == pytest.approx(
        epsilon, abs=2e-4
    )
    for fraction, s in zip(fractions, multipliers, strict=True):
        assert (one / s) ** 2 == pytest.approx(fraction, rel=1e-6)


def test_equal_releases_as_a_composition() -> None:
    (sigma, *_) = multipliers = split_releases(2.0, 1e-5, equal_fractions(6))
    assert len(set(multipliers)) == 1
    assert (
        2.0 - 2e-3
        <= PldAccountant(1e-4).epsilon({SampledGaussian(q=1.0, noise_multiplier=sigma): 6}, 1e-5)
        <= 2.0 + 2e-3
    )
    assert RdpAccountant().epsilon({SampledGaussian(q=1.0, noise_multiplier=sigma): 6}, 1e-5) > 2.0


def test_geometric_parts_never_exceed_the_whole() -> None:
    assert geometric_fractions(3, 0.5) == (0.5, 0.25, 0.125)
    assert math.fsum(geometric_fractions(500, 0.9)) <= 1.0
    # A longer stream leaves the noise of the earlier tasks as it was.
    assert split_releases(1.0, 1e-5, geometric_fractions(9, 0.7))[:4] == split_releases(
        1.0, 1e-5, geometric_fractions(4, 0.7)
    )


def test_noise_is_the_least_that_fits() -> None:
    plan = solve_noise(PLAN, 1.5, 1e-5)
    assert plan.epsilon(1e-5) <= 1.5
    worse = ReplaySchedule(
        tasks=5, steps=500, q_current=0.01, q_memory=0.02, noise_multiplier=plan.noise_multiplier / 1.005
    )
    assert min(worse.epsilon(1e-5), RdpAccountant().epsilon(worse.history(0, True), 1e-5)) > 1.5


def test_the_memory_rate_is_the_largest_that_fits() -> None:
    plan = solve_memory_rate(PLAN, 1.5, 1e-5)
    assert 0.0 < plan.q_memory < 0.02
    assert (
        plan.epsilon(1e-5)
        <= 1.5
        < ReplaySchedule(
            tasks=5, steps=500, q_current=0.01, q_memory=plan.q_memory * 1.005, noise_multiplier=2.0
        ).epsilon(1e-5)
    )
    assert (
        solve_memory_rate(
            ReplaySchedule(tasks=1, steps=5, q_current=0.01, q_memory=0.5, noise_multiplier=2.0), 5.0, 1e-5
        ).q_memory
        == 1.0
    )
    with pytest.raises(BudgetUnreachable, match="q_current"):
        solve_memory_rate(PLAN, 0.1, 1e-5)


def test_the_replay_weight_is_the_largest_that_fits() -> None:
    plan = solve_replay_weight(PLAN, 1.5, 1e-5)
    assert 0.0 < plan.replay_weight < 1.0
    heavier = ReplaySchedule(
        tasks=5,
        steps=500,
        q_current=0.01,
        q_memory=0.02,
        noise_multiplier=2.0,
        replay_weight=plan.replay_weight * 1.005,
    )
    assert plan.epsilon(1e-5) <= 1.5 < heavier.epsilon(1e-5)
    assert solve_replay_weight(PLAN, 50.0, 1e-5).replay_weight == 1.0
    with pytest.raises(BudgetUnreachable):
        solve_replay_weight(PLAN, 0.1, 1e-5)


def test_a_plan_that_samples_nothing_is_free() -> None:
    assert ReplaySchedule(tasks=3, steps=10, q_current=0.0, q_memory=0.0, noise_multiplier=1.0).epsilon(1e-5) == 0.0


def test_bad_numbers_are_refused() -> None:
    for make in (
        lambda: equal_fractions(0),
        lambda: geometric_fractions(3, 1.0),
        lambda: split_releases(0.0, 1e-5, [1.0]),
        lambda: split_releases(1.0, 1e-5, [0.6, 0.6]),
        lambda: split_releases(1.0, 1e-5, []),
        lambda: ReplaySchedule(tasks=0, steps=1, q_current=0.1, q_memory=0.1, noise_multiplier=1.0),
        lambda: ReplaySchedule(tasks=1, steps=1, q_current=1.1, q_memory=0.1, noise_multiplier=1.0),
        lambda: ReplaySchedule(tasks=1, steps=1, q_current=0.1, q_memory=0.1, noise_multiplier=1.0, replay_weight=2.0),
        lambda: PLAN.history(5, True),
    ):
        with pytest.raises(InvalidParameter):
            make()
