"""A run folder that names code is opened by nobody who does not trust it, and by nobody once the code has changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.config import Config, load_config
from secure_fcl.config.outside import described, outside_references
from secure_fcl.errors import RunFolderError
from secure_fcl.runner import resume
from secure_fcl.running.folder import RunFolder

NAMED = (
    "protection=evil:thing",
    "data.name=evil:thing",
    "privacy.accountant=evil:thing",
    'rows=["evil:thing"]',
    "training.model=evil:thing",
    "memory.policy=evil:thing",
    "attacks.row=evil:thing",
    'attacks.own=["evil:thing"]',
)
COMMANDS = (
    ("run", "--resume", "made"),
    ("audit", "made"),
    ("audit", "made", "--shadows", "4"),
    ("report", "made"),
    ("report", "made", "--tensorboard"),
)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a module in it that leaves a file when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\nraise RuntimeError('imported')\n")
    return tmp_path


@pytest.mark.parametrize("setting", NAMED)
def test_every_command_refuses_it_without_importing(
    setting: str, evil: Path, make_config: Callable[..., Config]
) -> None:
    RunFolder.create(evil, make_config(setting), "made")
    for command in COMMANDS:
        done = CliRunner().invoke(app, list(command))
        assert done.exit_code == 2, command
        assert f"names code that opening it would run: evil:thing ({evil / 'evil.py'})" in done.output
        assert "give --trust-code" in done.output
        assert done.output.strip().count("\n") == 0
    for opened in (
        lambda: resume(Path("made")), lambda: RunFolder.existing(Path("made")), lambda: RunFolder(Path("made")).config()
    ):  # fmt: skip
        with pytest.raises(RunFolderError, match="evil:thing"):
            opened()
    assert not (evil / "imported").exists()
    # Trusted, it is imported: the refusals above were not for want of trying.
    if setting.startswith("attacks."):
        return
    done = CliRunner().invoke(app, ["run", "--resume", "made", "--trust-code"])
    assert done.exit_code == 2
    assert (evil / "imported").exists()


@pytest.mark.parametrize("change", ["edited", "gone", "another file", "unrecorded"])
def test_code_that_changed_is_refused_before_it_is_imported(
    change: str, evil: Path, make_config: Callable[..., Config]
) -> None:
    folder = RunFolder.create(evil, make_config(NAMED[0]), "made")
    match change:
        case "edited":
            (evil / "evil.py").write_text("open('imported', 'w').close()\n")
        case "gone":
            (evil / "evil.py").unlink()
        case "another file":
            (evil / "other").mkdir()
            (evil / "other" / "evil.py").write_text("open('imported', 'w').close()\n")
            os.chdir(evil / "other")
        case _:
            path = folder.path / "environment.json"
            found = json.loads(path.read_text())
            del found["outside_code"]
            path.write_text(json.dumps(found))
    for command in (("run", "--resume"), ("audit",), ("report",)):
        done = CliRunner().invoke(app, [*command, str(evil / "made"), "--trust-code"])
        assert done.exit_code == 2
        assert "of evil:thing is not what run" in done.output
        assert "restore it, or start a new run" in done.output
    assert not list(evil.rglob("imported"))


def test_what_a_user_types_is_imported_without_a_word(evil: Path) -> None:
    for command in ("plan", "run"):
        done = CliRunner().invoke(app, [command, "--set", NAMED[0]])
        assert done.exit_code == 2
        assert "importing evil failed with RuntimeError: imported" in done.output
        (evil / "imported").unlink()
    done = CliRunner().invoke(app, ["run", "--trust-code"])
    assert done.exit_code == 2
    assert "--trust-code is for --resume" in done.output


def test_references_are_all_found_and_nothing_else(evil: Path) -> None:
    settings = ("protection=a:p", "data.name=evil:d", "privacy.accountant=c:a", "attacks.row=f:x")
    config = load_config(None, [*settings, 'rows=["e:r", "replay", "a:p"]'])
    assert outside_references(config.model_dump()) == ("a:p", "evil:d", "c:a", "e:r", "f:x")
    assert outside_references(load_config().model_dump()) == ()
    # What a folder holds need not be a configuration at all.
    assert outside_references({"rows": 3, "data": [], "privacy": {"accountant": 1}, "protection": None}) == ()
    paths = {one.reference: one.path for one in described(config.model_dump())}
    assert paths["evil:d"] == str(evil / "evil.py")
    assert paths["a:p"] == ""
    assert not (evil / "imported").exists()


def test_a_package_is_found_without_importing_it(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (evil / "deep" / "room").mkdir(parents=True)
    for place in ("deep", "deep/room"):
        (evil / place / "__init__.py").write_text("open('imported', 'w').close()\n")
    (evil / "deep" / "room" / "thing.py").write_text("mine = 1\n")
    monkeypatch.syspath_prepend(str(evil))
    (found,) = described({"protection": "deep.room.thing:mine"})
    assert found.path == str(evil / "deep" / "room" / "thing.py")
    assert not (evil / "imported").exists()
