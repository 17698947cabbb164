import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import NonPrivate, RdpAccountant, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.renyi_budget import RenyiBudget

CURRENT, MEMORY = SampledGaussian(q=0.05, noise_multiplier=1.3), SampledGaussian(q=0.02, noise_multiplier=1.3)
PLAN = {CURRENT: 100, MEMORY: 400}


def test_a_schedule_fits_its_own_budget_exactly() -> None:
    budget = RenyiBudget.of_schedule(PLAN, 1e-5)
    assert budget.epsilon == pytest.approx(RdpAccountant().epsilon(PLAN, 1e-5), rel=1e-12)
    assert budget.refusal(PLAN) is None
    assert budget.refusal({CURRENT: 101, MEMORY: 400}) is not None
    assert budget.most({}, PLAN) == 1
    assert budget.most({CURRENT: 100}, {MEMORY: 1}) == 400


def test_every_stored_order_binds() -> None:
    # Less at the best order but more at a high one: a filter at the best order alone would admit it.
    budget = RenyiBudget.of_schedule({SampledGaussian(q=1.0, noise_multiplier=8.0): 40}, 1e-5)
    event = SampledGaussian(q=0.001, noise_multiplier=1.0)
    best = budget.at_best_order()
    assert best.epsilon == pytest.approx(budget.epsilon, rel=1e-12)
    other = {event: best.most({}, {event: 1})}
    assert other[event] > 0
    assert best.refusal(other) is None
    assert budget.refusal(other) is not None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                CURRENT,
                MEMORY,
                SampledGaussian(q=0.2, noise_multiplier=2.0),
                SampledGaussian(q=1.0, noise_multiplier=20.0),
            ]
        ),
        max_size=60,
    )
)
def test_adaptive_choices_never_spend_more_than_the_budget(choices: list) -> None:
    for budget in (RenyiBudget.of_schedule({CURRENT: 20}, 1e-5), RenyiBudget.single_order(0.6, 1e-5)):
        history: dict = {}
        for event in choices:
            tried = {**history, event: history.get(event, 0) + 1}
            if budget.refusal(tried) is None:
                history = tried
        assert RdpAccountant().epsilon(history, 1e-5) <= budget.epsilon * (1 + 1e-6)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 8.0])
def test_a_single_order_certifies_what_it_was_asked_for(epsilon: float) -> None:
    budget = RenyiBudget.single_order(epsilon, 1e-5)
    assert budget.epsilon == pytest.approx(epsilon, rel=1e-9)
    assert len(budget.orders) == 1
    assert budget.most({}, {SampledGaussian(q=0.001, noise_multiplier=5.0): 1}) > 0
    assert RenyiBudget.single_order(epsilon, 1e-5, budget.orders[0]) == budget


def test_most_is_the_last_count_admitted() -> None:
    budget = RenyiBudget.single_order(4.0, 1e-5)
    count = budget.most({CURRENT: 3}, {MEMORY: 1})
    assert count > 0
    assert budget.refusal({CURRENT: 3, MEMORY: count}) is None
    assert budget.refusal({CURRENT: 3, MEMORY: count + 1}) is not None
    assert budget.most({}, {SampledGaussian(q=0.0, noise_multiplier=1.0): 1}) == 2**31
    assert budget.most({NonPrivate("x"): 1}, {MEMORY: 1}) == 0


def test_integers_only_where_skellam_occurs() -> None:
    for event in (
        SampledSkellam(q=0.05, variance=1e4, l2=50.0, l1=2500.0),
        SkellamRelease(variance=1e6, l2=50.0, l1=2500.0),
    ):
        assert all(a % 1 == 0 for a in RenyiBudget.of_schedule({event: 3, CURRENT: 1}, 1e-5).orders)
    assert any(a % 1 for a in RenyiBudget.of_schedule(PLAN, 1e-5).orders)


def test_failure_probabilities_are_part_of_the_budget() -> None:
    risky = SampledSkellam(q=1.0, variance=1e6, l2=50.0, l1=2500.0, failure=1e-9)
    budget = RenyiBudget.of_schedule({risky: 5}, 1e-5)
    assert budget.failure == pytest.approx(5e-9)
    assert budget.refusal({risky: 5}) is None
    riskier = SampledSkellam(q=1.0, variance=1e7, l2=50.0, l1=2500.0, failure=1e-8)
    assert "fail" in (budget.refusal({riskier: 1}) or "")
    assert budget.most({}, {riskier: 1}) == 0
    assert RenyiBudget.single_order(1.0, 1e-5).refusal({risky: 1}) is not None


@pytest.mark.parametrize(
    "bad",
    [
        ((), (), 1e-5),
        ((2.0,), (-1.0,), 1e-5),
        ((2.0,), (math.nan,), 1e-5),
        ((2.0, 3.0), (1.0,), 1e-5),
        ((2.0,), (1.0,), 0.0),
        ((2.0,), (1.0,), 1e-5, 1e-5),
        ((2.345,), (1.0,), 1e-5),
    ],
)
def test_bad_budgets_are_refused(bad: tuple) -> None:
    with pytest.raises(InvalidParameter):
        RenyiBudget(**dict(zip(("orders", "bounds", "delta", "failure"), bad, strict=False)))


def test_an_epsilon_too_small_for_an_order_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="raise"):
        RenyiBudget.single_order(0.5, 1e-5, 2.0)
    assert max(ORDERS) > 100


def test_a_release_without_guarantee_has_no_curve() -> None:
    with pytest.raises(InvalidParameter):
        RenyiBudget.of_schedule({NonPrivate("plain"): 1}, 1e-5)
