"""The how-to "add data", performed: its two files in an empty folder, its commands in new processes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.data import DataDamaged, DataUnknown, fetch, load, verify


def test_a_data_set_of_ones_own_is_planned_run_and_resumed(
    write_how_to: Callable[[str], Path], live_through: Callable[..., Path]
) -> None:
    folder = write_how_to("add-data")
    run = live_through(folder, ("data", "verify", "lab:bars"), ("data", "list", "lab:bars"))
    final = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert final["kind"] == "final"
    assert final["micro"] > 0.9
    *_, verified, listed = json.loads((folder / "said.json").read_text())
    assert "600 examples, sha256" in " ".join(verified["said"].replace("│", " ").split())
    assert "own code" in listed["said"]


MADE = """
import dataclasses
import numpy as np
from secure_fcl.data import Dataset, load_digits

digits = load_digits()
renamed = dataclasses.replace(digits, name="hapt", digest="0" * 64)
number = 3
def rows(): return digits.x
def needs(argument): return digits
def breaks(): raise OSError("no disk")
def damaged(): return dataclasses.replace(digits, y=digits.y + 1)
"""


def test_what_is_no_data_set_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data.py").write_text(MADE)
    for name, error, said in (
        ("own_data:number", DataUnknown, r"number in .*own_data\.py is of type int; it must be a secure_fcl\.data\.Da"),
        ("own_data:rows", DataUnknown, r"rows in .*own_data\.py returns what is of type ndarray; it must be"),
        ("own_data:needs", DataUnknown, r"needs in .*own_data\.py fails with TypeError: .*'argument'"),
        ("own_data:breaks", DataUnknown, r"breaks in .*own_data\.py fails with OSError: no disk"),
        ("own_data:absent", DataUnknown, r"data\.name = 'own_data:absent': .*own_data\.py defines no 'absent'"),
        ("nowhere:mine", DataUnknown, r"no module 'nowhere', and .*nowhere\.py does not exist"),
        ("privacy:mine", DataUnknown, r"a module of secure-fcl's own; give your file another name"),
        ("own_data:damaged", DataDamaged, r"labels 1\.\.10 do not fit 10 classes"),
    ):
        with pytest.raises(error, match=said):
            load(name)
    with pytest.raises(DataUnknown, match="there is nothing to fetch"):
        fetch("own_data:digits")
    with pytest.raises(DataUnknown, match="or module:name of your own"):
        load("bars")


def test_code_chooses_neither_name_nor_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_names.py").write_text(MADE)
    found, digits = load("own_names:renamed"), load("digits")
    assert (found.name, found.digest) == ("own_names:renamed", digits.digest)
    assert np.array_equal(found.x, digits.x)
    (check,) = verify("own_names:digits")
    assert (check.state, check.path) == ("unverified", tmp_path / "own_names.py")


def test_the_list_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loud_data.py").write_text("open('imported', 'w').close()\n")
    done = CliRunner().invoke(app, ["data", "list", "loud_data:mine", "absent:mine"], terminal_width=200)
    assert done.exit_code == 0, done.output
    assert "missing" in next(line for line in done.output.splitlines() if "absent:mine" in line)
    assert CliRunner().invoke(app, ["data", "list", "hapt"]).exit_code == 2
    assert not (tmp_path / "imported").exists()
