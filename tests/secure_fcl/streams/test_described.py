"""Scenarios whose inputs are public features."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secure_fcl.config import Config, load_config
from secure_fcl.config.streams import Drift
from secure_fcl.data import Dataset
from secure_fcl.features.kinds import features, refined_features
from secure_fcl.rows.build import build_row
from secure_fcl.streams import Scenario, all_at_once, build_scenario
from secure_fcl.streams.drift import drifted


@pytest.mark.parametrize(("name", "function"), [("plain", features), ("refined", refined_features)])
def test_inputs_are_features_of_their_own_example(tiny_scenario: Scenario, name, function) -> None:
    found = tiny_scenario.described(name)
    np.testing.assert_array_equal(found.x, function(tiny_scenario.x).astype(np.float32))
    np.testing.assert_array_equal(found.data.x, found.x)
    np.testing.assert_allclose(found.x[3:4], function(tiny_scenario.x[3:4]), atol=1e-7)
    assert np.linalg.norm(found.x.astype(np.float64), axis=1).max() <= 1.0 + 1e-6
    assert found.digest == tiny_scenario.digest
    assert (found.owner == tiny_scenario.owner).all()


def test_a_scenario_is_described_once_and_stays_what_it_was(tiny_scenario: Scenario) -> None:
    before = tiny_scenario.x.copy()
    assert tiny_scenario.described("plain") is tiny_scenario.described("plain")
    assert tiny_scenario.described("none") is tiny_scenario
    np.testing.assert_array_equal(tiny_scenario.x, before)
    described = tiny_scenario.described("plain")
    assert described.described("plain") is described
    assert all_at_once(described).x is described.x
    with pytest.raises(ValueError, match="features already"):
        described.described("refined")


def test_drift_changes_the_example_and_then_its_features(hapt_scenario: Scenario) -> None:
    drift = Drift(course="gradual", kind="rotation", amount=40.0)
    found = replace(hapt_scenario, drift=drift).described("plain")
    index = hapt_scenario.test_indices()[:5]
    now = features(drifted(hapt_scenario.x[index], np.ones(5), drift))
    np.testing.assert_array_equal(found.inputs_now(index, hapt_scenario.slots - 1), now.astype(np.float32))


@pytest.mark.parametrize("row", ["joint", "replay", "fedlwf"])
def test_networks_see_features_where_the_configuration_says_so(
    digits: Dataset, make_config: Callable[..., Config], row: str
) -> None:
    config = make_config("training.features=plain", "training.model=auto")
    plan = build_row(config, build_scenario(digits, config), row, 1.0)
    assert plan.scenario.data.shape == (128,)
    assert len(plan.strategy.initial()["weights"]) == 129 * 10
    raw = build_row(make_config(), build_scenario(digits, config), row, 1.0)
    assert raw.scenario.data.shape == (1, 8, 8)


def test_a_run_on_features_learns_what_one_on_pixels_does(run_tiny) -> None:
    """Same streams, same steps, from the command's own job to the last record."""
    settings = ('rows=["joint"]', "joint.noise=none", "joint.epsilon=inf", "training.learning_rate=8.0",
                "training.upload_clip=8.0", "training.rounds=20", "replay_noise=true")  # fmt: skip
    found = run_tiny(*settings, "training.features=refined", "training.model=softmax")
    (final,) = [r for r in found.records("metrics.jsonl") if r["kind"] == "final"]
    # Ten classes: a tenth by chance.
    assert final["micro"] > 0.7
    assert any("public features" in said for said in found.certificate("joint")["chosen_on_data"])


def test_unknown_features_are_refused() -> None:
    with pytest.raises(Exception, match=r"training\.features"):
        load_config(None, ["training.features=wavelets"])
