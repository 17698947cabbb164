import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.report import render_report
from secure_fcl.auditing import audit
from secure_fcl.auditing.memory import common_threshold
from secure_fcl.auditing.servers import probe_servers
from secure_fcl.auditing.world import open_world
from secure_fcl.config import Config
from secure_fcl.errors import RunFolderError
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.streams import Scenario

ATTACKED = (
    'rows=["replay"]',
    "scenario.partition=iid",
    "attacks.enabled=true",
    "attacks.targets=2",
    "attacks.inversion_steps=3",
)


@pytest.fixture(scope="module")
def attacked(run_tiny, make_config):  # type: ignore[no-untyped-def]
    run = run_tiny(*ATTACKED)
    audit(prepare(make_config(*ATTACKED)), RunFolder.existing(run.path))
    return run


@pytest.fixture(scope="module")
def document(attacked):  # type: ignore[no-untyped-def]
    return json.loads((attacked.path / "attacks.json").read_text())


def about_the_run(document, game: str):  # type: ignore[no-untyped-def]
    """Outcomes on the run itself over all tasks: no controls, no staged rounds, no canaries, no single task."""
    own = [o for o in document["outcomes"] if o["control"] is None and o["game"] == game]
    return [o for o in own if not re.search(r"staged|canaries|, task \d", o["target"])]


def test_every_game_is_played(document) -> None:  # type: ignore[no-untyped-def]
    assert document["row"] == "replay"
    own = [o for o in document["outcomes"] if o["control"] is None]
    assert {(o["game"], o["target"].split(",")[0]) for o in own} == {
        ("membership", "training data of replay"),
        ("membership", "staged rounds"),
        ("membership", "canaries in the client's own code"),
        ("retained or merely seen", "memory of replay in the last task"),
        ("retained or merely seen", "canaries in the client's own code"),
        ("class arrival from the sum", "staged rounds of 5 clients: class 5"),
    }
    assert {o["view"] for o in own} == {
        "final model", "all models", "sums only", "one client in the clear", "all clients in the clear",
    }  # fmt: skip
    assert len(about_the_run(document, "membership")) == 5
    assert len(about_the_run(document, "retained or merely seen")) == 3
    assert len({(o["game"], o["attack"], o["target"]) for o in document["outcomes"]}) == len(document["outcomes"])


def test_a_run_on_features_with_kept_moments_is_attacked_like_any_other(run_tiny, make_config) -> None:  # type: ignore[no-untyped-def]
    settings = (*ATTACKED, "training.features=plain", "training.model=auto", "training.momentum=0.5",
                "training.keep_moments=true")  # fmt: skip
    run = run_tiny(*settings)
    found = audit(prepare(make_config(*settings)), RunFolder.existing(run.path))
    assert found["inputs"] == "plain"
    assert any("canaries" in o["target"] for o in found["outcomes"])
    assert "plain public features" in run.certificate("replay")["mechanism"]


def test_each_task_is_judged_against_its_own_charge(document) -> None:  # type: ignore[no-untyped-def]
    tasks = [o for o in document["outcomes"] if o["game"] == "membership" and o["task"] is not None]
    assert [(o["task"], o["target"]) for o in tasks] == [
        (0, "training data of replay, task 1"), (1, "training data of replay, task 2"),
    ]  # fmt: skip
    # Who came first stayed in the memory for longer.
    assert tasks[0]["ledger_epsilon"] > tasks[1]["ledger_epsilon"]


def test_forgetting_is_followed_from_every_task_but_the_last(document) -> None:  # type: ignore[no-untyped-def]
    (curve,) = document["history"]
    assert (curve["task"], curve["checkpoints"]) == (0, [0, 1])
    assert curve["premium"][0]["value"] == 0.0
    for point in (*curve["last"], *curve["sequence"]):
        assert point["low"] <= point["value"] <= point["high"]


def test_arrival_is_asked_with_the_noise_and_without(document) -> None:  # type: ignore[no-untyped-def]
    found = {o["control"]: o["auc"] for o in document["outcomes"] if o["game"] == "class arrival from the sum"}
    assert found["without noise"] > 0.95
    assert found[None] < found["without noise"]
    clear, noisy = document["attribution"]
    assert (clear["noise"], noisy["noise"], clear["chance"]) == ("off", "as ran", 0.2)
    assert clear["right"] > 0.9
    assert clear["right"] > noisy["right"]


def test_a_plain_sum_refuses_no_server_and_noise_has_to_hide_the_client(document) -> None:  # type: ignore[no-untyped-def]
    cohorts, clear, noisy = document["probes"]
    assert (cohorts["name"], clear["name"]) == ("differencing of cohorts", "a model for each client")
    assert cohorts["recovered"] == clear["recovered"] == 1.0
    assert (noisy["noise"], noisy["recovered"]) == ("as ran", 0.0)
    assert abs(noisy["similarity"]) < 0.3


