from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import Charge, Cohort, Ledger, NonPrivate, SampledGaussian, SampledSkellam, smallest_multiplier
from privacy.errors import InvalidParameter
from privacy.filters import AnyBudget, Budget, BudgetFilter, BudgetSpent
from privacy.renyi_budget import RenyiBudget
from privacy.statement import best_epsilon

CURRENT, MEMORY = SampledGaussian(q=0.05, noise_multiplier=1.3), SampledGaussian(q=0.02, noise_multiplier=1.3)
PLAN = {CURRENT: 100, MEMORY: 400}
KEPT, SEEN = Cohort(group="a", arrival=0, chunk=0, fate="kept"), Cohort(group="a", arrival=0, chunk=0, fate="discarded")


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "ledger.jsonl") as opened:
        yield opened


def test_a_refused_charge_leaves_the_ledger_alone(ledger: Ledger) -> None:
    guard = BudgetFilter(ledger, Budget.of_schedule({CURRENT: 10}, 1e-5))
    guard.charge([Charge(KEPT, CURRENT, 9), Charge(SEEN, CURRENT, 2)], task=0)
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetSpent, match=r"kept.*11 times and 10 were planned.*retire"):
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


@pytest.mark.parametrize("budget", [RenyiBudget.single_order(100.0, 1e-5), Budget.of_schedule(PLAN, 1e-5)], ids=repr)
def test_a_release_without_guarantee_is_always_refused(ledger: Ledger, budget: AnyBudget) -> None:
    guard = BudgetFilter(ledger, budget)
    with pytest.raises(BudgetSpent):
        guard.charge([Charge(KEPT, NonPrivate("plain"), 1)])
    with pytest.raises(InvalidParameter, match="no guarantee"):
        Budget.of_schedule({NonPrivate("plain"): 1}, 1e-5)


@pytest.mark.parametrize(
    "budget", [RenyiBudget(orders=(2.0,), bounds=(0.0,), delta=1e-5), Budget(planned=(), delta=1e-5)], ids=repr
)
def test_an_empty_charge_is_admitted_and_no_other_by_an_empty_budget(ledger: Ledger, budget: AnyBudget) -> None:
    guard = BudgetFilter(ledger, budget)
    guard.admit([])
    assert guard.retired([]) == frozenset()
    assert guard.retired([Charge(KEPT, CURRENT, 1)]) == {KEPT}


@pytest.mark.parametrize(("asked", "spare"), [(8.0, 0), (8.0, 3), (1.0, 0)])
def test_a_budget_certifies_no_more_than_was_asked(asked: float, spare: int) -> None:
    """Laid down as a Renyi curve, the same schedule certifies 9 where 8 was asked."""

    def schedule(noise: float) -> list[dict]:
        current = SampledGaussian(q=0.05, noise_multiplier=noise)
        memory = SampledGaussian(q=0.2, noise_multiplier=noise)
        return [{current: 20 + spare, memory: 100 + spare}]

    (plan,) = schedule(smallest_multiplier(schedule, asked, 1e-5))
    assert 0.98 * asked < Budget.of_schedule(plan, 1e-5).epsilon <= asked
    assert RenyiBudget.of_schedule(plan, 1e-5).epsilon > 1.02 * asked


CHEAP = SampledGaussian(q=0.001, noise_multiplier=20.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([CURRENT, MEMORY, CHEAP]), st.integers(1, 3)), max_size=40))
def test_only_what_is_left_of_the_multiset_is_admitted(tried: list) -> None:
    """Skipped and reordered in any way; what was refused does not count, and what was not planned never runs."""
    budget = Budget.of_schedule({CURRENT: 5, MEMORY: 9, SampledGaussian(q=0.5, noise_multiplier=3.0): 0}, 1e-5)
    left, history = {CURRENT: 5, MEMORY: 9, CHEAP: 0}, {CURRENT: 0, MEMORY: 0, CHEAP: 0}
    for event, count in tried:
        after = history | {event: history[event] + count}
        assert (budget.refusal(after) is None) == (count <= left[event])
        assert budget.most(history, {event: count}) == left[event] // count
        if count <= left[event]:
            history, left[event] = after, left[event] - count
    ran = {event: count for event, count in history.items() if count}
    assert min(e for e in best_epsilon(ran, 1e-5) if e is not None) <= budget.epsilon * (1 + 1e-6)


def test_most_counts_whole_steps() -> None:
    budget = Budget.of_schedule(PLAN, 1e-5)
    assert budget.most({}, PLAN) == 1
    assert budget.most({CURRENT: 40}, {CURRENT: 7, MEMORY: 1}) == 60 // 7
    assert budget.most({CURRENT: 101}, {MEMORY: 1}) == 0
    assert budget.most({}, {CURRENT: 0}) == 2**31


def test_failures_of_all_planned_releases_are_part_of_what_is_certified() -> None:
    """The sensitivity of a release that is skipped might have failed too."""
    risky = SampledSkellam(q=1.0, variance=1e6, l2=50.0, l1=2500.0, failure=1e-7)
    sure = SampledSkellam(q=1.0, variance=1e6, l2=50.0, l1=2500.0)
    assert Budget.of_schedule({risky: 5}, 1e-5).epsilon > Budget.of_schedule({sure: 5}, 1e-5).epsilon


@pytest.mark.parametrize(
    ("planned", "delta", "match"),
    [
        (((CURRENT, 0),), 1e-5, "at least 1"),
        (((CURRENT, -3),), 1e-5, "at least 1"),
        (((CURRENT, 1), (CURRENT, 2)), 1e-5, "once"),
        (((NonPrivate("plain"), 1),), 1e-5, "no guarantee"),
        (((CURRENT, 1),), 0.0, "delta"),
        (((CURRENT, 1),), float("nan"), "delta"),
    ],
)
def test_bad_budgets_are_refused(planned: tuple, delta: float, match: str) -> None:
    with pytest.raises(InvalidParameter, match=match):
        Budget(planned=planned, delta=delta)
