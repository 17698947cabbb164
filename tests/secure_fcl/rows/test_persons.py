"""Rows whose unit is a person: what the ledger charges, what is refused, and that no maximum of the data enters."""

import io
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant as pld
from rich.console import Console
from scipy.special import i0e
from scipy.stats import norm

from crypto.keys.randomness import KeyedStream, derive_key
from evaluation.facts import facts
from evaluation.plots import epsilon_per_cohort
from evaluation.run_folder import read_run
from evaluation.tables import cohort_bars, cohorts
from privacy import BudgetSpent, Cohort, Ledger, SampledSkellam, SkellamRelease, spent
from secure_fcl.cli.plan_tables import print_plan, write_plan
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.engines.device import Device
from secure_fcl.errors import ConfigInvalid
from secure_fcl.forecast.cost import plan_run
from secure_fcl.randomness import Coins
from secure_fcl.rows.budgets import ClientBudget, admit, planned_budget
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.persons import people_over_noise
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.closed_form.persons import PersonSums
from secure_fcl.strategies.gradient.uploads.choice import SendsOwn
from secure_fcl.strategies.gradient.uploads.persons import within
from secure_fcl.streams import IDLE, build_scenario

DELTA = 1e-5
PERSONS = ("privacy.unit=person", "scenario.clients=12", "scenario.tasks=3", "scenario.partition=iid")
#: Share of clients that join late and that leave early, and the lengths of stay that the public draw then gives.
SCHEDULES = {
    "everybody in all tasks": ((), {3}),
    "latecomers": (("scenario.joining=0.6",), {1, 2, 3}),
    "leavers": (("scenario.leaving=0.6",), {1, 2, 3}),
}