@pytest.mark.parametrize("protection", ["bfv", "mpc", "secagg", "secagg+"])
def test_every_protection_stops_both_servers(attacked, make_config: Callable[..., Config], protection: str) -> None:  # type: ignore[no-untyped-def]
    world = open_world(prepare(make_config(*ATTACKED)), RunFolder.existing(attacked.path))
    config = world.plan.config.model_copy(update={"protection": protection})
    probes, untried = probe_servers(replace(world, plan=replace(world.plan, config=config)))
    assert untried == ()
    assert [one["recovered"] for one in probes] == [0.0, 0.0]
    assert probes[0]["refused"]
    # Either the sum is refused, or it holds nobody but those who were sent the same model.
    assert probes[1]["refused"] or probes[1]["similarity"] == 0.0


def test_too_few_visits_for_side_channels_are_said(document) -> None:  # type: ignore[no-untyped-def]
    assert document["channels"] == []
    assert "side channel, message times: features (10, 11)" in " ".join(document["not_tested"])


def test_every_game_on_the_run_has_a_blind_baseline_and_an_interval(document) -> None:  # type: ignore[no-untyped-def]
    for outcome in document["outcomes"]:
        assert 0.0 <= outcome["auc_low"] <= outcome["auc"] <= outcome["auc_high"] <= 1.0
        if outcome["control"] is None:
            assert outcome["blind_low"] <= outcome["blind_auc"] <= outcome["blind_high"]


def test_truths_are_the_coins_of_the_run(document, attacked, make_config: Callable[..., Config]) -> None:  # type: ignore[no-untyped-def]
    scenario = prepare(make_config(*ATTACKED)).scenario
    train = scenario.data.train & (scenario.owner >= 0) & (scenario.task >= 0)
    with np.load(attacked.path / "simulation" / "memory-replay-000.npz") as file:
        held = sum(len(file[name]) for name in file.files)
    counts = {
        game: next((o["n_members"], o["n_nonmembers"]) for o in about_the_run(document, game))
        for game in ("membership", "retained or merely seen")
    }
    assert counts["membership"] == (int((train & ~scenario.held_out).sum()), int((train & scenario.held_out).sum()))
    assert counts["retained or merely seen"][0] == held
    assert sum(counts["retained or merely seen"]) == int((train & ~scenario.held_out & (scenario.task == 0)).sum())


def test_the_positive_control_is_found_and_the_negative_is_not(document) -> None:  # type: ignore[no-untyped-def]
    found = {o["control"]: o for o in document["outcomes"] if o["control"]}
    assert found["positive"]["auc_low"] > 0.75
    assert found["negative"]["auc_low"] < 0.5


def test_the_four_gradient_worlds_and_the_recorded_update(document) -> None:  # type: ignore[no-untyped-def]
    worlds = [(r["world"], r["noise"]) for r in document["reconstructions"]]
    assert len(set(worlds)) == len(worlds) == 8
    assert {noise for _, noise in worlds} == {"off", "as ran"}
    assert sum("recorded update" in world for world, _ in worlds) == 2
    assert sum("2 replayed in a batch of 4" in world for world, _ in worlds) == 2


def test_truths_and_clear_views_lie_in_simulation_only(attacked) -> None:  # type: ignore[no-untyped-def]
    names = {p.relative_to(attacked.path).as_posix() for p in attacked.path.rglob("*") if p.is_file()}
    secret = {n for n in names if any(word in n for word in ("coins", "memory", "clear"))}
    assert secret == {
        "simulation/coins-replay.npz",
        "simulation/clear-update-replay.npz",
        "simulation/memory-replay-000.npz",
        "simulation/memory-replay-001.npz",
    }
    with np.load(attacked.path / "simulation" / "clear-update-replay.npz") as file:
        assert set(file.files) == {"simulation", "weights", "update", "update_without_noise"}
        assert bool(file["simulation"])
        difference = file["update"] - file["update_without_noise"]
        assert difference.std() > 0


def test_the_clear_update_is_the_one_that_was_sent(run_tiny) -> None:  # type: ignore[no-untyped-def]
    # With one client the plain sum is what this client sent.
    run = run_tiny("scenario.clients=1", "scenario.partition=iid", 'rows=["finetune"]', "attacks.enabled=true",
                   "attacks.row=finetune", "scenario.tasks=1", "training.rounds=1")  # fmt: skip
    with np.load(run.path / "simulation" / "clear-update-finetune.npz") as file:
        shown, silent = file["update"], file["update_without_noise"]
    scale = (2**16 - 1) / 0.5
    sent = run.transcript["finetune/00000"]["total"][:-1] / scale
    assert np.abs(sent - np.clip(shown, -0.5, 0.5)).max() < 1.001 / scale
    assert np.abs(sent - np.clip(silent, -0.5, 0.5)).max() > 10 / scale


