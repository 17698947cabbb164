"""The strategies table: which runs it asks for, that each is a valid one, and how its page is made."""

import math
from itertools import product
from pathlib import Path

import pytest

from benchmarks.strategies import __main__ as command
from benchmarks.strategies.cells import DATA, EPSILONS, LEADING, OTHERS, SEEDS, Cell, cells
from benchmarks.strategies.runs import known, run_all
from benchmarks.strategies.table import page
from evaluation.files import JsonLines
from secure_fcl.config import load_config
from secure_fcl.data.errors import DataMissing

EVERYTHING = list(cells(tuple(DATA), (*LEADING, *OTHERS), SEEDS))


def line(row: str, seed: int, micro: float, **changes: object) -> dict[str, object]:
    found = {
        "cell": f"hapt-eps1-shared-seed{seed}", "data": "hapt", "row": row, "noise": "shared", "seed": seed,
        "target": 1.0, "epsilon": 0.999, "micro": micro, "task_mean": micro / 2, "forgetting": 0.25,
        "bytes_up": 2e6, "bytes_down": 1e6, "rounds": 6,
    }  # fmt: skip
    return found | changes


def test_leading_rows_run_everywhere_and_the_others_at_both_ends() -> None:
    asked = {(c.data, c.epsilon, c.noise, c.seed, row) for c in EVERYTHING for row in c.rows}
    places = {e: ("none",) if math.isinf(e) else ("local", "shared") for e in EPSILONS}
    for data, epsilon, seed in product(DATA, EPSILONS, SEEDS):
        for noise, row in product(places[epsilon], (*LEADING, *OTHERS)):
            wanted = row in LEADING or epsilon in (1.0, math.inf)
            wanted &= not (row == "local_only" and noise == "shared")
            assert ((data, epsilon, noise, seed, row) in asked) == wanted


@pytest.mark.parametrize("cell", [c for c in EVERYTHING if c.seed == 1], ids=lambda c: c.key)
def test_every_cell_is_a_configuration(cell: Cell) -> None:
    config = load_config(None, cell.settings())
    assert config.rows == cell.rows
    for row in cell.rows:
        section = config.section(row)
        assert (section.epsilon, section.noise) == (cell.epsilon, cell.noise)
    assert (config.training.features, config.calm.features) == ("refined", "auto")
    assert config.memory.capacity == 200


def test_what_has_a_line_is_not_run_again(tmp_path: Path) -> None:
    cell = Cell("hapt", 1.0, "shared", 1, ("class_sums", "calm"))
    with JsonLines(tmp_path / "lines.jsonl") as lines:
        for row in cell.rows:
            lines.append(line(row, 1, 0.8, settings=cell.digest(row)))
    assert not run_all([cell], tmp_path / "lines.jsonl", "", tmp_path / "runs", 1)
    assert len(known(tmp_path / "lines.jsonl")) == 2
    assert not (tmp_path / "runs").exists()


def test_a_line_of_other_settings_does_not_count(tmp_path: Path) -> None:
    """The cell is run again; that it cannot be, for want of such a row, shows that it was tried."""
    cell = Cell("hapt", -2.0, "local", 1, ("class_sums",))
    with JsonLines(tmp_path / "lines.jsonl") as lines:
        lines.append(line("class_sums", 1, 0.8, cell=cell.key, settings="of another day"))
    assert len(run_all([cell], tmp_path / "lines.jsonl", "", tmp_path / "runs", 1)) == 1
    assert len({c.digest(row) for c in EVERYTHING for row in c.rows}) == sum(len(c.rows) for c in EVERYTHING)
    assert Cell("hapt", 1.0, "local", 1, ("calm", "slda")).digest("calm") == Cell(
        "hapt", 1.0, "local", 1, ("calm",)
    ).digest("calm")


def test_a_bound_that_cannot_be_computed_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(data: str, data_dir: str) -> dict[str, object]:
        if data == "mnist":
            raise DataMissing("no file of mnist")
        return line("central", 0, 0.9, cell=f"{data}-central")

    monkeypatch.setattr(command, "bound", missing)
    assert command.add_bounds(["mnist", "hapt"], tmp_path / "lines.jsonl", "") == ["mnist-central: no file of mnist"]
    assert list(known(tmp_path / "lines.jsonl")) == [("hapt-central", "central")]
    assert not command.add_bounds(["hapt"], tmp_path / "lines.jsonl", "")


def test_a_cell_that_fails_says_why_and_leaves_no_line(tmp_path: Path) -> None:
    cell = Cell("hapt", -2.0, "local", 1, ("class_sums",))
    (failed,) = run_all([cell], tmp_path / "lines.jsonl", "", tmp_path / "runs", 1)
    assert "hapt-eps-2-local-seed1: " in failed
    assert "class_sums.epsilon" in failed
    assert not known(tmp_path / "lines.jsonl")


def test_the_page_shows_mean_spread_and_what_was_not_run() -> None:
    made = page([line("calm", 1, 0.90), line("calm", 2, 0.92), line("slda", 1, 0.5)], "# Head")
    assert "| **CALM (ours)** |  |  |  |  |  |  | 91.0 ± 1.4 / 45.5 |" in made
    assert "| streaming LDA |  |  |  |  |  |  | 50.0 / 25.0 |" in made
    assert "| **CALM (ours)** |  | 25.0 | 0.999 | 6 |  | 2.00 | 2 |" in made
    assert "mnist" not in made.lower()
