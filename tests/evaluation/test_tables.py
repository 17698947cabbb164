from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import audit_tables, tables
from evaluation.files import JsonLines, read_json, write_json
from evaluation.run_folder import read_run
from evaluation.tables import epsilon_above, epsilon_below, percent, size, with_interval


def test_epsilon_is_never_rounded_in_the_runs_favour() -> None:
    assert (epsilon_above(2.001), epsilon_above(2.0), epsilon_above(0.3), epsilon_above(None)) == (
        "2.01", "2.00", "0.30", "none",
    )  # fmt: skip
    assert (epsilon_below(2.009), epsilon_below(2.0), epsilon_below(None)) == ("2.00", "2.00", "n/a")
    assert epsilon_above(float("inf")) == "none"


@given(st.floats(0, 1000))
def test_printed_bounds_contain_the_true_ones(epsilon: float) -> None:
    assert float(epsilon_below(epsilon)) <= epsilon + 1e-9
    assert float(epsilon_above(epsilon)) >= epsilon - 1e-9
    assert float(epsilon_above(epsilon)) - float(epsilon_below(epsilon)) <= 0.0101


def test_numbers_as_text() -> None:
    assert (percent(0.8125), percent(-0.05, signed=True), percent(None), percent("x")) == (
        "81.2", "-5.0", "n/a", "n/a",
    )  # fmt: skip
    assert (size(0), size(999), size(57_000), size(2.88e6), size(3e9)) == (
        "0 B", "999 B", "57.0 kB", "2.9 MB", "3.0 GB",
    )  # fmt: skip
    assert with_interval(0.5, 0.4, 0.6) == "0.500 [0.400, 0.600]"
    assert with_interval(0.5, None, 0.6) == "0.500"
    assert with_interval(None, 0.4, 0.6) == "n/a"


def test_every_line_of_every_table_is_as_long_as_its_titles(run_folder: Path) -> None:
    run = read_run(run_folder)
    made = [tables.results(run), audit_tables.attacks(run), audit_tables.reconstructions(run), tables.costs(run),
            *(tables.cohorts(run, row) for row in run.rows)]  # fmt: skip
    for table in made:
        assert table.rows
        assert {len(line) for line in table.rows} == {len(table.columns)}


def test_cost_is_per_client_and_summed_over_rounds(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "cost.jsonl") as cost:
        for up in (100, 300):
            cost.append({"row": "r", "seconds": {"train": 1.5}, "bytes_up": up, "bytes_down": 10, "clients": 2})
    (bar,) = tables.cost_bars(read_run(tmp_path))
    assert (bar.seconds, bar.bytes_up, bar.bytes_down) == ({"train": 3.0}, 200.0, 10.0)


def test_an_unfinished_row_is_computed_from_its_tasks(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "metrics.jsonl") as metrics:
        metrics.append({"kind": "task", "row": "r", "task": 0, "accuracy": [0.8, None], "micro": 0.4, "seen": 0.8})
        metrics.append({"kind": "task", "row": "r", "task": 1, "accuracy": [0.5, 0.7], "micro": 0.6, "seen": 0.6})
    table = tables.results(read_run(tmp_path))
    line = dict(zip(table.columns, table.rows[0], strict=True))
    assert line["row"] == "r (unfinished)"
    assert (line["windows"], line["tasks"], line["forgetting"]) == ("60.0", "60.0", "30.0")
    assert (line["backward"], line["epsilon"], line["classes"]) == ("-30.0", "not stated", "n/a")
    assert float(line["incremental"]) == pytest.approx(70.0)


def test_what_attacks_prove_stands_beside_their_aucs(run_folder: Path) -> None:
    path = run_folder / "attacks.json"
    document = read_json(path)
    document["outcomes"][0]["gaussian"] = {"mu": 0.5, "ceiling": 3.0, "epsilon": 1.999, "delta": 1e-5}
    found = {"game": "membership", "target": "task 1", "auc": 0.5, "p_value": 0.2}
    document["discoveries"] = [{**found, "attack": "loss", "adjusted": 0.0401}]
    write_json(path, document)
    table = audit_tables.attacks(read_run(run_folder))
    lines = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [line["adjusted p"] for line in lines] == ["0.041", "n/a", "n/a", "n/a", "n/a"]
    assert [line["if Gaussian"] for line in lines] == ["1.99", "n/a", "n/a", "n/a", "n/a"]
    document["discoveries"][0]["adjusted"] = 0.00099
    document["outcomes"][0]["control"] = "positive"
    document["outcomes"][1]["attack"] = "loss"
    write_json(path, document)
    table = audit_tables.attacks(read_run(run_folder))
    place = table.columns.index("adjusted p")
    assert [row[place] for row in table.rows][:2] == ["n/a", "<0.001"]
