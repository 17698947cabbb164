"""The bounds: joint training puts all tasks into one slot, local training sums nothing."""

from collections.abc import Callable

import numpy as np
import pytest

from privacy import SampledGaussian
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row
from secure_fcl.running.measure import Measure
from secure_fcl.streams import Scenario, all_at_once, build_scenario


def test_joint_training_takes_as_many_steps_of_as_many_examples(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    config = make_config("training.rounds=3", "storage.budget_kib=40", "memory.capacity=4")
    joint, tuned = (build_row(config, tiny_scenario, name, 1.5) for name in ("joint", "finetune"))
    assert tuned.storage.chunks > 1
    assert joint.storage.chunks == 1
    assert joint.scenario.slots == 1
    assert joint.rounds == 3 * tiny_scenario.slots
    assert joint.strategy.events("current") == {SampledGaussian(q=0.25 / tiny_scenario.slots, noise_multiplier=1.5): 2}
    # Every example is there in every round, and charged for it.
    charged = joint.charges(0, 0)
    assert {c.cohort.arrival for c in charged} == set(range(tiny_scenario.tasks))
    assert joint.step(0, 0).classes == tuple(range(10))


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("scenario.arrival=asynchronous",),
        ("scenario.order=shuffle",),
        ("scenario.kind=online", "online.segments=2"),
        ("scenario.kind=domain", "scenario.partition=iid"),
    ],
)
def test_everything_that_is_ever_released_is_there_at_once(
    digits: Dataset, make_config: Callable[..., Config], settings: tuple[str, ...]
) -> None:
    scenario = build_scenario(digits, make_config(*settings))
    joint = all_at_once(scenario)
    for client in range(scenario.clients):
        each = [t for slot in range(scenario.slots) for t in scenario.released(client, slot)]
        assert sorted(joint.released(client, 0)) == sorted(each)
    assert joint.most_waiting == 0
    assert not joint.seen_once
    np.testing.assert_array_equal(joint.test_indices(), scenario.test_indices())


def test_local_models_are_each_tried_on_every_window(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    plan = build_row(make_config(), tiny_scenario, "local_only", 1.5)
    state = plan.strategy.initial()
    rng = np.random.default_rng(0)
    states = [{**state, "weights": rng.normal(size=len(state["weights"])).astype(np.float32)} for _ in range(5)]
    tally = Measure(plan, lambda _: states).tally(state)
    alone = [Measure(build_row(make_config(), tiny_scenario, "finetune", 1.5)).tally(s).micro for s in states]
    assert tally.micro == pytest.approx(np.mean([a for a in alone if a is not None]))
    assert list(tally.per_client().values()) == pytest.approx(alone)
    assert len(set(alone)) > 1


def test_shared_noise_without_a_sum_is_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match="nothing is summed"):
        make_config("local_only.noise=shared")


def test_a_proximal_term_that_overshoots_is_refused(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigInvalid, match="lower one of them"):
        build_row(make_config("fedprox.mu=4"), tiny_scenario, "fedprox", 1.0)


def test_a_run_of_both(run_tiny: Callable) -> None:  # type: ignore[type-arg]
    run = run_tiny('rows=["joint","local_only"]', "replay_noise=true")
    joint, local = (r for r in run.records("metrics.jsonl") if r["kind"] == "final")
    assert joint["forgetting"] is None
    assert joint["micro"] > local["micro"]
    assert sorted(local["per_client"]) == ["0", "1", "2", "3", "4"]
    assert any("upper bound" in line for line in run.certificate("joint")["evaluation"])
    assert any("lower bound" in line for line in run.certificate("local_only")["evaluation"])
    assert all(r["bytes_up"] < 5000 for r in run.records("cost.jsonl") if r["row"] == "local_only")
