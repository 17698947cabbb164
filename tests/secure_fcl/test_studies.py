import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.errors import ConfigInvalid
from secure_fcl.running.loop import Interrupted
from secure_fcl.studies import load_study, run_study

BASE = """
[base]
workers = 1
[base.data]
name = "digits"
[base.scenario]
partition = "iid"
clients = 4
tasks = 2
[base.privacy]
max_dropouts = 1
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return make


def test_the_grid_leaves_out_what_does_not_exist(write: Callable[[str], Path]) -> None:
    cells = load_study(
        write(
            BASE + '[grid]\nstrategy = ["class_sums", "local_only"]\nnoise = ["shared", "local"]\n'
            'epsilon = [1, 2.0, inf]\nprotection = ["plain", "bfv"]\nseed = [1, 2]\n'
        )
    )
    found = {(c.strategy, c.noise, c.epsilon, c.protection, c.seed) for c in cells}
    # No noise once whatever the places; no shared noise where nothing is summed.
    places = [("class_sums", "shared"), ("class_sums", "local"), ("local_only", "local")]
    expected = {(s, n, e, p, k) for s, n in places for e in (1.0, 2.0) for p in ("plain", "bfv") for k in (1, 2)}
    expected |= {
        (s, "none", math.inf, p, k) for s in ("class_sums", "local_only") for p in ("plain", "bfv") for k in (1, 2)
    }
    assert found == expected
    assert len(cells) == len(expected) == len({c.key for c in cells})
    for cell in cells:
        assert cell.config.rows == (cell.strategy,)
        assert cell.config.section(cell.strategy).epsilon == cell.epsilon
        assert not cell.config.attacks.enabled


def test_defaults_and_keys(write: Callable[[str], Path]) -> None:
    (cell,) = load_study(write(BASE))
    assert (cell.strategy, cell.noise, cell.epsilon, cell.protection, cell.seed) == (
        "class_sums", "local", 2.0, "plain", 1,
    )  # fmt: skip
    (other,) = load_study(write(BASE.replace("clients = 4", "clients = 5")))
    assert cell.key != other.key
    (longer,) = load_study(write(BASE + "[base.class_sums]\nscale_bits = 10\n"))
    assert longer.config.class_sums.scale_bits == 10


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[grids]\n", "unknown sections"),
        ("[grid]\nrounds = [1]\n", "rounds = 1, seed = 1: unknown configuration key 'rounds'"),
        ("[grid]\nepsilon = 2\n", "must be a list"),
        ("[grid]\nseed = []\n", "at least one value"),
        ('[grid]\nstrategy = ["naive"]\n', "'naive'"),
        ('[grid]\nstrategy = ["local_only"]\nnoise = ["shared"]\n', "no cell of the grid exists"),
        ('[grid]\nnoise = ["loud"]\n', "'loud'"),
        ('[grid]\nepsilon = ["much"]\n', "epsilon has 'much'"),
        ("[grid]\nepsilon = [true]\n", "epsilon has True"),
        ("[grid]\nepsilon = [-1]\n", "epsilon = -1"),
        ('[grid]\nseed = ["x"]\n', "seed"),
        ('[grid]\nprotection = ["tls"]\n', "protection"),
        ("grid = 3\n", "grid = 3 must be a section"),
        ("base = 3\n", "base = 3 must be a section"),
        ("[base]\nattacks = 3\n", "base.attacks = 3"),
        ("[base]\nclass_sums = 3\n", "base.class_sums = 3"),
        ("[base]\ntypo = 3\n", "unknown configuration key 'typo'"),
    ],
)
def test_wrong_studies_are_one_sentence(write: Callable[[str], Path], text: str, named: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_study(write(text))
    assert named in str(caught.value)
    result = CliRunner().invoke(app, ["study", str(write(text))])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_a_study_is_resumed_and_written_as_table_and_plot(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write(BASE + "[grid]\nepsilon = [2.0, inf]\nseed = [1, 2]\n")
    cells = load_study(path)[1:3]
    said: list[str] = []
    folder = tmp_path / "out"
    with pytest.raises(Interrupted):
        run_study(cells, folder, said.append, lambda: len(said) >= 1, jobs=1)
    begun = folder / "runs" / cells[0].key
    assert len(said) == 1
    assert begun.exists()
    run_study(cells[:1], folder, said.append)
    before = {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("metrics.jsonl")}
    table, plot = run_study(cells, folder, said.append)
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    rows = list(csv.DictReader(table.open()))
    assert [row["run"] for row in rows] == [cell.key for cell in cells]
    for row, cell in zip(rows, cells, strict=True):
        assert (row["strategy"], row["noise"], int(row["seed"])) == ("class_sums", cell.noise, cell.seed)
        assert row["epsilon"] == ("" if math.isinf(cell.epsilon) else "2.0")
        assert (row["epsilon_spent"] == "") == math.isinf(cell.epsilon)
        assert 0.5 < float(row["micro"]) <= 1.0
    spent = [float(row["epsilon_spent"]) for row in rows if row["epsilon_spent"]]
    assert all(1.9 < e <= 2.0 for e in spent)
    assert plot.read_text().lstrip().startswith("<")
    assert "svg" in plot.read_text()[:300]


def test_a_study_from_the_command_line(write: Callable[[str], Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["study", str(write(BASE)), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"table: {tmp_path / 'out' / 'study.csv'}" in result.stdout
    assert (tmp_path / "out" / "study.svg").stat().st_size > 1000
