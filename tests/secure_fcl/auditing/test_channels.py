"""Sizes and times of recorded uploads, with a leak planted in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.files import JsonLines
from secure_fcl.auditing.channels import play_channels
from secure_fcl.auditing.world import AuditWorld
from secure_fcl.config import Config
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare


@pytest.fixture
def world(make_config: Callable[..., Config], tmp_path: Path) -> AuditWorld:
    """Twenty clients with unequal data in two tasks; nothing has run."""
    settings = ("scenario.clients=20", 'rows=["replay"]', "scenario.partition=dirichlet", "memory.capacity=40")
    plan = prepare(make_config(*settings)).rows[0][0]
    return AuditWorld(plan, plan.strategy, {}, RunFolder(tmp_path))  # type: ignore[arg-type]


def recorded(world: AuditWorld, size: Callable[[int], float], seconds: Callable[[int], float]) -> dict[str, Any]:
    """Write the uploads of one round per slot, sizes and times being functions of how much data a client has."""
    scenario = world.plan.scenario
    with JsonLines(world.folder.path / "cost.jsonl") as writer:
        for slot in range(scenario.slots):
            held = [len(scenario.experience(k, slot).index) for k in range(scenario.clients)]
            sent = [{"client": k, "bytes": size(n), "seconds": seconds(n)} for k, n in enumerate(held)]
            writer.append({"row": "replay", "task": slot, "ciphertexts": sent})
            writer.append({"row": "finetune", "task": slot, "ciphertexts": [{"client": 0, "bytes": 1}]})
    found, missing = play_channels(world)
    assert missing == ()
    return {one["channel"]: one for one in found}


def test_equal_sizes_tell_nothing_and_times_that_follow_the_data_are_found(world: AuditWorld) -> None:
    random = np.random.default_rng(0)
    found = recorded(world, lambda held: 1000.0, lambda held: held + random.random())
    assert found["message sizes"]["auc"] == 0.5
    assert not found["message sizes"]["unaccounted"]
    assert found["message times"]["auc"] > 0.9
    assert found["message times"]["unaccounted"]
    assert found["message times"]["n"] == 40


def test_sizes_that_follow_the_data_are_found(world: AuditWorld) -> None:
    found = recorded(world, lambda held: 1000.0 + held, lambda held: 1.0)
    assert found["message sizes"]["unaccounted"]
    assert not found["message times"]["unaccounted"]


def test_runs_that_recorded_nothing_say_so(world: AuditWorld) -> None:
    with JsonLines(world.folder.path / "cost.jsonl") as writer:
        writer.append({"row": "replay", "task": 0, "ciphertexts": []})
    assert play_channels(world) == ([], ("side channels: the run recorded no uploads",))


def test_a_declared_channel_tells_who_holds_which_class(
    run_tiny: Callable[..., Any], make_config: Callable[..., Config]
) -> None:
    settings = ('rows=["glfc"]', 'side_channels=["glfc.prototype_gradients"]')
    run, plan = run_tiny(*settings), prepare(make_config(*settings)).rows[0][0]
    found, _ = play_channels(AuditWorld(plan, plan.strategy, {}, RunFolder(run.path)))  # type: ignore[arg-type]
    (channel,) = [one for one in found if one["channel"] == "glfc.prototype_gradients"]
    # Five clients, five classes in each of two slots.
    assert channel["n"] == 50
    assert channel["auc"] == 1.0
    assert channel["unaccounted"]
