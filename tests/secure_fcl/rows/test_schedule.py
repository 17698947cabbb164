from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import secure_fcl
from attacks.bounds.gaussian import gaussian_epsilon
from secure_fcl.config import Config, load_config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.features.kinds import refined_features
from secure_fcl.forecast.cost import plan_run
from secure_fcl.rows.schedule import (
    LINEAR_RATE,
    NOISE_SHARE,
    OTHER_RATE,
    SHARED_ROUNDS,
    Held,
    learning_rate,
    with_schedule,
    written_out,
)
from secure_fcl.runner import start
from secure_fcl.strategies.section import GradientSection
from secure_fcl.streams import Scenario

HELD = st.builds(
    Held,
    clients=st.integers(2, 1000),
    examples=st.floats(1.0, 1e5),
    linear=st.booleans(),
    seen_once=st.booleans(),
    delta=st.just(1e-5),
)
MU = st.floats(0.05, 6.0)


@given(held=HELD, mu=MU, place=st.sampled_from(("shared", "local")))
def test_noise_moves_a_score_by_the_share_at_most(held: Held, mu: float, place: str) -> None:
    """By the noise that the steps need, not by the rule's own formula: of one sum, or of the mean of clients' sums."""
    section = GradientSection.model_validate({"epsilon": gaussian_epsilon(mu, 1e-5), "noise": place})
    rate, steps = learning_rate(held, section), 10 if held.seen_once else 40
    # Of one step: an example is in all of them, or in one of which it is a tenth of the examples.
    one, examples = (1.0 / mu, held.examples / steps) if held.seen_once else (np.sqrt(steps) / mu, held.examples)
    of_mean = one / examples / (held.clients if place == "shared" else np.sqrt(held.clients))
    assert 0.0 < rate <= (LINEAR_RATE if held.linear else OTHER_RATE)
    assert rate * np.sqrt(steps) * of_mean <= NOISE_SHARE * (1.0 + 1e-6)


@given(held=HELD, mu=MU, more=st.floats(1.0, 3.0))
def test_a_larger_budget_never_trains_less(held: Held, mu: float, more: float) -> None:
    rates = [
        learning_rate(held, GradientSection(epsilon=gaussian_epsilon(m, 1e-5), noise="shared")) for m in (mu, more * mu)
    ]
    assert rates[0] <= rates[1] <= learning_rate(held, GradientSection(epsilon=float("inf"), noise="none"))


#: The tiny configuration has chosen two rounds.
PLANNED = ("training.schedule=planned", "training.rounds=20")


def test_the_plan_is_written_out_once(make_config: Callable[..., Config], tiny_scenario: Scenario) -> None:
    config = make_config(*PLANNED, 'rows=["replay", "finetune"]', "finetune.noise=shared")
    found = with_schedule(config, tiny_scenario)
    assert (found.training.schedule, found.training.model, found.training.features) == ("written", "mlp", "none")
    assert (found.training.rounds, found.replay.rounds, found.finetune.rounds) == (10, 10, SHARED_ROUNDS)
    assert (found.training.steps, found.training.q_current, found.training.q_memory) == (4, 1.0, 1.0)
    assert 0.0 < found.replay.learning_rate <= OTHER_RATE
    assert with_schedule(found, tiny_scenario) == found
    given = make_config('rows=["finetune"]')
    assert with_schedule(given, tiny_scenario) is given


@pytest.mark.parametrize(
    "chosen",
    ["training.rounds=7", "training.q_current=0.1", "training.momentum=0.9", "finetune.rounds=3",
     "finetune.learning_rate=0.1"],
)  # fmt: skip
def test_a_number_that_was_chosen_too_is_refused(
    chosen: str, make_config: Callable[..., Config], tiny_scenario: Scenario
) -> None:
    key, _, value = chosen.partition("=")
    with pytest.raises(ConfigInvalid, match=f"{key} = {value} both say how to train; leave"):
        with_schedule(make_config(*PLANNED, 'rows=["finetune"]', chosen), tiny_scenario)


