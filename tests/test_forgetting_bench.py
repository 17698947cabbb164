"""The bench of forgetting and leakage: scores against other worlds, rules of memories, the page's answers."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.forgetting.attack import by_coin, scores_against
from benchmarks.forgetting.kept import EPSILONS, Cell, cells
from benchmarks.forgetting.page import answers, best_of, page, plot
from benchmarks.forgetting.rules import RULES, MemoryRule, Seen, herding, most_surprising, rainbow, reservoir, uniform
from benchmarks.forgetting.worlds import log_odds
from evaluation import auc
from evaluation.files import read_jsonl

DOCS = Path(__file__).resolve().parents[1] / "docs"


def seen(labels: list[int], features: object = None, values: object = None) -> Seen:
    n = len(labels)
    numbers = np.arange(n, dtype=float) if values is None else np.asarray(values, dtype=float)
    shown = np.ones((n, 2)) if features is None else np.asarray(features, dtype=float)
    return Seen(features=shown, labels=np.array(labels), losses=numbers, entropy=numbers)


def test_worlds_that_tell_are_found_and_worlds_that_do_not_are_not() -> None:
    random = np.random.default_rng(0)
    trained = random.random((12, 4000)) < 0.5
    hard = random.normal(size=4000) * 3
    noise = random.normal(size=(12, 4000))
    others = np.arange(12) != 0
    for shift, expected in ((0.0, 0.5), (2.0, 0.92)):
        signals = hard + shift * trained + noise
        scores, asked = scores_against(signals[0], signals[others], trained[others])
        # AUC of two unit normals 2 apart is .921; twelve worlds estimate their means from six each.
        assert auc(scores[asked], trained[0][asked]) == pytest.approx(expected, abs=0.04)


def test_a_candidates_own_coin_does_not_decide_whether_it_is_asked_about() -> None:
    trained = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1]], dtype=bool)
    signals = np.random.default_rng(1).normal(size=(5, 3))
    _, asked = scores_against(signals[0], signals[1:], trained[1:])
    assert asked.tolist() == [True, False, True]


def test_scores_of_one_coin_are_averaged() -> None:
    assert by_coin(np.array([1.0, 5.0, 3.0]), np.array([7, 2, 7])).tolist() == [5.0, 2.0]


def test_log_odds_of_logits() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
    assert log_odds(logits, np.array([0, 2])) == pytest.approx([math.log(0.7 / 0.3), 0.0])
    assert np.isfinite(log_odds(np.array([[-np.inf, 1.0, -np.inf]]), np.array([0]))).all()


@pytest.mark.parametrize("rule", [uniform, reservoir])
def test_memories_of_chance_keep_every_place_equally_often(rule: MemoryRule) -> None:
    coins = np.random.default_rng(2)
    counts = np.sum([np.bincount(rule(seen([0] * 10), 3, coins), minlength=10) for _ in range(4000)], axis=0)
    # 1,200 each, standard deviation 29.
    assert np.abs(counts - 1200).max() < 150


def test_herding_keeps_who_brings_the_mean_nearest() -> None:
    angles = np.array([0.0, 0.3, 0.5, 1.5])
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # The mean of the unit vectors points to .56: .5 comes first; then {.5, .3}, {.5, 0}, {.5, 1.5} are compared.
    mean = unit.mean(axis=0)
    second = min((0, 1, 3), key=lambda place: float(np.linalg.norm(mean - (unit[2] + unit[place]) / 2)))
    found = herding(seen([0, 0, 0, 0], 5 * unit), 2, np.random.default_rng(0))
    assert found.tolist() == sorted([2, second])


def test_memories_that_rank() -> None:
    coins = np.random.default_rng(0)
    assert most_surprising(seen([0, 1, 0, 1], values=[0.1, 3.0, 2.0, 0.2]), 2, coins).tolist() == [1, 2]
    ranked = seen([0] * 5 + [1] * 3, values=[4, 0, 3, 1, 2, 9, 7, 8])
    assert rainbow(ranked, 5, coins).tolist() == [0, 1, 4, 5, 6]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_as_many_as_asked_for(name: str) -> None:
    random = np.random.default_rng(3)
    some = seen([0, 1, 2] * 10, random.normal(size=(30, 4)), random.random(30))
    found = RULES[name](some, 8, random)
    assert len(np.unique(found)) == 8
    assert (np.diff(found) > 0).all()


def line(row: str, right: float, then: float, last: float, **changes: object) -> dict[str, object]:
    def around(value: float) -> list[float]:
        return [value, value - 0.01, value + 0.01]

    found = {
        "data": "hapt", "row": row, "epsilon": None, "worlds": 5, "references": 1, "clients": 3, "tasks": 3,
        "members": 1000, "coins": 300, "right_then": around(0.9), "right_last": around(right),
        "forgotten": around(0.9 - right), "auc_then": around(then), "auc_last": around(last),
        "auc_fallen": around(then - last), "auc_kept": [None, None, None], "right_retrained": [0.0, None, None],
        "auc_retrained": [0.5, None, None], "bound_then": 0.1, "bound_last": 0.0, "largest_bound": 0.2,
        "memory": 1024, "spent": None, "block": None,
    }  # fmt: skip
    return found | changes


def test_the_answer_tells_hidden_from_found() -> None:
    block = [line("a", 0.2, 0.6, 0.5), line("b", 0.2, 0.6, 0.55), line("c", 0.9, 0.6, 0.6), line("d", 0.2, 0.5, 0.5),
             line("e", 0.3, 0.6, 0.6)]  # fmt: skip
    (said,) = answers(block)
    assert "forgot: a, b, d, e" in said
    assert "of these, found after its task and not in the end: a;" in said
    assert "still found in the end, less than before: b;" in said
    assert "found in the end no less than before: e;" in said
    assert "found neither time: d;" in said
    assert "did not forget and is found in the end: c." in said


def test_chance_dominates_nobody() -> None:
    block = [
        line("a", 0.8, 0.6, 0.495),
        line("b", 0.9, 0.6, 0.505),
        line("c", 0.95, 0.6, 0.7),
        line("d", 0.9, 0.6, 0.6),
    ]
    assert best_of(block) == (False, True, True, False)


def test_cells_hold_every_budget_of_every_world(tmp_path: Path) -> None:
    found = list(cells(("hapt",), 3, 1))
    assert len(found) == len(set(found)) == len(EPSILONS) * (3 + 1)
    paths = {cell.path(tmp_path, "calm") for cell in found}
    assert len(paths) == len(found)
    assert Cell(data="hapt", epsilon=8.0, world=0, retrained=True) in found


def test_the_page_is_that_of_its_results() -> None:
    lines = read_jsonl(DOCS / "benchmarks-forgetting.jsonl").records
    rows, memories = [one for one in lines if "row" in one], [one for one in lines if "rule" in one]
    assert (DOCS / "forgetting-and-leakage.md").read_text(encoding="utf-8") == page(rows, memories)
    figure = plot(rows)
    budgets = {(one["data"], one["epsilon"]) for one in rows}
    named = {"hapt": "HAPT", "mnist": "split-MNIST"}
    for name, epsilon in budgets:
        assert f"{named[name]}, {'no noise' if epsilon is None else 'epsilon 8'}" in figure
