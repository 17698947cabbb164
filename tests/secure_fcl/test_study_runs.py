"""Cells in processes of their own: one fails, one is killed, points are added later; what all runs cost together."""

import json
import math
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privacy import NonPrivate, SampledGaussian
from privacy.statement import best_epsilon
from secure_fcl.cli.commands import app
from secure_fcl.studies import conduct, study_of
from secure_fcl.studies.crew import Crew, News, Order
from secure_fcl.studies.results import leakage_of, points
from secure_fcl.studies.running import Ahead
from secure_fcl.studies.totals import Spending, total

BASE: dict[str, Any] = {
    "workers": 1, "data": {"name": "digits"}, "privacy": {"max_dropouts": 1},
    "scenario": {"partition": "iid", "clients": 4, "tasks": 2},
}  # fmt: skip
GAUSSIAN = SampledGaussian(q=1.0, noise_multiplier=4.0)


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["study", *words])


def test_help_and_errors_are_whole(tmp_path: Path) -> None:
    assert "the tables base and grid" in invoke("run", "--help").stdout
    assert {"run", "status", "report"} <= set(invoke("--help").stdout.split())
    nowhere = invoke("status", str(tmp_path / "none.toml"))
    assert (nowhere.exit_code, nowhere.stderr.count("\n")) == (2, 1)
    assert "is not the folder of a study" in nowhere.stderr


