"""The strategies table: which runs it asks for, that each is a valid one, and how its page is made."""

import math
from itertools import product
from pathlib import Path

import pytest

from benchmarks.strategies import __main__ as command
from benchmarks.strategies.cells import (
    DATA,
    EPSILONS,
    LEADING,
    MORE_SEEDS,
    OTHERS,
    ROWS_UNSEEN,
    SEEDS,
    SEEDS_OF_OTHERS,
    UNSEEN,
    WITHOUT_SUMS,
    Cell,
    cells,
    current,
    digest_of,
)
from benchmarks.strategies.runs import known, run_all
from benchmarks.strategies.table import page
from evaluation.files import JsonLines
from secure_fcl.config import load_config
from secure_fcl.data.errors import DataMissing

EVERYTHING = list(cells(tuple(DATA), (*LEADING, *OTHERS), tuple(range(1, 11))))


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
    for data, epsilon, seed in product(("hapt", "mnist"), EPSILONS, SEEDS):
        for noise, row in product(places[epsilon], (*LEADING, *OTHERS)):
            wanted = row in LEADING or (epsilon in (1.0, math.inf) and seed in SEEDS_OF_OTHERS)
            wanted &= not (row in WITHOUT_SUMS and noise == "shared")
            assert ((data, epsilon, noise, seed, row) in asked) == wanted
    more = {(seed, row) for data, _, noise, seed, row in asked if data == "hapt" and seed not in SEEDS}
    assert more == {(seed, "calm") for seed in MORE_SEEDS["hapt", "calm"] if seed not in SEEDS}
    assert {row for data, *_, row in asked if data == UNSEEN} == set(ROWS_UNSEEN)
    assert {noise for data, _, noise, *_ in asked if data == UNSEEN} == {"none", "shared"}


def test_runs_of_one_cell_do_not_share_a_folder() -> None:
    assert len({cell.folder for cell in EVERYTHING}) == len(EVERYTHING)
    assert len({cell.key for cell in EVERYTHING}) < len(EVERYTHING)


@pytest.mark.parametrize("cell", [c for c in EVERYTHING if c.seed == 1], ids=lambda c: c.key)
def test_every_cell_is_a_configuration(cell: Cell) -> None:
    config = load_config(None, cell.settings())
    assert config.rows == cell.rows
    for row in cell.rows:
        section = config.section(row)
        assert (section.epsilon, section.noise) == (cell.epsilon, cell.noise)
    assert (config.training.features, config.calm.features) == ("refined", "auto")
    assert config.training.schedule == "planned"
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
    today = current()
    now = [line("calm", n, m, settings=today[f"hapt-eps1-shared-seed{n}", "calm"]) for n, m in ((1, 0.90), (2, 0.92))]
    made = page([*now, line("slda", 1, 0.5, settings="of another day")], "# Head")
    assert "| **CALM (ours)** ‡ |  |  |  |  |  |  | 91.0 ± 1.4 / 45.5 ± 0.7 |" in made
    assert "| streaming LDA |  |  |  |  |  |  | 50.0 / 25.0 † |" in made
    assert "| **CALM (ours)** ‡ |  | 25.0 | 0.999 | 6 |  | 2.00 | 2 |" in made
    assert "‡ **CALM (ours)**: " in made
    assert "mnist" not in made.lower()


def test_lines_of_today_stand_alone_and_a_new_version_has_none_of_before() -> None:
    key = "hapt-eps1-shared-seed1", "calm"
    old = [line("calm", seed, 0.5, settings="of another day") for seed in (2, 3)]
    assert "| 90.0 / 45.0 |" in page([*old, line("calm", 1, 0.9, settings=current()[key])], "# Head")
    assert "| 50.0 ± 0.0 / 25.0 ± 0.0 † |" in page(old, "# Head")
    cell = Cell("hapt", 1.0, "shared", 1, ("calm",))
    assert cell.digest("calm") != digest_of(cell.settings())


def test_persons_who_never_train_have_a_table_of_their_own() -> None:
    cell = f"{UNSEEN}-eps1-shared-seed1"
    one = line("calm", 1, 0.9, cell=cell, data=UNSEEN, unseen_micro=0.8, unseen_task_mean=0.4,
               settings=current()[cell, "calm"])  # fmt: skip
    made = page([one], "# Head")
    assert "5 persons who never train" in made
    assert "| **CALM (ours)** ‡ |  |  | 90.0 / 45.0 | 80.0 / 40.0 | 1 |" in made
