"""Rows that train a network for persons by model differences, or by a norm that is learnt: charges and refusals."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant as pld
from rich.console import Console
from scipy.special import i0e
from scipy.stats import norm

from privacy import Ledger, SampledSkellam
from secure_fcl.cli.plan_tables import print_plan
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid, SecureFclError
from secure_fcl.forecast.cost import plan_run
from secure_fcl.rows.build import build_row
from secure_fcl.rows.schedule import with_schedule
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.streams import build_scenario

DELTA = 1e-5
PERSONS = ("privacy.unit=person", "scenario.clients=60", "scenario.tasks=2", "scenario.partition=iid")
DIFFERENCES = (*PERSONS, "training.sends=difference")
TRAINED = ('rows=["finetune"]', "finetune.noise=shared", "finetune.epsilon=6", "training.model=softmax")


def multiplier(event: SampledSkellam) -> float:
    """Of the Gaussian that dominates a Skellam release (docs/skellam.md)."""
    return float(1 / (2 * norm.ppf((1 + i0e(event.variance)) / 2) * event.l2))


def test_a_run_by_model_differences_charges_every_round_and_says_what_it_sums(run_tiny: Callable[..., Any]) -> None:
    settings = ("training.rounds=3", "training.steps=4", "training.q_current=0.5", "training.learning_rate=0.2")
    run = run_tiny(*DIFFERENCES, *TRAINED, *settings)
    with Ledger(next((run.path / "ledger").glob("*.jsonl"))) as ledger:
        ((cohort, events),) = ledger.spent().items()
    ((event, count),) = events.items()
    assert isinstance(event, SampledSkellam)
    assert (cohort.fate, event.q, count) == ("whole", 0.5, 2 * 3)
    certificate = run.certificate("finetune")
    assert "model difference of each client after 4 steps of its own" in certificate["mechanism"]
    assert "q=0.5" in certificate["sampling"]
    # By the accountant of another library.
    one = dp_event.PoissonSampledDpEvent(0.5, dp_event.GaussianDpEvent(multiplier(event)))
    accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
    theirs = accountant.compose(dp_event.SelfComposedDpEvent(one, count)).get_epsilon(DELTA)
    assert certificate["epsilon"] == pytest.approx(theirs, rel=0.01)


@pytest.mark.parametrize("row", ENTRIES)
def test_a_row_sends_one_difference_or_is_refused(
    row: str, digits: Dataset, make_config: Callable[..., Config]
) -> None:
    fits = {"finetune", "fedavg", "fedprox", "fedlwf", "flwf2t", "fedntd"}
    sums = {"class_sums", "slda", "analytic", "calm"}
    try:
        config = make_config(*DIFFERENCES, f"{row}.noise=shared")
        plan = build_row(config, build_scenario(digits, config), row, 1.0)
    except SecureFclError:
        assert row not in fits | sums
        return
    assert row in fits | sums
    if row in fits:
        (upload,) = plan.strategy.uploads.values()
        assert [part.name for part in upload.parts] == ["difference"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("training.keep_moments=true", "training.momentum=0.9"), "keeps no optimizer's moments"),
        (("finetune.noise=local",), "set finetune.noise = 'shared'"),
        (("compression.rotation=true",), "leave [compression] at its defaults"),
    ],
)
def test_what_differences_do_not_cover_is_refused_in_a_sentence(
    digits: Dataset, make_config: Callable[..., Config], settings: tuple[str, ...], why: str
) -> None:
    config = make_config(*DIFFERENCES, *TRAINED, *settings)
    with pytest.raises(ConfigInvalid, match=re.escape(why)):
        build_row(config, build_scenario(digits, config), "finetune", 1.0)


@pytest.mark.parametrize("key", ["sends=difference", "clipping=learnt"])
def test_whole_vectors_are_refused_where_the_unit_is_an_example(make_config: Callable[..., Config], key: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"set privacy\.unit = 'person'"):
        make_config(f"training.{key}")


def test_the_rule_for_training_does_not_plan_differences(digits: Dataset, make_config: Callable[..., Config]) -> None:
    config = make_config(*DIFFERENCES, *TRAINED[:3], "training.schedule=planned", "training.rounds=20")
    with pytest.raises(ConfigInvalid, match=r"training\.sends = 'difference' both say how to train"):
        with_schedule(config, build_scenario(digits, config))


def test_the_new_keys_leave_the_noise_of_other_runs_alone(digits: Dataset, make_config: Callable[..., Config]) -> None:
    settings = (*PERSONS, *TRAINED)
    usual, named, other = (
        prepare(make_config(*settings, *more), digits).noise_key(bytes(32))
        for more in ((), ("training.sends=gradient", "training.clipping=given"), ("training.sends=difference",))
    )
    assert usual == named != other


LEARNT = (*PERSONS, *TRAINED, "training.clipping=learnt", "training.clipping_share=0.05", "training.q_current=0.5")


def test_a_learnt_norm_is_charged_beside_what_is_summed(run_tiny: Callable[..., Any]) -> None:
    """Two events in every round, and the budget is that of both: by the accountant of another library."""
    run = run_tiny(*LEARNT, "training.rounds=3")
    with Ledger(next((run.path / "ledger").glob("*.jsonl"))) as ledger:
        ((_, events),) = ledger.spent().items()
    assert len(events) == 2
    summed, counted = sorted(events, key=multiplier)
    assert set(events.values()) == {2 * 3}
    assert (summed.q, counted.q) == (0.5, 0.5)
    assert (summed.variance, summed.l2 / 2**14) == (counted.variance, pytest.approx(1.0, rel=0.01))
    # 1 / z^2 of the count is a twentieth of that of both.
    assert multiplier(counted) ** -2 / (multiplier(counted) ** -2 + multiplier(summed) ** -2) == pytest.approx(
        0.05, rel=0.01
    )
    accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
    for event in (summed, counted):
        one = dp_event.PoissonSampledDpEvent(0.5, dp_event.GaussianDpEvent(multiplier(event)))
        accountant.compose(dp_event.SelfComposedDpEvent(one, 6))
    certificate = run.certificate("finetune")
    assert certificate["epsilon"] == pytest.approx(accountant.get_epsilon(DELTA), rel=0.01)
    assert "0.05 of a round's budget" in certificate["mechanism"]
    assert "follows the 0.5 quantile" in certificate["mechanism"]


def test_a_plan_says_what_of_the_budget_a_learnt_norm_takes(make_config: Callable[..., Config]) -> None:
    console = Console(file=io.StringIO(), width=400)
    print_plan(plan_run(make_config(*LEARNT, "training.rounds=3"), alternatives=False), console)
    assert isinstance(console.file, io.StringIO)
    assert "clipping, finetune: the norm starts at 1 and follows the 0.5 quantile; its count takes 5 % of a round" in (
        console.file.getvalue()
    )


def test_a_bound_on_norms_leaves_room_for_vector_and_count(digits: Dataset, make_config: Callable[..., Config]) -> None:
    config = make_config(*LEARNT, "finetune.norm_bound=1.2", "protection=helper")
    with pytest.raises(ConfigInvalid, match="shared by the vector and the count"):
        build_row(config, build_scenario(digits, config), "finetune", 1.0)
