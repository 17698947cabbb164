from pathlib import Path

import numpy as np
import pytest

from evaluation.errors import StorageError
from evaluation.files import JsonLines, read_jsonl
from evaluation.run_folder import mapping, number, objects, read_run, texts
from evaluation.testing import write_synthetic_run


def test_everything_is_read(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert run.rows == ("class_sums", "replay")
    assert run.finished is True
    assert run.problems == ()
    assert len(run.metrics) == len(read_jsonl(run_folder / "metrics.jsonl").records)
    for row in run.rows:
        matrix, (final,) = run.matrix(row), run.records("final", row)
        assert matrix is not None
        assert matrix.forgetting() == pytest.approx(final["forgetting"])
        assert matrix.average_accuracy() == pytest.approx(final["task_mean"])


def test_a_synthetic_run_is_repeatable(tmp_path: Path) -> None:
    first, again, other = (
        write_synthetic_run(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    assert (first / "metrics.jsonl").read_bytes() != (other / "metrics.jsonl").read_bytes()


def test_a_task_measured_twice_counts_once(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "metrics.jsonl") as metrics:
        for share in (0.2, 0.6):
            metrics.append({"kind": "task", "row": "r", "task": 0, "accuracy": [share]})
    matrix = read_run(tmp_path).matrix("r")
    assert matrix is not None
    np.testing.assert_array_equal(matrix.values, [[0.6]])


def test_impossible_accuracies_give_no_matrix(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "metrics.jsonl") as metrics:
        metrics.append({"kind": "task", "row": "r", "task": 0, "accuracy": [7.0]})
    assert read_run(tmp_path).matrix("r") is None
    assert read_run(tmp_path).matrix("absent") is None


def test_damage_is_named_without_the_folder(run_folder: Path) -> None:
    (run_folder / "attacks.json").write_text("[1]")
    (run_folder / "certificate.json").write_text("{")
    (run_folder / "cost.jsonl").write_text("broken\n{}\n")
    run = read_run(run_folder)
    assert (run.attacks, run.certificate, run.cost) == (None, None, ())
    assert len(run.problems) == 3
    for name in ("attacks.json", "certificate.json", "cost.jsonl, line 1"):
        assert sum(problem.startswith(name) for problem in run.problems) == 1


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_run(tmp_path / "nowhere")


def test_lenient_readers() -> None:
    assert (number(1), number(True), number("1"), number(None)) == (1.0, None, None, None)
    assert (mapping([]), mapping({"a": 1})) == ({}, {"a": 1})
    assert objects([{"a": 1}, 2, None]) == [{"a": 1}]
    assert objects("text") == []
    assert texts(["a", 1]) == ["a", "1"]
    assert texts(None) == []
