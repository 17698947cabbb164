"""A side channel is refused under protection, recorded where it is allowed, and never covered by an epsilon."""

from collections.abc import Callable

import numpy as np
import pytest

from privacy import NonPrivate
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.strategies.methods.glfc import rebuilt
from secure_fcl.streams import Scenario

ALLOWED = 'side_channels=["glfc.prototype_gradients"]'
UNPROTECTED = ("glfc.noise=none", "glfc.epsilon=inf")


@pytest.mark.parametrize("settings", [(), ("protection=bfv", *UNPROTECTED), ("glfc.noise=shared",)])
def test_a_channel_is_refused_while_anything_is_protected(
    tiny_scenario: Scenario, make_config: Callable[..., Config], settings: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigInvalid, match=r"take glfc_safe, or allow it with side_channels = \['glfc"):
        build_row(make_config(*settings), tiny_scenario, "glfc", 1.0)
    assert build_row(make_config(*settings, ALLOWED), tiny_scenario, "glfc", 1.0).channels
    assert not build_row(make_config(*settings), tiny_scenario, "glfc_safe", 1.0).channels


def test_without_protection_nothing_needs_to_be_allowed(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    assert build_row(make_config(*UNPROTECTED), tiny_scenario, "glfc", 0.0).channels


def test_an_unknown_channel_is_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match="side_channels"):
        make_config('side_channels=["gossip"]')


def test_every_slot_charges_what_no_noise_covers(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    plan, _ = calibrated_row(make_config(ALLOWED), tiny_scenario, "glfc")
    assert not plan.protected
    first, second = ([c.event for c in plan.charges(0, r)] for r in (0, 1))
    assert NonPrivate("side channel glfc.prototype_gradients") in first
    assert not any(isinstance(event, NonPrivate) for event in second)
    # The noise is that of the same row without the channel.
    assert calibrated_row(make_config(), tiny_scenario, "glfc_safe")[1] == pytest.approx(_, rel=1e-6)


@pytest.fixture(scope="module")
def run(run_tiny: Callable) -> object:  # type: ignore[type-arg]
    return run_tiny('rows=["glfc","glfc_safe"]', "replay_noise=true", ALLOWED)


def test_what_was_said_is_recorded_and_gives_examples_away(run, tiny_scenario: Scenario, digits: Dataset) -> None:  # type: ignore[no-untyped-def]
    paths = sorted((run.path / "side-channels").glob("*.npz"))
    assert [path.name for path in paths] == ["glfc-000.npz", "glfc-001.npz"]
    with np.load(paths[0]) as file:
        sent = file["glfc.prototype_gradients"]
    assert len(sent) == tiny_scenario.clients
    plan_config = run.records("cost.jsonl")
    assert plan_config[0]["side_channel_bytes"] == sent.nbytes
    assert plan_config[1]["side_channel_bytes"] == 0
    from secure_fcl.strategies import Networks

    found = 0
    for client in range(tiny_scenario.clients):
        x, y = rebuilt(Networks(kind="mlp", shape=(1, 8, 8), classes=10, seed=1), sent[client : client + 1])
        mine = tiny_scenario.experience(client, 0).index
        assert set(y.tolist()) == set(digits.y[mine].tolist())
        pool = np.flatnonzero(tiny_scenario.data.train)
        for image, label in zip(x, y, strict=True):
            nearest = pool[np.linalg.norm((tiny_scenario.x[pool] - image).reshape(len(pool), -1), axis=1).argmin()]
            found += nearest in mine and digits.y[nearest] == label
    # Chance would be one in five clients.
    assert found >= 4


def test_the_certificate_claims_nothing_with_the_channel(run) -> None:  # type: ignore[no-untyped-def]
    with_channel, safe = run.certificate("glfc"), run.certificate("glfc_safe")
    assert with_channel["epsilon"] is None
    assert any("glfc.prototype_gradients" in line for line in with_channel["non_private"])
    assert safe["epsilon"] == pytest.approx(8.0, rel=0.01)
    assert not safe["non_private"]
