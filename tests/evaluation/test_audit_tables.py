"""Tables of an audit that tell tasks, servers and channels apart."""

from pathlib import Path
from typing import Any

import pytest

from evaluation import audit_tables
from evaluation.files import read_json, write_json
from evaluation.leakage import leakage_cells
from evaluation.report import render_report
from evaluation.run_folder import Run, read_run
from evaluation.verdict import banners, verdict

POINT = {"value": 0.6, "low": 0.5, "high": 0.7}
MORE: dict[str, Any] = {
    "history": [{"task": 0, "checkpoints": [0, 1], "last": [POINT, POINT], "sequence": [POINT, POINT],
                 "premium": [POINT, POINT], "half_life": None},
                {"task": 1, "checkpoints": [1], "last": [POINT], "sequence": [POINT], "premium": [POINT],
                 "half_life": 2}],
    "noise": {"declared": 1.5, "measured": 1.5012, "p_value": 0.5, "too_small": False},
    "probes": [{"name": "differencing of cohorts", "noise": "off", "refused": "no", "recovered": 0.0},
               {"name": "a model for each client", "noise": "off", "refused": None, "recovered": 1.0,
                "similarity": 1.0}],
    "attribution": [{"noise": "as ran", "rounds": 50, "right": 0.12, "low": 0.05, "high": 0.25, "chance": 0.1}],
    "rounds": {"trajectories": [{"attack": "cosine over rounds", "view": "sums only", "target": "released sums",
                                 "noise": "as ran", "rounds": [1, 2], "auc": [POINT, POINT]}],
               "cohorts": [{"task": 0, "rounds": 2, "cohorts": 1, "isolated": [], "noise_gain": None},
                           {"task": 1, "rounds": 2, "cohorts": 2, "isolated": [3], "noise_gain": 1.414}]},
    "channels": [{"channel": "message sizes", "auc": 0.5, "low": 0.4, "high": 0.6, "n": 40, "unaccounted": False,
                  "measure": "bytes", "least": 100.0, "largest": 100.0}],
}  # fmt: skip


@pytest.fixture
def run(run_folder: Path) -> Run:
    path = run_folder / "attacks.json"
    document = read_json(path) | MORE
    one = document["outcomes"][0]
    document["outcomes"].append({**one, "target": "memory of replay, task 2", "task": 1})
    document["outcomes"].append(
        {**one, "target": "in the client's own code", "about": "canaries", "attack": "direction"}
    )
    write_json(path, document)
    return read_run(run_folder)


def change(run: Run, **more: Any) -> Run:
    path = run.folder / "attacks.json"
    write_json(path, read_json(path) | more)
    return read_run(run.folder)


def test_single_tasks_have_a_table_of_their_own(run: Run) -> None:
    (line,) = audit_tables.by_task(run).rows
    assert line[2] == "task 2 (class 2, class 3)"
    targets = [row[4] for row in audit_tables.attacks(run).rows]
    assert not any(", task 2" in target for target in targets)
    assert len(audit_tables.attack_bars(run)) == len(targets)


def test_history_says_what_was_kept_and_how_long_it_lasted(run: Run) -> None:
    first, second = audit_tables.history(run).rows
    assert first == ("task 1 (class 0, class 1)", *["0.600 [0.500, 0.700]"] * 4, "never")
    assert second[-1] == "2 tasks"


def test_what_each_round_adds_is_a_line(run: Run) -> None:
    (line,) = audit_tables.over_rounds(run).rows
    point = "0.600 [0.500, 0.700]"
    assert line == ("cosine over rounds", "sums only", "run", "as ran", "2", point, point)


def test_what_was_tried_on_code_and_servers(run: Run) -> None:
    lines = {row[0]: row for row in audit_tables.mechanism(run).rows}
    assert lines["noise multiplier of empty batches"][3] == "as charged"
    assert lines["server: differencing of cohorts"][2:] == ("no", "refused")
    assert lines["server: a model for each client"][3] == "one client isolated"
    assert lines["which client brought a class, from updates in the clear"][3] == "not shown"
    assert lines["cohorts of the sums, task 1"][3] == "nobody stands alone"
    assert "1 clients stand alone in a combination, noise 1.41 times" in lines["cohorts of the sums, task 2"][2]
    assert "100 to 100 bytes" in lines["side channel: message sizes"][2]
    page = render_report(run.folder)
    for title in (
        "Membership with history",
        "Membership over rounds",
        "Task by task",
        "Code, servers and side channels",
    ):
        assert f"<h3>{title}</h3>" in page


def test_canaries_are_no_discovery_about_the_run(run: Run) -> None:
    told = verdict(run)
    path = run.folder / "attacks.json"
    kept = [o for o in read_json(path)["outcomes"] if o["about"] != "canaries"]
    assert verdict(change(run, outcomes=kept)) == told
    assert [row[1] for row in audit_tables.attacks(run).rows].count("canaries") == 1


def test_what_a_reader_must_not_miss(run: Run) -> None:
    assert not any("Side channel" in b.text or "empty batch" in b.text or "single out" in b.text for b in banners(run))
    probe = {**MORE["probes"][1], "noise": "as ran"}
    changed = change(
        run, noise={**MORE["noise"], "too_small": True, "measured": 0.0}, probes=[probe],
        channels=[{**MORE["channels"][0], "unaccounted": True}],
    )  # fmt: skip
    found = {b.text.split(":")[0]: b.severe for b in banners(changed)}
    assert found["The audit contradicts the ledger"]
    assert found["A server can single out a client in spite of the noise"]
    assert not found["Side channel"]


def test_the_leakage_matrix_stands_beside_the_accuracy_matrix(run: Run) -> None:
    cell = {"value": 0.2, "low": 0.1, "high": 0.3}
    document = change(
        run, row=run.rows[0], leakage={"tasks": [0, 1], "kept": [[None, None], [cell, None]],
                                       "discarded": [[cell, None], [cell, cell]]},
    )  # fmt: skip
    table = leakage_cells(document)
    first, second = "task 1 (class 0, class 1)", "task 2 (class 2, class 3)"
    assert [row[:2] for row in table.rows] == [(first, first), (second, first), (second, second)]
    assert [row[4] for row in table.rows] == ["n/a", "0.20 [0.10, 0.30]", "n/a"]
    assert all(row[2] != "n/a" for row in table.rows)
