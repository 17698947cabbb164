import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import Charge, Cohort, Ledger, NonPrivate, RdpAccountant, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.accountants import ORDERS
from privacy.errors import InvalidParameter
from privacy.filters import Budget, BudgetFilter, BudgetSpent

CURRENT, MEMORY = SampledGaussian(q=0.05, noise_multiplier=1.3), SampledGaussian(q=0.02, noise_multiplier=1.3)
PLAN = {CURRENT: 100, MEMORY: 400}
KEPT, SEEN = Cohort(group="a", arrival=0, chunk=0, fate="kept"), Cohort(group="a", arrival=0, chunk=0, fate="discarded")


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "ledger.jsonl") as opened:
        yield opened


def test_a_schedule_fits_its_own_budget_exactly() -> None:
    budget = Budget.of_schedule(PLAN, 1e-5)
    assert budget.epsilon == pytest.approx(RdpAccountant().epsilon(PLAN, 1e-5), rel=1e-12)
    assert budget.refusal(PLAN) is None
    assert budget.refusal({CURRENT: 101, MEMORY: 400}) is not None
    assert budget.most({}, PLAN) == 1
    assert budget.most({CURRENT: 100}, {MEMORY: 1}) == 400


def test_every_stored_order_binds() -> None:
    # Less at the best order but more at a high one: a filter at the best order alone would admit it.
    budget = Budget.of_schedule({SampledGaussian(q=1.0, noise_multiplier=8.0): 40}, 1e-5)
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
    for budget in (Budget.of_schedule({CURRENT: 20}, 1e-5), Budget.single_order(0.6, 1e-5)):
        history: dict = {}
        for event in choices:
            tried = {**history, event: history.get(event, 0) + 1}
            if budget.refusal(tried) is None:
                history = tried
        assert RdpAccountant().epsilon(history, 1e-5) <= budget.epsilon * (1 + 1e-6)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 8.0])
def test_a_single_order_certifies_what_it_was_asked_for(epsilon: float) -> None:
    budget = Budget.single_order(epsilon, 1e-5)
    assert budget.epsilon == pytest.approx(epsilon, rel=1e-9)
    assert len(budget.orders) == 1
    assert budget.most({}, {SampledGaussian(q=0.001, noise_multiplier=5.0): 1}) > 0
    assert Budget.single_order(epsilon, 1e-5, budget.orders[0]) == budget


def test_most_is_the_last_count_admitted() -> None:
    budget = Budget.single_order(4.0, 1e-5)
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
        assert all(a % 1 == 0 for a in Budget.of_schedule({event: 3, CURRENT: 1}, 1e-5).orders)
    assert any(a % 1 for a in Budget.of_schedule(PLAN, 1e-5).orders)


def test_failure_probabilities_are_part_of_the_budget() -> None:
    risky = SampledSkellam(q=1.0, variance=1e6, l2=50.0, l1=2500.0, failure=1e-9)
    budget = Budget.of_schedule({risky: 5}, 1e-5)
    assert budget.failure == pytest.approx(5e-9)
    assert budget.refusal({risky: 5}) is None
    riskier = SampledSkellam(q=1.0, variance=1e7, l2=50.0, l1=2500.0, failure=1e-8)
    assert "fail" in (budget.refusal({riskier: 1}) or "")
    assert budget.most({}, {riskier: 1}) == 0
    assert Budget.single_order(1.0, 1e-5).refusal({risky: 1}) is not None


def test_a_refused_charge_leaves_the_ledger_alone(ledger: Ledger) -> None:
    guard = BudgetFilter(ledger, Budget.of_schedule({CURRENT: 10}, 1e-5))
    guard.charge([Charge(KEPT, CURRENT, 9), Charge(SEEN, CURRENT, 2)], task=0)
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetSpent, match=r"kept.*order.*retire"):
        guard.charge([Charge(SEEN, CURRENT, 1), Charge(KEPT, CURRENT, 2)], task=0)
    assert ledger.path.read_bytes() == before
    guard.charge([Charge(KEPT, CURRENT, 1)], task=0)
    assert ledger.spent()[KEPT] == {CURRENT: 10}


def test_charges_of_one_cohort_in_one_entry_add_up(ledger: Ledger) -> None:
    guard = BudgetFilter(ledger, Budget.of_schedule({CURRENT: 10}, 1e-5))
    with pytest.raises(BudgetSpent):
        guard.admit([Charge(KEPT, CURRENT, 6), Charge(KEPT, CURRENT, 6)])


def test_a_resumed_run_is_bound_by_what_was_charged(tmp_path: Path) -> None:
    budget = Budget.of_schedule({CURRENT: 10}, 1e-5)
    with Ledger(tmp_path / "l.jsonl") as first:
        BudgetFilter(first, budget).charge([Charge(KEPT, CURRENT, 10)])
    with Ledger(tmp_path / "l.jsonl") as again, pytest.raises(BudgetSpent):
        BudgetFilter(again, budget).charge([Charge(KEPT, CURRENT, 1)])


def test_spent_cohorts_are_retired_and_the_others_go_on(ledger: Ledger) -> None:
    small, large = Budget.of_schedule({MEMORY: 5}, 1e-5), Budget.of_schedule({MEMORY: 50}, 1e-5)
    guard = BudgetFilter(ledger, large, {KEPT: small})
    step = [Charge(KEPT, MEMORY, 1), Charge(SEEN, MEMORY, 1)]
    for _ in range(5):
        assert guard.retired(step) == frozenset()
        guard.charge(step)
    assert guard.retired(step) == {KEPT}
    assert guard.admitted(step) == (step[1],)
    guard.charge(guard.admitted(step))
    assert ledger.spent()[KEPT] == {MEMORY: 5}


def test_a_release_without_guarantee_is_always_refused(ledger: Ledger) -> None:
    guard = BudgetFilter(ledger, Budget.single_order(100.0, 1e-5))
    with pytest.raises(BudgetSpent):
        guard.charge([Charge(KEPT, NonPrivate("plain"), 1)])
    with pytest.raises(InvalidParameter):
        Budget.of_schedule({NonPrivate("plain"): 1}, 1e-5)


def test_an_empty_charge_is_admitted(ledger: Ledger) -> None:
    guard = BudgetFilter(ledger, Budget(orders=(2.0,), bounds=(0.0,), delta=1e-5))
    guard.admit([])
    assert guard.retired([]) == frozenset()


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
        Budget(**dict(zip(("orders", "bounds", "delta", "failure"), bad, strict=False)))


def test_an_epsilon_too_small_for_an_order_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="raise"):
        Budget.single_order(0.5, 1e-5, 2.0)
    assert max(ORDERS) > 100
