"""A run's result does not depend on the protection, or on whether it was interrupted."""

from pathlib import Path

import pytest

from secure_fcl.rows.build import build_row
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import Prepared, prepare

SHARED = ('rows=["fedagem"]', "replay_noise=true", "fedagem.noise=shared", "training.trainer=stacked")


def stopped_after_every_round(prepared: Prepared, parent: Path) -> RunFolder:
    """The folder of a run of one row that was stopped after each round, continued, and finished."""
    folder = RunFolder.create(parent, prepared.config, "run")
    plan, _ = prepared.rows[0]
    for _ in range(plan.rounds):
        with pytest.raises(Interrupted):
            train(prepared, folder, stopped=lambda: True)
    train(prepared, folder)
    return folder


@pytest.mark.slow
def test_answers_beside_an_update_are_the_same_under_encryption(run_tiny) -> None:
    settings = ('rows=["cfed","fedweit_safe"]', "replay_noise=true", "training.trainer=stacked")
    plain, encrypted = run_tiny(*settings), run_tiny(*settings, "protection=bfv", "workers=2")
    assert encrypted.metrics == plain.metrics
    assert encrypted.digest() == plain.digest()


@pytest.mark.slow
def test_gradient_sums_with_shared_noise_are_the_same_under_every_protection(run_tiny) -> None:
    plain = run_tiny(*SHARED)
    for protection in ("bfv", "secagg", "mpc", "helper", "helper-2-of-3"):
        other = run_tiny(*SHARED, f"protection={protection}", "workers=2")
        assert other.metrics == plain.metrics
        assert other.digest() == plain.digest()


SLOW = tuple(pytest.param(row, marks=pytest.mark.slow) for row in ("flwf2t", "cfed", "fedweit", "scaffold"))


@pytest.mark.parametrize("row", ["derpp", *SLOW, "fedcurv"])
def test_what_devices_keep_survives_an_interruption(run_tiny, make_config, tmp_path, row: str) -> None:
    allowed = 'side_channels=["fedweit.task_weights"]' if row == "fedweit" else "side_channels=[]"
    settings = (f'rows=["{row}"]', "replay_noise=true", "training.trainer=stacked", "transcript=latest", allowed)
    whole = run_tiny(*settings)
    folder = stopped_after_every_round(prepare(make_config(*settings)), tmp_path)
    assert (folder.path / "metrics.jsonl").read_bytes() == whole.metrics
    left = [path.name for path in (folder.path / "simulation").glob(f"devices-{row}-*.npz")]
    assert len([name for name in left if "closed" not in name]) <= 2


KEPT = ("training.optimizer=adam", "training.learning_rate=0.02", "training.keep_moments=true", "replay_noise=true")


@pytest.mark.parametrize("trainer", ["stacked", pytest.param("opacus", marks=pytest.mark.slow)])
def test_moments_that_devices_keep_survive_an_interruption(run_tiny, make_config, tmp_path, trainer: str) -> None:
    settings = ('rows=["finetune"]', "transcript=latest", f"training.trainer={trainer}", *KEPT)
    whole = run_tiny(*settings)
    folder = stopped_after_every_round(prepare(make_config(*settings)), tmp_path)
    assert (folder.path / "metrics.jsonl").read_bytes() == whole.metrics


def test_moments_count_as_storage(tiny_scenario, make_config) -> None:
    with_moments = build_row(make_config(*KEPT), tiny_scenario, "finetune", 1.0)
    without = build_row(make_config(*KEPT, "training.keep_moments=false"), tiny_scenario, "finetune", 1.0)
    size = len(without.strategy.initial()["weights"])
    kept = [sum(held for _, held in plan.storage.kept) for plan in (with_moments, without)]
    assert kept[0] - kept[1] == 4 * (2 * size + 1)
    shared = build_row(make_config(*KEPT, "finetune.noise=shared"), tiny_scenario, "finetune", 1.0)
    assert not shared.keeps