def by_renyi(event: SkellamRelease, releases: int) -> float:
    """Epsilon of so many Skellam releases by hand: Agarwal et al. 2021, theorem 3.5; Canonne et al. 2020, prop. 12."""
    variance, l2, l1, found = event.variance, event.l2, event.l1, math.inf
    for a in range(2, 4000):
        lead = a * l2**2 / (2 * variance)
        slack = min(((2 * a - 1) * l2**2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
        found = min(found, releases * (lead + slack) + math.log1p(-1 / a) - math.log(DELTA * a) / (a - 1))
    return found


def by_gaussians(event: SkellamRelease, releases: int) -> float:
    """Epsilon of the Gaussian that dominates, shifts added in squares; Balle and Wang 2018, theorem 8."""
    mu = 2 * norm.ppf((1 + i0e(event.variance)) / 2) * event.l2 * math.sqrt(releases)
    low, high = 0.0, 1000.0
    for _ in range(200):
        e = (low + high) / 2
        spends = norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu)
        low, high = (e, high) if spends > DELTA else (low, e)
    return high


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_ledger_is_the_composition_by_hand_over_all_tasks_of_a_person(
    run_tiny: Callable[..., Any], make_config: Callable[..., Config], digits: Dataset, schedule: str
) -> None:
    """One release a task that a client is there for, dropouts or not; its epsilon by two ways of one's own."""
    extra, lengths = SCHEDULES[schedule]
    settings = (
        *PERSONS, *extra, "scenario.clients=30", 'rows=["class_sums"]', "class_sums.epsilon=30", "seed=3",
        "scenario.dropout=0.05", "privacy.max_dropouts=2",
    )  # fmt: skip
    run, scenario = run_tiny(*settings), build_scenario(digits, make_config(*settings))
    with Ledger(next((run.path / "ledger").glob("*.jsonl"))) as ledger:
        charged = ledger.spent()
    stays = {scenario.groups[k]: int((met != IDLE).sum()) for k, met in enumerate(scenario.calendar)}
    assert set(stays.values()) == lengths
    assert {cohort.group: sum(events.values()) for cohort, events in charged.items()} == stays
    assert {cohort.fate for cohort in charged} == {"whole"}
    certificate = run.certificate("class_sums")
    assert len(certificate["cohorts"]) == len(stays)
    for cohort in certificate["cohorts"]:
        (event,) = charged[Cohort.of_clients(cohort["group"])]
        assert isinstance(event, SkellamRelease)
        releases = stays[cohort["group"]]
        assert cohort["epsilon_rdp"] == pytest.approx(by_renyi(event, releases), rel=1e-3)
        pld = by_gaussians(event, releases)
        assert pld * 0.999 <= cohort["epsilon_pld"] <= pld * 1.01
    # The budget is that of the worst group over the whole run, and is used up.
    assert 29.5 < certificate["epsilon"] <= 30.0
    assert certificate["epsilon"] == max(cohort["epsilon"] for cohort in certificate["cohorts"])


def test_calm_charges_both_of_its_exchanges_of_every_task(digits: Dataset, make_config: Callable[..., Config]) -> None:
    config = make_config(*PERSONS)
    plan = build_row(config, build_scenario(digits, config), "calm", 1.5)
    (events,) = plan.scheduled().values()
    assert sorted(events.values()) == [3, 3]
    # Both together cost what three releases at the row's multiplier would.
    assert sum(n * e.l2**2 / e.variance for e, n in events.items()) == pytest.approx(3 / 1.5**2, rel=1e-6)


def test_a_person_retires_as_a_whole_and_goes_on_sending_silence(
    digits: Dataset, make_config: Callable[..., Config]
) -> None:
    config = make_config(*PERSONS)
    plan = build_row(config, build_scenario(digits, config), "class_sums", 1.0)
    budget = planned_budget(plan)
    assert budget is not None
    (group,) = set(plan.scenario.groups)
    spent_all = spent(charge for slot in range(3) for charge in plan.charges(slot, 0))
    found = admit(plan, budget, spent_all, 2, 0)
    assert found.charges == ()
    assert found.retired == {(group, 0)}
    device = Device(plan, 0, Coins(None))
    assert len(device.view(2, 0).current) > 0
    view = device.view(2, 0, {task for _, task in found.retired})
    assert len(view.current) == 0
    made = plan.strategy.contribute(plan.strategy.initial(), view, plan.step(2, 0), lambda n: bytes(n))
    assert not made.parts["sums"].any()


def test_a_device_counts_its_own_releases_and_refuses_one_more_than_planned(
    digits: Dataset, make_config: Callable[..., Config]
) -> None:
    config = make_config(*PERSONS)
    plan = build_row(config, build_scenario(digits, config), "class_sums", 1.0)
    odometer, groups = ClientBudget(plan, planned_budget(plan), {}), plan.scenario.groups[:1]
    for slot in range(3):
        odometer.take_part(groups, slot, 0, frozenset())
    # The rows of the first task again, which a server that set its ledger back would ask for.
    with pytest.raises(BudgetSpent, match="4 times and 3 were planned"):
        odometer.take_part(groups, 0, 0, frozenset())


@pytest.mark.parametrize(
    ("settings", "row", "why"),
    [
        (("class_sums.noise=local",), "class_sums", "set class_sums.noise = 'shared'"),
        (("privacy.delta=0.01",), "class_sums", "above 1/(10 n) = 0.00833 of n = 12"),
        (("scenario.setting=cross-silo",), "class_sums", "cross-device"),
        (("drift.course=gradual",), "class_sums", "drift.course = 'none'"),
        (("engine=tls",), "class_sums", "engine = 'local'"),
        (("protection=helper", "class_sums.norm_bound=0.5"), "class_sums", "set it to 1 or more"),
        ((), "finetune", "set finetune.noise = 'shared'"),
        (("replay.noise=shared",), "replay", "keeps examples"),
        (("fedcurv.noise=shared",), "fedcurv", "sends more than gradients"),
        (("joint.noise=shared",), "joint", "all tasks at once"),
        (("finetune.noise=shared", "compression.rotation=true"), "finetune", "leave [compression] at its defaults"),
        (("finetune.noise=shared", "scenario.kind=online"), "finetune", "how many pieces"),
        (
            ("attacks.enabled=true", "attacks.row=finetune", "finetune.noise=shared"),
            "finetune",
            "attacks.enabled = false",
        ),
    ],
)
def test_what_the_unit_does_not_cover_is_refused_in_a_sentence(
    digits: Dataset, make_config: Callable[..., Config], settings: tuple[str, ...], row: str, why: str
) -> None:
    config = make_config(*PERSONS, *settings)
    with pytest.raises(ConfigInvalid, match=re.escape(why)) as caught:
        build_row(config, build_scenario(digits, config), row, 1.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ENTRIES)
def test_a_row_bounds_all_that_a_client_sends_or_is_refused(
    row: str, digits: Dataset, make_config: Callable[..., Config]
) -> None:
    """Also for uploads that a method brings of its own: a round's noise covers one vector of a client's, no other."""
    try:
        config = make_config(*PERSONS, f"{row}.noise=shared")
        plan = build_row(config, build_scenario(digits, config), row, 1.0)
    except ConfigInvalid:
        return
    if isinstance(plan.strategy, PersonSums):
        return
    assert isinstance(plan.strategy, GradientStrategy)
    assert not isinstance(plan.strategy.method, SendsOwn)
    (upload,) = plan.strategy.uploads.values()
    assert [part.name for part in upload.parts] == ["gradient"]
    assert "whole gradient sum is clipped" in upload.unit


def test_too_few_people_are_refused_with_the_number_it_would_take(
    digits: Dataset, make_config: Callable[..., Config]
) -> None:
    def calibrated(people: int) -> RowPlan:
        settings = (*PERSONS, f"scenario.clients={people}", "class_sums.epsilon=3")
        config = make_config(*settings)
        return calibrated_row(config, build_scenario(digits, config), "class_sums")[0]

    with pytest.raises(ConfigInvalid, match="below 10") as caught:
        calibrated(12)
    needed = int(str(caught.value).split("it would take ")[1].split(" people")[0])
    over = people_over_noise(calibrated(needed))
    assert over is not None
    assert 10.0 <= over < 10.7
    with pytest.raises(ConfigInvalid, match="below 10"):
        calibrated(needed - 2)


def test_people_over_noise_is_that_of_the_sums(digits: Dataset, make_config: Callable[..., Config]) -> None:
    """n over sigma' sqrt(K), from the events alone: one person's weight over the noise that all clients add."""
    config = make_config(*PERSONS, "class_sums.epsilon=30")
    plan, multiplier = calibrated_row(config, build_scenario(digits, config), "class_sums")
    (event,) = next(iter(plan.scheduled().values()))
    all_present = math.sqrt(event.variance * 12 / 10) / 2.0**14
    assert people_over_noise(plan) == pytest.approx(12 / all_present, rel=1e-6)
    assert people_over_noise(plan) == pytest.approx(12 / (multiplier * math.sqrt(12 / 10)), rel=0.01)


def test_the_plan_does_not_change_with_the_longest_stream_of_one_person(
    digits: Dataset, make_config: Callable[..., Config]
) -> None:
    """Bounds, chunks, storage and charges are the same where one client holds half of the data, or nothing."""
    config = make_config(*PERSONS)
    scenario = build_scenario(digits, config)
    plans = []
    for share in (0.0, 0.5):
        owner = scenario.owner.copy()
        theirs = np.flatnonzero(owner != 0)
        owner[theirs[: int(share * len(theirs))]] = 0
        if share == 0.0:
            owner[owner == 0] = 1
        changed = replace(scenario, owner=owner, largest_place=60 if share else 2)
        plans.append(build_row(config, changed, "slda", 1.0))
    few, many = plans
    assert few.storage == many.storage
    assert few.storage.chunks == 1
    assert few.scheduled() == many.scheduled()
    assert [p.wires["train"][0].sent for p in plans] == [few.wires["train"][0].sent] * 2
    assert few.noises == many.noises
    assert few.scenario.most_examples_of_one_client != many.scenario.most_examples_of_one_client


def test_what_a_device_cannot_hold_is_left_out_and_not_read_in_a_second_release(
    digits: Dataset, make_config: Callable[..., Config]
) -> None:
    config = make_config(*PERSONS, "storage.budget_examples=4")
    plan = build_row(config, build_scenario(digits, config), "class_sums", 1.0)
    assert (plan.rounds_per_slot, plan.storage.places_per_chunk) == (1, 4)
    views = [Device(plan, client, Coins(None)).view(0, 0) for client in range(12)]
    assert {len(view.current) for view in views} == {4}


def test_a_run_for_persons_says_so_and_nothing_else(run_tiny: Callable[..., Any]) -> None:
    run = run_tiny(*PERSONS, 'rows=["class_sums"]', "class_sums.epsilon=30")
    found, text = run.certificate("class_sums"), " ".join((run.path / "certificate.txt").read_text().split())
    assert found["unit"].startswith("one client's whole stream")
    assert "one person on two clients is not covered" in text
    assert "whole stream over all tasks is there, or that client is silent" in found["relation"]
    assert found["people_over_noise"] > 10
    for key in ("unit", "relation", "sampling", "mechanism", "public", "evaluation", "assumptions", "not_checked"):
        assert "one example" not in str(found[key])
        assert "each example" not in str(found[key])
    assert "most_examples_of_one_person" not in found
    assert "how long a device takes" in text


def test_the_accuracy_of_trained_persons_is_named_as_uncharged(
    hapt: Dataset, make_config: Callable[..., Config]
) -> None:
    from secure_fcl.running.certificate_units import evaluated_persons

    settings = ("data.name=hapt", "scenario.partition=natural", "scenario.clients=30")
    config = make_config(*PERSONS, *settings)
    counts, said = evaluated_persons(build_row(config, build_scenario(hapt, config), "class_sums", 1.0))
    assert "how many examples were trained on" in counts
    assert "the very persons who trained" in said
    assert "charged to nobody" in said
    config = make_config(*settings)
    assert evaluated_persons(build_row(config, build_scenario(hapt, config), "class_sums", 1.0)) == []


def test_the_unit_leaves_the_noise_of_other_runs_alone(digits: Dataset, make_config: Callable[..., Config]) -> None:
    settings = ('rows=["class_sums"]', "scenario.clients=12", "class_sums.epsilon=30")
    usual, named, person = (
        prepare(make_config(*settings, *more), digits).noise_key(bytes(32))
        for more in ((), ("privacy.unit=example",), ("privacy.unit=person",))
    )
    assert usual == named != person


GRADIENTS = (*PERSONS, 'rows=["finetune"]', "finetune.noise=shared", "finetune.epsilon=30", "training.model=softmax")


def test_a_gradient_row_charges_a_person_for_every_round_of_every_task(run_tiny: Callable[..., Any]) -> None:
    """Sampled by a coin of each client's own, at the rate of the ledger; dropouts or not."""
    settings = ("training.rounds=4", "training.q_current=0.5", "scenario.clients=60", "finetune.epsilon=6")
    run = run_tiny(*GRADIENTS, *settings, "scenario.dropout=0.01")
    with Ledger(next((run.path / "ledger").glob("*.jsonl"))) as ledger:
        ((cohort, events),) = ledger.spent().items()
    ((event, count),) = events.items()
    assert isinstance(event, SampledSkellam)
    assert (cohort.fate, event.q, count) == ("whole", 0.5, 3 * 4)
    found = run.certificate("finetune")
    assert "q=0.5" in found["sampling"]
    assert "private coin of its own" in found["sampling"]
    # By the Gaussian that dominates, sampled likewise, in the accountant of another library.
    multiplier = 1 / (2 * norm.ppf((1 + i0e(event.variance)) / 2) * event.l2)
    other = dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(0.5, dp_event.GaussianDpEvent(multiplier)), count
    )
    theirs = pld.PLDAccountant(value_discretization_interval=1e-3).compose(other).get_epsilon(DELTA)
    assert found["epsilon"] == pytest.approx(theirs, rel=0.01)