@pytest.mark.parametrize("setting", ["attacks.one_client_view=false", "attacks.enabled=false"])
def test_no_clear_update_without_its_declaration(run_tiny, setting: str) -> None:  # type: ignore[no-untyped-def]
    run = run_tiny('rows=["finetune"]', "attacks.row=finetune", "scenario.tasks=1", "training.rounds=1",
                   "attacks.enabled=true", setting)  # fmt: skip
    assert not list(run.path.rglob("*clear*"))
    assert "clear update" not in (run.path / "certificate.txt").read_text()


def test_the_certificate_declares_the_view(attacked) -> None:  # type: ignore[no-untyped-def]
    assert any("clear update of client 0" in line for line in attacked.certificate("replay")["evaluation"])
    assert "declared view" in (attacked.path / "certificate.txt").read_text()


def test_the_report_reads_the_audit(attacked) -> None:  # type: ignore[no-untyped-def]
    text = render_report(attacked.path)
    assert "learnt random labels by heart" in text


def test_unfinished_runs_and_other_rows_are_refused(
    attacked,
    reference,
    make_config: Callable[..., Config],
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    prepared = prepare(make_config('rows=["replay"]', "attacks.row=finetune"))
    with pytest.raises(RunFolderError, match=r"attacks\.row = 'finetune' is not among"):
        audit(prepared, RunFolder.existing(reference.path))
    folder = RunFolder.create(tmp_path, make_config(*ATTACKED), "fresh")
    with pytest.raises(RunFolderError, match="is not finished"):
        audit(prepare(make_config(*ATTACKED)), folder)


def test_a_damaged_transcript_is_one_sentence(attacked, make_config: Callable[..., Config], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "copy"
    shutil.copytree(attacked.path, copy)
    (copy / "transcript" / "replay" / "00000.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(RunFolderError, match="missing or damaged"):
        audit(prepare(make_config(*ATTACKED)), RunFolder.existing(copy))


def test_one_game_has_one_retention_rate() -> None:
    latest = np.array([2, 2, 1, -1])
    rate, clients = common_threshold(latest, (0.3, 0.2, 0.1))
    assert rate == 0.1
    assert clients.tolist() == [True, True, False, False]
    rate, clients = common_threshold(latest, (0.3, 0.2, 0.2))
    assert rate == 0.2
    assert clients.tolist() == [True, True, True, False]


def test_an_asynchronous_run_is_audited(run_tiny, make_config: Callable[..., Config]) -> None:  # type: ignore[no-untyped-def]
    settings = (*ATTACKED, "scenario.arrival=asynchronous", "memory.capacity=60",
                "memory.keep=0.9", "training.rounds=1")  # fmt: skip
    prepared = prepare(make_config(*settings))
    thresholds = prepared.rows[0][0].memory.thresholds  # type: ignore[union-attr]
    assert thresholds[1] < thresholds[0]
    run = run_tiny(*settings)
    document = audit(prepared, RunFolder.existing(run.path))
    assert any("memory of replay" in one["target"] for one in document["outcomes"])  # type: ignore[attr-defined]


def test_rows_with_closing_rounds_have_checkpoints_of_training_rounds(
    run_tiny, make_config: Callable[..., Config]
) -> None:  # type: ignore[no-untyped-def]
    settings = (*ATTACKED[1:], 'rows=["fedewc"]', "attacks.row=fedewc")
    prepared = prepare(make_config(*settings))
    plan = prepared.rows[0][0]
    assert plan.rounds_per_slot > plan.training_rounds
    world = open_world(prepared, RunFolder.existing(run_tiny(*settings).path))
    assert world.transcript["model_tasks"].tolist() == [-1, 0, 0, 1, 1]
    assert len(world.transcript["sums"]) == 4
    with np.load(world.folder.path / "model" / "fedewc.npz") as file:
        assert (world.transcript["final_model"] == file["weights"]).all()


def test_inversion_without_targets_is_said(run_tiny, make_config: Callable[..., Config]) -> None:  # type: ignore[no-untyped-def]
    settings = (*ATTACKED, "scenario.partition=pathological", "scenario.tasks=1", "training.rounds=1")
    run = run_tiny(*settings)
    document = audit(prepare(make_config(*settings)), RunFolder.existing(run.path))
    assert not document["reconstructions"]
    assert "gradient inversion: fewer than two clients" in " ".join(document["not_tested"])  # type: ignore[arg-type]


def test_hold_out_of_zero_has_no_membership_game(
    run_tiny, make_config: Callable[..., Config], tiny_scenario: Scenario
) -> None:  # type: ignore[no-untyped-def]
    settings = (*ATTACKED, "scenario.holdout=0", "scenario.tasks=1", "training.rounds=1")
    run = run_tiny(*settings)
    document = audit(prepare(make_config(*settings)), RunFolder.existing(run.path))
    skipped = " ".join(document["not_tested"])  # type: ignore[arg-type]
    assert "leaves no non-members" in skipped
    assert "retained or merely seen" in skipped
