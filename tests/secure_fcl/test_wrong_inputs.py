"""Slips of somebody who is new: each gets one sentence that says what to write, and no traceback."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from secure_fcl.cli.commands import app
from secure_fcl.data import DataRefused, load_folder
from secure_fcl.studies.notes import NOTES

FOLDER = Path(__file__).parents[1] / "recorded" / "folders" / "format-1"


def said(*words: str) -> str:
    found: Result = CliRunner().invoke(app, list(words))
    assert found.exit_code == 2, found.output
    assert found.stderr.startswith("secure-fcl: ")
    assert found.stderr.strip().count("\n") == 0
    return found.stderr.strip()


@pytest.mark.parametrize("key", ["rows", "attacks.own", "scenario.class_order"])
def test_one_value_where_a_list_belongs_is_answered_with_the_list(key: str) -> None:
    assert said("config", "--set", f"{key}=word").endswith(f"= 'word': write a list, {key}=[\"word\"]")


def test_a_proposal_can_be_sent_into_its_own_place(tmp_path: Path) -> None:
    """The shell makes the file before the command runs, so an empty one is no declaration."""
    (tmp_path / "anna.csv").write_text(
        "t,a,doing\n" + "".join(f"{i / 10},{i},{'ab'[i // 70 % 2]}\n" for i in range(1400))
    )
    (tmp_path / "data.toml").touch()
    found = CliRunner().invoke(app, ["data", "inspect", str(tmp_path)])
    assert found.exit_code == 0
    (tmp_path / "data.toml").write_text(found.stdout.replace("test_share = 0.2", "test_share = 0.4"))
    again = CliRunner().invoke(app, ["data", "inspect", str(tmp_path)])
    assert "not declared yet: units" in again.stdout, again.output
    (tmp_path / "data.toml").write_text((tmp_path / "data.toml").read_text().replace("to be declared", "g"))
    assert "not declared yet" not in CliRunner().invoke(app, ["data", "inspect", str(tmp_path)]).stdout


@pytest.mark.parametrize("clients", [3, 4, 6])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_settings_that_inspect_prints_can_be_planned(tmp_path: Path, clients: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40 * clients) % classes
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(len(y), 2, 16)), y=y, client=np.arange(len(y)) % clients)
    names = json.dumps([str(name) for name in range(classes)])
    (tmp_path / "data.toml").write_text(f'kind = "npz"\nclasses = {names}\nunits = "g"\ntest_share = 0.2\n')
    told = CliRunner().invoke(app, ["data", "inspect", str(tmp_path)]).stdout
    words = shlex.split(told.partition("use it: secure-fcl run ")[2])
    found = CliRunner().invoke(app, ["plan", "--brief", "--out", str(tmp_path / "plan"), *words])
    assert found.exit_code == 0, found.stderr


@pytest.mark.parametrize("kind", ["junk", "objects"])
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_nobody_is_told_to_unpickle_what_is_no_array(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"data{ending}"
    if kind == "junk":
        path.write_bytes(b"abc")
    elif ending == ".npy":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        np.savez(path, x=np.array([{}], dtype=object), y=np.zeros(1))
    sentences = [said("predict", str(FOLDER), str(path), "--strategy", "class_sums")]
    if ending == ".npz":
        (tmp_path / "data.toml").write_text('kind = "npz"\nclasses = ["0"]\nunits = "g"\n')
        with pytest.raises(DataRefused) as refused:
            load_folder(tmp_path)
        sentences.append(str(refused.value))
    for sentence in sentences:
        assert "it holds no plain numbers" in sentence
        assert "pickle.load" not in sentence
        assert "allow_pickle" not in sentence


@pytest.mark.parametrize("words", [("report",), ("status",), ("report", "--json")])
def test_a_folder_that_is_no_study_gets_no_page(tmp_path: Path, words: tuple[str, ...]) -> None:
    name, *more = words
    assert said("study", name, str(tmp_path), *more).startswith(
        f"secure-fcl: {tmp_path} is not the folder of a study (no {NOTES} in it); name one"
    )
    assert not list(tmp_path.iterdir())


def test_the_report_of_a_folder_speaks_json(tmp_path: Path) -> None:
    (tmp_path / NOTES).write_text(json.dumps({"cells": [], "axes": [], "added_later": [], "total": None}))
    found = CliRunner().invoke(app, ["study", "report", str(tmp_path), "--json"])
    assert found.exit_code == 0, found.output
    assert Path(json.loads(found.stdout)["page"]).is_file()