@pytest.mark.parametrize("trainer", ["opacus", "stacked"])
def test_a_gradient_sum_of_a_client_keeps_the_clipping_norm_as_a_whole(
    digits: Dataset, make_config: Callable[..., Config], trainer: str
) -> None:
    """With hundreds of examples; and the coin falls as often as the rate says, between that sum and nothing."""
    config = make_config(
        *GRADIENTS, "training.q_current=0.5", f"training.trainer={trainer}", "training.clipping_norm=0.7"
    )
    plan = build_row(config, build_scenario(digits, config), "finetune", 1.0)
    few = np.flatnonzero(np.isin(digits.y, plan.step(0, 0).classes))[:100]
    view = DeviceView(Examples(plan.scenario.x[few], digits.y[few]), Examples(plan.scenario.x[:0], digits.y[:0]))
    state, step, norms = plan.strategy.initial(), plan.step(0, 0), []
    for number in range(60):
        coins = KeyedStream(derive_key(bytes(32), str(number)))
        norms.append(float(np.linalg.norm(plan.strategy.contribute(state, view, step, coins).parts["gradient"])))
    assert max(norms) <= 0.7
    assert {round(size, 6) for size in norms} == {0.0, 0.7}
    assert 12 <= sum(size > 0 for size in norms) <= 48
    assert plan.strategy.uploads["train"].sensitivity_l2 == 0.7


