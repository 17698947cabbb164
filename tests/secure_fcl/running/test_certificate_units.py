"""What a certificate says of the unit that is not charged: it follows from the one that is, and is never tighter."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy.special import i0e
from scipy.stats import norm

from privacy import SkellamRelease
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.certificate_units import implied
from secure_fcl.streams import build_scenario

DELTA = 1e-5
IID = ("scenario.clients=12", "scenario.tasks=3", "scenario.partition=iid")
Planned = Callable[..., RowPlan]


@pytest.fixture
def planned(digits: Dataset, make_config: Callable[..., Config]) -> Planned:
    def plan(multiplier: float, *settings: str, row: str = "class_sums") -> RowPlan:
        config = make_config(*IID, *settings)
        return build_row(config, build_scenario(digits, config), row, multiplier)

    return plan


def of_steps(plan: RowPlan, steps: int) -> float:
    """Epsilon of the worst cohort at so many times its shift, by hand; Balle and Wang 2018, theorem 8."""
    found = 0.0
    for events in plan.scheduled().values():
        squares = 0.0
        for event, count in events.items():
            assert isinstance(event, SkellamRelease)
            squares += count * (2 * norm.ppf((1 + i0e(event.variance)) / 2) * event.l2) ** 2
        mu, low, high = steps * math.sqrt(squares), 0.0, 1000.0
        for _ in range(200):
            e = (low + high) / 2
            spends = norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu)
            low, high = (e, high) if spends > DELTA else (low, e)
        found = max(found, high)
    return found


def test_an_example_of_a_person_costs_two_steps_and_not_one(planned: Planned) -> None:
    plan = planned(4.0, "privacy.unit=person", "class_sums.epsilon=3")
    found = implied(plan, plan.scheduled())
    assert (found["unit"], found["steps"]) == ("example", 2)
    assert found["epsilon"] == pytest.approx(of_steps(plan, 2), rel=0.01)
    assert found["epsilon"] > 2 * of_steps(plan, 1)
    assert "one more, less or other" in found["said"]
    assert "not charged beside it" in found["said"]


def test_a_person_of_an_example_level_run_costs_as_many_steps_as_it_may_own(planned: Planned) -> None:
    plan = planned(100.0, "class_sums.epsilon=0.1")
    steps = plan.scenario.most_examples_of_one_client
    assert steps > 100
    found = implied(plan, plan.scheduled())
    assert (found["unit"], found["steps"]) == ("person", steps)
    assert found["epsilon"] == pytest.approx(of_steps(plan, steps), rel=0.02)
    assert f"{steps} examples at most" in found["said"]


@pytest.mark.parametrize(
    ("multiplier", "settings", "row"),
    [
        (3.0, ("class_sums.epsilon=2",), "class_sums"),
        (0.0, ("class_sums.epsilon=inf", "class_sums.noise=none"), "class_sums"),
        (4.0, (), "replay"),
        (0.6, ("privacy.unit=person", "class_sums.epsilon=30"), "class_sums"),
    ],
)
def test_nothing_is_claimed_where_it_would_say_nothing(
    planned: Planned, multiplier: float, settings: tuple[str, ...], row: str
) -> None:
    plan = planned(multiplier, *settings, row=row)
    found = implied(plan, plan.scheduled())
    assert found["epsilon"] is None
    assert "nothing is claimed" in found["said"]


def test_a_certificate_states_what_follows_beside_what_is_charged(run_tiny: Callable[..., Any]) -> None:
    settings = ("privacy.unit=person", "scenario.clients=60", 'rows=["class_sums"]', "class_sums.epsilon=4")
    run = run_tiny(*IID[1:], *settings)
    found, text = run.certificate("class_sums"), " ".join((run.path / "certificate.txt").read_text().split())
    assert 2 * found["epsilon"] < found["implied"]["epsilon"] < 3 * found["epsilon"]
    assert f"about one example epsilon {found['implied']['epsilon']:.4g} follows" in text