@pytest.mark.slow
def test_a_failed_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    file, folder = tmp_path / "grid.toml", tmp_path / "out"
    text = (
        '[base]\nworkers = 1\ndata = {name = "digits"}\nprivacy = {max_dropouts = 1}\n'
        'scenario = {partition = "iid", tasks = 2, clients = 4}\n[grid]\nstorage.budget_kib = [100, 1]\n'
    )
    file.write_text(text)
    result = invoke(str(file), "--out", str(folder), "--jobs", "2", "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert [row["storage.budget_kib"] for row in found["rows"]] == [100]
    (sentence,) = found["failed"].values()
    assert "storage.budget_kib = 1 leaves 0 bytes" in sentence
    assert found["total"]["runs"] == 1
    assert 1.9 < found["total"]["epsilon"] <= 2.0
    looked = json.loads(invoke("status", str(folder), "--json").stdout)
    assert [cell["state"] for cell in looked["cells"]] == ["finished", "failed"]
    assert looked["cells"][1]["failed"] == sentence
    assert looked["seconds_left"] > 0.0
    assert "1 of 2 finished, 1 failed" in invoke("status", str(folder)).stdout
    # A point added later runs alone, and the cell that failed is tried again.
    file.write_text(text.replace("[100, 1]", "[100, 1, 90]"))
    result = invoke("run", str(file), "--out", str(folder))
    assert result.exit_code == 1, result.output
    assert f"failed {looked['cells'][1]['key']}" in result.stderr + result.stdout
    assert "1/3" not in result.stdout
    shown = " ".join(invoke("report", str(file), "--out", str(folder)).stdout.split())
    assert "cells were added after others had finished" in shown
    assert "that choice was not charged" in shown
    assert "1 of the cells failed" in shown


@pytest.mark.slow
def test_a_killed_run_is_continued(tmp_path: Path) -> None:
    (cell,) = study_of({"base": BASE, "grid": {}}).cells
    kinds: list[str] = []
    crews: list[Crew] = []
    begin = Crew._begin

    def watch(ahead: Ahead) -> None:
        # The first round is saved: kill the process that runs it, once.
        if len(crews) == 1:
            kinds.append("round")
            (process,) = crews[0].processes
            os.kill(process, signal.SIGKILL)
            crews.append(crews[0])

    def said(text: str) -> None:
        kinds.append(text.split()[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Crew, "_begin", lambda self, *args: (crews.append(self) if not crews else None, begin(self, *args))[1]
        )
        done = conduct((cell,), tmp_path, said, watch=watch)
    assert kinds == ["1/1", "round", "resuming", "1/1"]
    assert not done.failed
    assert [row["run"] for row in done.rows] == [cell.key]


def test_a_run_whose_process_always_dies_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("secure_fcl.studies.crew.sys.executable", "/bin/false")
    heard: list[News] = []
    with Crew(1) as crew:
        crew.work([Order(name="a", run=tmp_path, workers=1)], heard.append, lambda: False)
    assert [news.kind for news in heard] == ["started", "resumed", "started", "resumed", "started", "failed"]
    assert heard[-1].sentence == "its process ended 3 times, the last with exit code 1"


def spent(*histories: dict[Any, int], data: str = "hapt", used: float = 0.0) -> Spending:
    return Spending(run="r", data=data, delta=1e-5, delta_used=used, histories=histories)


def test_runs_add_up_as_one_multiset_of_events() -> None:
    one = {GAUSSIAN: 3}
    found = total([spent(one), spent(one), spent({GAUSSIAN: 1})])
    rdp, pld = best_epsilon(Counter({GAUSSIAN: 7}), 1e-5)
    assert pld is not None
    assert found.epsilon == found.epsilon_private == min(rdp, pld)
    assert found.epsilon > 1.5 * total([spent(one)]).epsilon
    # Deltas add up as well, and at the end nothing is left.
    assert total([spent(one, used=2e-6)] * 3).epsilon > total([spent(one)] * 3).epsilon
    assert math.isinf(total([spent(one, used=2e-6)] * 6).epsilon)


def test_the_worst_history_of_every_run_counts() -> None:
    other = SampledGaussian(q=0.1, noise_multiplier=1.0)
    several = total([spent({GAUSSIAN: 3}, {other: 5}), spent({GAUSSIAN: 3})]).epsilon
    alone = best_epsilon({GAUSSIAN: 6}, 1e-5)[0]
    assert several >= alone


def test_runs_for_persons_and_for_examples_do_not_add_up() -> None:
    example, person = spent({GAUSSIAN: 3}), replace(spent({GAUSSIAN: 3}), unit="person")
    assert math.isinf(total([example, person]).epsilon)
    assert total([person, person]).epsilon == total([example, example]).epsilon < math.inf


def test_a_run_without_noise_ends_every_guarantee() -> None:
    found = total([spent({GAUSSIAN: 3}), spent({NonPrivate("no noise"): 1}, data="digits")])
    assert math.isinf(found.epsilon)
    assert found.epsilon_private == total([spent({GAUSSIAN: 3})]).epsilon
    first, second, last = found.sentences()
    assert "all 2 runs together, which saw the data sets hapt, digits between them: no guarantee, as 1 had no" in first
    assert f"epsilon {found.epsilon_private:.4g}" in second
    assert "was not charged" in last
    assert total([]).sentences() == ["no run has charged anything yet"]


def line(seed: int, leakage: float | None, **changed: Any) -> dict[str, Any]:
    base = {"strategy": "er", "noise": "local", "epsilon": 2.0, "protection": "plain", "setting": "", "seed": seed}
    measured = {"micro": 0.5 + seed / 10, "task_mean": 0.5, "forgetting": None, "epsilon_spent": 1.9}
    return base | measured | {"leakage": leakage, "bytes_up_per_client": 10} | changed


def test_points_have_intervals_over_their_seeds() -> None:
    first, second = points([line(1, 0.1), line(2, 0.3), line(1, None, setting="clients = 3")])
    assert first["seeds"] == 2
    assert first["micro"] == pytest.approx(0.65)
    assert first["leakage"] == pytest.approx(0.2)
    assert first["leakage_low"] < 0.2 < first["leakage_high"]
    assert first["forgetting"] is None
    assert (second["seeds"], second["leakage"], second["micro_low"]) == (1, None, None)


def test_leakage_is_of_the_last_model_and_of_the_cell_alone(tmp_path: Path) -> None:
    assert leakage_of(tmp_path, "er") is None
    matrix = {"kept": [[{"value": 0.9}, None], [{"value": 0.2}, None]], "discarded": [[None], [{"value": 0.0}, None]]}
    (tmp_path / "attacks.json").write_text(json.dumps({"row": "er", "leakage": matrix}))
    assert leakage_of(tmp_path, "er") == pytest.approx(0.1)
    assert leakage_of(tmp_path, "replay") is None
    (tmp_path / "attacks.json").write_text(json.dumps({"row": "er", "leakage": None}))
    assert leakage_of(tmp_path, "er") is None