def test_a_gradient_sum_without_examples_or_without_end_is_silence() -> None:
    assert not within(np.zeros(3), 1.0).any()
    assert not within(np.array([1.0, math.nan]), 1.0).any()
    assert not within(np.array([math.inf, 0.0]), 1.0).any()
    assert within(np.array([3.0, 4.0]), 1.0) == pytest.approx([0.6, 0.8])
    assert np.array_equal(within(np.array([0.3, 0.4]), 1.0), [0.3, 0.4])


def test_plan_and_report_speak_of_whole_streams(
    make_config: Callable[..., Config], run_tiny: Callable[..., Any], tmp_path: Path
) -> None:
    settings = (*PERSONS, 'rows=["class_sums"]', "class_sums.epsilon=30")
    console = Console(file=io.StringIO(), width=400)
    forecast = plan_run(make_config(*settings), alternatives=False)
    print_plan(forecast, console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "Epsilon of one client's whole stream over all tasks" in said
    assert "n / (sigma' sqrt(K)) = " in said
    assert "one person on two clients is not covered" in said
    assert "examples" not in said
    assert "What a whole stream spends" in write_plan(forecast, tmp_path)[1].read_text()
    run = read_run(run_tiny(*settings).path)
    assert cohorts(run, "class_sums").rows[0][1:3] == ("whole stream", "–")
    assert "whole stream" in epsilon_per_cohort(cohort_bars(run, "class_sums"), "class_sums")
    assert dict(facts(run))["Unit protected"] == "one client's whole stream over all tasks"
