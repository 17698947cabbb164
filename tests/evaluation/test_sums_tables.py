"""Attacks on released sums as tables, figure, page and terminal; damaged records leave gaps and no error."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluation.figures import subjects
from evaluation.files import read_json, write_json
from evaluation.report import render_report
from evaluation.run_folder import read_run
from evaluation.summary import print_details
from evaluation.sums_tables import games, mus, power_figure, power_lines, told
from evaluation.verdict import verdict

GAME: dict[str, Any] = {
    "question": "items in the sums of class_sums, knowing the population alone, noise as ran", "stage": "run",
    "known": "the population alone", "noise": "as ran", "trials": 1, "members": 40, "others": 9, "auc": 0.55,
    "low": 0.4, "high": 0.7, "mu": None, "adjusted_p": 0.4, "verdict": "could not have been found", "curve": [],
}  # fmt: skip
RECORD: dict[str, Any] = {
    "row": "class_sums", "noise": "shared", "missing": ["retained or merely seen: class_sums keeps no example"],
    "mu": {"ledger": 0.27, "present": 0.25, "with_colluders": 0.26, "run": 0.251, "low": 0.24, "high": 0.262,
           "entries": 900, "surely": 0.23, "confidence": 0.999, "exceeds": False,
           "shares": {"in_the_sum": 30, "charged_for": 26}},
    "games": [GAME, {**GAME, "noise": "off", "verdict": "found", "auc": 1.0},
              {**GAME, "question": "one example", "known": "all other examples", "stage": "rehearsal", "trials": 400,
               "mu": 0.248, "mu_low": 0.22, "mu_high": 0.27, "curve": [[0.1, 0.16], [0.5, 0.6]]}],
    "persons": {"persons": 30, "games": [{"known": "all other examples", "noise": "as ran", "auc": 0.99, "low": 0.9,
                                          "high": 1.0}],
                "group": {"examples": 211, "mu": 31.6, "epsilon": None, "says": "above 50: it bounds nothing"},
                "activity": [{"noise": "as ran", "right": 0.7, "low": 0.5, "high": 0.85, "persons": 30, "blind": 0.3}]},
    "few": {"arrival": [{"noise": "as ran", "announced": 12, "there": 12, "shown": 11, "least": 20.8}],
            "means": [{"noise": "as ran", "class": 6, "examples": 35, "likeness": 0.1}],
            "products": [{"noise": "off", "slot": 3, "examples": 49, "rank": 49, "span_auc": 1.0, "rebuilt": 2,
                          "likeness": 0.999}]},
}  # fmt: skip


@pytest.fixture
def audited(run_folder: Path) -> Path:
    path = run_folder / "attacks.json"
    write_json(path, {**read_json(path), "sums": [RECORD]})
    return run_folder


def test_every_figure_of_a_record_has_its_place(audited: Path) -> None:
    run = read_run(audited)
    (line,) = mus(run).rows
    assert line == (
        "class_sums", "as charged", "0.270", "0.250 (30 shares, 26 charged for)", "0.260", "0.251 [0.240, 0.262]",
        "0.248 [0.220, 0.270]", "400",
    )  # fmt: skip
    asked = games(run)
    assert [row[4] for row in asked.rows] == [
        "could not have been found",
        "found",
        "could not have been found",
        "found",
    ]
    assert asked.rows[0][0] == "items in the sums of class_sums"
    assert {row[2] for row in asked.rows} == {"the run itself", "worlds played anew, 400", "worlds played anew"}
    said = " ".join(" ".join(row) for row in told(run).rows)
    for words in (
        "right for 70.0 %",
        "above 50: it bounds nothing",
        "from 21 examples on",
        "of slot 4",
        "with 2 examples",
    ):
        assert words in said


def test_page_terminal_and_verdict_have_them(audited: Path) -> None:
    page, out = render_report(audited), io.StringIO()
    print_details(audited, Console(file=out, width=200))
    for text in (page, out.getvalue()):
        assert "the population alone" in text
        assert "could not have been found" in text
    words = verdict(read_run(audited))
    assert "mu 0.25, of 0.27 charged; without their noise 1 of 1 attacks find who was trained on." in words
    assert "whole persons are found, AUC 0.99 by who knows all other examples" in words
    assert subjects(read_run(audited))[0].figures[3].verdict == "as charged"


def test_the_figure_draws_both_curves_and_the_attack(audited: Path) -> None:
    (line,) = power_lines(read_run(audited))
    assert line.points == ((0.1, 0.16), (0.5, 0.6))
    assert power_figure([line]).count("<svg") == 1
    assert "No row of sums" in power_figure([])


@pytest.mark.parametrize("damage", [None, 3, "x", [], {}, [[]]])
@pytest.mark.parametrize("key", ["mu", "games", "persons", "few", "missing"])
def test_damaged_records_leave_gaps(audited: Path, key: str, damage: object) -> None:
    path = audited / "attacks.json"
    document = read_json(path)
    assert isinstance(document, dict)
    document["sums"] = [{**RECORD, key: damage}]
    write_json(path, document)
    run = read_run(audited)
    assert len(mus(run).rows) + len(games(run).rows) + len(told(run).rows) > 0
    verdict(run)
    subjects(run)


def test_a_page_of_damaged_records_is_a_page(audited: Path) -> None:
    path = audited / "attacks.json"
    document = read_json(path)
    assert isinstance(document, dict)
    keys = ("mu", "games", "persons", "few", "missing")
    write_json(path, {**document, "sums": [{**RECORD, key: damage} for key in keys for damage in (3, [[]])]})
    assert "Attacks on released sums" in render_report(audited)
    print_details(audited, Console(file=io.StringIO()))
