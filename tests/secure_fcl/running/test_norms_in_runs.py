"""A run whose norms are checked, by real computing servers, while one client is corrupt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.poisoning.attack import poisoned_run, thousandfold
from evaluation.files import read_jsonl
from secure_fcl.config import Config
from secure_fcl.errors import SumAborted
from secure_fcl.running.prepare import prepare

POISONED = (
    "protection=mpc", 'rows=["class_sums"]', "class_sums.scale_bits=8", "scenario.partition=iid", "transcript=latest",
)  # fmt: skip


def test_a_poisoned_vector_is_left_out_named_and_on_the_certificate(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    prepared = prepare(make_config(*POISONED, "class_sums.norm_bound=8"))
    folder = poisoned_run(prepared, tmp_path, thousandfold, corrupt="client3")
    costs = read_jsonl(folder.path / "cost.jsonl").records
    assert [cost["blamed"] for cost in costs] == [[3]] * len(costs)
    row = json.loads((folder.path / "certificate.json").read_text())["rows"]["class_sums"]
    enforced, left_out = row["norms"]
    upload = prepared.rows[0][0].secure_plan().find("class_sums")
    both = (upload.norm_bound + upload.noise_norm_bound) / 2**8
    assert f"up to both together, {both:.4g}" in enforced
    assert left_out.endswith(f": client3 of {len(costs)} sums")
    assert "norms: left out" in (folder.path / "certificate.txt").read_text()


def test_without_the_check_the_same_vector_is_summed(make_config: Callable[..., Config], tmp_path: Path) -> None:
    prepared = prepare(make_config(*POISONED))
    folder = poisoned_run(prepared, tmp_path, thousandfold, corrupt="client3")
    assert not any("blamed" in cost for cost in read_jsonl(folder.path / "cost.jsonl").records)
    row = json.loads((folder.path / "certificate.json").read_text())["rows"]["class_sums"]
    assert "norms" not in row


def test_more_poison_than_may_be_missing_ends_the_run(make_config: Callable[..., Config], tmp_path: Path) -> None:
    prepared = prepare(make_config(*POISONED, "class_sums.norm_bound=8", "privacy.max_dropouts=0"))
    with pytest.raises(SumAborted, match="beyond it: client3"):
        poisoned_run(prepared, tmp_path, thousandfold, corrupt="client3")


def test_a_run_that_proves_norms_releases_what_one_that_checks_them_does(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    released = {}
    for protection in ("mpc", "helper"):
        settings = (*POISONED, f"protection={protection}", "replay_noise=true", "class_sums.norm_bound=2")
        folder = poisoned_run(prepare(make_config(*settings)), tmp_path / protection, None)
        released[protection] = [
            {**record, "seconds": None} for record in read_jsonl(folder.path / "metrics.jsonl").records
        ]
        row = json.loads((folder.path / "certificate.json").read_text())["rows"]["class_sums"]
        assert row["norms"][1].endswith(": nobody")
        assert ("Each client proves" in row["assumptions"][0]) == (protection == "helper")
    assert released["mpc"] == released["helper"]
