"""What commands print: JSON wherever there is a table, nothing else beside it, and whole words at 80 columns."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from secure_fcl.cli.commands import app

#: Commands that print no table: a TOML file, paths, or sentences.
WITHOUT = {"config", "keys", "data fetch", "data inspect", "export", "client", "party", "server"}


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if inside := getattr(command, "commands", None):
        for key, each in inside.items():
            yield from leaves(each, f"{name} {key}".strip())
    else:
        yield name, command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_every_command_with_a_table_has_json() -> None:
    with_json = {name for name, each in COMMANDS.items() if any("--json" in p.opts for p in each.params)}
    assert set(COMMANDS) - with_json == WITHOUT


@pytest.mark.parametrize("name", ["", "data", "study", *COMMANDS])
def test_help_is_whole_at_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    found = CliRunner().invoke(app, [*name.split(), "--help"])
    assert found.exit_code == 0
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "…" not in found.stdout
    # The first sentence of the docstring, however it is wrapped.
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", found.stdout).split())
    told = COMMANDS[name].help if name in COMMANDS else None
    assert told is None or " ".join(told.split("\n\n")[0].split()).replace("\\[", "[") in words


@pytest.mark.parametrize(
    "arguments", [["data", "list"], ["data", "verify", "hapt"], ["strategies"], ["plan", "--brief"]], ids=" ".join
)
def test_json_is_all_that_standard_output_holds(arguments: list[str], tmp_path: Path) -> None:
    more = ["--out", str(tmp_path)] if arguments[0] == "plan" else []
    found = CliRunner().invoke(app, [*arguments, "--json", *more])
    assert found.exit_code == 0
    assert json.loads(found.stdout)


def test_a_run_and_its_folder_as_json(tmp_path: Path, tiny_settings: tuple[str, ...]) -> None:
    settings = [part for one in (*tiny_settings, 'rows=["class_sums","finetune"]') for part in ("--set", one)]
    made = CliRunner().invoke(app, ["run", "--runs", str(tmp_path), "--name", "run", "--json", *settings])
    assert made.exit_code == 0
    told = json.loads(made.stdout)
    assert set(told["rows"]) == {"class_sums", "finetune"}
    assert "better, finetune: rounds times steps" in made.stderr
    assert told["rows"]["class_sums"]["Accuracy"]["value"].endswith("%")
    assert told["rows"]["class_sums"]["Leakage"]["verdict"] == "not measured"
    assert Path(told["report"]).is_file()
    again = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--json"])
    assert json.loads(again.stdout) == told
    checked = json.loads(CliRunner().invoke(app, ["verify", str(tmp_path / "run"), "--json"]).stdout)
    assert checked["misfits"] == []
    assert checked["held"]


def test_the_list_says_what_its_commands_are_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_set.py").write_text("data = None\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECURE_FCL_DATA", str(tmp_path))
    lines = CliRunner().invoke(app, ["data", "list", "own_set:data"]).stdout.splitlines()
    assert any(line.endswith("to look at it: secure-fcl data verify own_set:data") for line in lines)
    assert any(line.endswith("to get it: secure-fcl data fetch mnist") for line in lines)
