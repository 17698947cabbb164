"""The demo runs whole, and its figures lie where its page says they lie."""

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.demo import DOCS, page
from evaluation.files import read_jsonl
from secure_fcl.config import load_config
from secure_fcl.demo import CONFIG

LINES = read_jsonl(DOCS / "benchmarks-demo.jsonl").records


def test_the_page_is_made_of_its_lines() -> None:
    assert page(LINES) == (DOCS / "benchmarks-demo.md").read_text(encoding="utf-8")


def test_rows_share_features_budget_and_place_of_noise_and_are_encrypted() -> None:
    config = load_config(CONFIG)
    sections = [config.section(name) for name in config.rows]
    assert config.protection == "bfv"
    assert config.attacks.enabled
    assert {(section.epsilon, section.noise) for section in sections} == {(1.0, "shared")}
    assert config.training.features == config.calm.features == "refined"
    assert {line["row"] for line in LINES} == set(config.rows)


@pytest.mark.slow
def test_the_demo_ends_within_the_spread_of_its_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "secure_fcl", "demo", "--runs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert done.stdout.splitlines()[-1] == f"report: {folder / 'report.html'}"
    before: dict[str, list[float]] = defaultdict(list)
    for line in LINES:
        before[line["row"]].append(line["micro"])
    finals = {r["row"]: r["micro"] for r in read_jsonl(folder / "metrics.jsonl").records if r["kind"] == "final"}
    assert finals.keys() == before.keys()
    for row, accuracy in finals.items():
        mean, spread = statistics.mean(before[row]), statistics.stdev(before[row])
        # Five deviations, and half a point where eight seeds happened to agree.
        assert abs(accuracy - mean) < 5 * spread + 0.005, row
    certified = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))["rows"]
    assert all(entry["epsilon"] <= 1.0 for entry in certified.values())