def test_one_example_more_or_less_plans_the_same(make_config: Callable[..., Config], tiny_scenario: Scenario) -> None:
    config = make_config(*PLANNED, 'rows=["finetune"]')
    fewer = replace(tiny_scenario, held_out=tiny_scenario.held_out | (np.arange(len(tiny_scenario.held_out)) == 0))
    data = replace(tiny_scenario.data, train=tiny_scenario.data.train & ~fewer.held_out)
    fewer = replace(fewer, data=data)
    assert fewer.examples < tiny_scenario.examples
    assert with_schedule(config, fewer) == with_schedule(config, tiny_scenario)


def test_workers_and_whoever_goes_on_read_what_was_planned(
    make_config: Callable[..., Config], digits: Dataset, tmp_path: Path
) -> None:
    config = make_config(*PLANNED, 'rows=["finetune"]')
    prepared, folder = start(config, tmp_path, "catalogue")
    assert folder.config() == prepared.config == written_out(config)
    own = config.model_copy(update={"data": config.data.model_copy(update={"name": "arrays"})})
    prepared, folder = start(own, tmp_path, "own", data=replace(digits, name="arrays"))
    assert prepared.config.training.schedule == "written"
    assert folder.config() == prepared.config


def test_joint_training_by_the_rule_is_as_good_as_in_one_place_and_replay_remembers(
    digits: Dataset, tmp_path: Path
) -> None:
    run = secure_fcl.run(
        {
            "protection": "plain", "rows": ["joint", "replay"], "training": {"schedule": "planned"},
            "attacks": {"enabled": False}, "workers": 1,
            "scenario": {"clients": 8, "tasks": 5, "partition": "iid", "holdout": 0.0},
            "privacy": {"max_dropouts": 1}, "memory": {"capacity": 200}, "storage": {"budget_kib": 8192},
            "joint": {"epsilon": float("inf"), "noise": "none"}, "replay": {"epsilon": float("inf"), "noise": "none"},
        },
        data=replace(digits, name="arrays"), runs=tmp_path, name="run",
    )  # fmt: skip
    x = refined_features(digits.x)
    fit = LogisticRegression(C=1e3, max_iter=3000).fit(x[digits.train], digits.y[digits.train])
    central = fit.score(x[digits.test], digits.y[digits.test])
    found = {str(line.strategy): line.all_windows for line in run.accuracy}
    assert found["joint"] > central - 0.02
    assert found["replay"] > 0.8


@pytest.mark.parametrize(("epsilon", "advised"), [("0.05", True), ("8", False)])
def test_the_plan_says_when_a_budget_cannot_train_a_row(
    epsilon: str, advised: bool, make_config: Callable[..., Config]
) -> None:
    config = make_config('rows=["finetune", "class_sums"]', "finetune.noise=shared", f"finetune.epsilon={epsilon}")
    found = [text for text in plan_run(config, alternatives=False).advice if "noise leaves" in text]
    assert len(found) == advised
    for text in found:
        assert f"finetune: epsilon = {epsilon} with shared noise" in text
        assert "a larger epsilon" in text


@pytest.mark.parametrize(
    ("settings", "advised"),
    [
        ((), True),
        (("training.rounds=200",), False),
        (("training.schedule=planned",), False),
        (("finetune.noise=shared", "finetune.epsilon=0.05"), False),
    ],
    ids=["defaults", "long", "planned", "too little budget"],
)
def test_whoever_chose_too_little_training_learns_of_the_rule(settings: tuple[str, ...], advised: bool) -> None:
    digits = ("data.name=digits", "scenario.partition=iid", "scenario.clients=8", 'rows=["finetune", "class_sums"]')
    config = load_config(None, (*digits, *settings))
    found = [text for text in plan_run(config, alternatives=False).advice if "'planned'" in text]
    assert [text.partition(":")[0] for text in found] == ["finetune"] * advised
