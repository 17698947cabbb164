"""The how-to "add a strategy", performed: its two files in an empty folder, its commands in processes of their own."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secure_fcl.config import Config, load_config
from secure_fcl.config.names import entry_of
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.catalogue import ENTRIES

HOW_TO = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "add-a-strategy.md"

pytestmark = pytest.mark.skipif(not HOW_TO.exists(), reason="not a checkout")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the how-to's two files, and nothing of it on Python's path."""
    (tmp_path / "lab.py").write_text(block("python"))
    (tmp_path / "run.toml").write_text(block("toml"))
    return tmp_path


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # -P as for the installed script: the working folder is not on the path.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "secure_fcl", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def command(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = started(folder, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_a_method_and_a_strategy_of_ones_own_are_planned_run_attacked_and_resumed(folder: Path) -> None:
    code, out, err = command(folder, "plan", "run.toml", "--brief")
    assert code == 0, err
    assert "lab:damped" in out

    process, run = started(folder, "run", "run.toml", "--name", "mine"), folder / "runs" / "mine"
    end = time.monotonic() + 90
    while len(records(run / "metrics.jsonl")) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err

    code, _, err = command(folder, "run", "--resume", "runs/mine")
    assert (code, "--trust-code" in err) == (2, True), err
    code, _, err = command(folder, "run", "--resume", "runs/mine", "--trust-code")
    assert code == 0, err

    metrics = records(run / "metrics.jsonl")
    assert [r["row"] for r in metrics if r["kind"] == "final"] == ["lab:damped", "lab:sums"]
    certificate = json.loads((run / "certificate.json").read_text())
    assert set(certificate["rows"]) == {"lab:damped", "lab:sums"}
    assert 7.9 < certificate["rows"]["lab:damped"]["epsilon"] <= 8.0
    digest = hashlib.sha256((folder / "lab.py").read_bytes()).hexdigest()
    for text in ((run / "certificate.json").read_text(), (run / "certificate.txt").read_text()):
        assert digest in text
        assert str(folder / "lab.py") in text
    assert json.loads((run / "attacks.json").read_text())["row"] == "lab:damped"
    assert "lab:damped" in (run / "report.html").read_text()
    assert not [path for path in run.rglob("*") if ":" in path.name]


def test_what_no_strategy_can_be_made_of_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "wrong.py").write_text(
        "from secure_fcl.strategies import GradientEntry, GradientSection, Plain\n"
        "class Bare(Plain): pass\n"
        "no_section = GradientEntry(section=GradientSection, method=lambda section: Plain())\n"
        "sums = 3\n"
    )
    (folder / "broken.py").write_text("raise RuntimeError('no such instrument')\n")
    for name, said in {
        "wrong:Bare": r"has no section in the configuration; write in .*wrong\.py: entry = GradientEntry\(",
        "wrong:no_section": r"not an instance of a StrategySection; write section=GradientSection\(\)",
        "wrong:sums": r"is of type int and has no section",
        "wrong:absent": r"wrong\.py defines no 'absent'; it has Bare",
        "nowhere:mine": r"no module 'nowhere', and .*nowhere\.py does not exist",
        "broken:mine": r"importing broken failed with RuntimeError: no such instrument",
        "attacks:mine": r"a module of secure-fcl's own; give your file another name",
        "wrong:": r"not of the form module:name",
    }.items():
        with pytest.raises(ConfigInvalid, match=said):
            entry_of(name)
    with pytest.raises(ConfigInvalid, match="did you mean 'replay'"):
        load_config(None, ['rows=["relpay"]'])
    with pytest.raises(ConfigInvalid, match="unknown configuration key 'lab'"):
        load_config(None, ["lab.strength=1"])
    config = load_config(None, ['rows=["lab:damped"]', "lab:damped.strength=-1"])
    with pytest.raises(ConfigInvalid, match=r"configuration lab:damped\.strength = -1: Input should be"):
        config.section("lab:damped")


def test_a_configuration_is_read_without_importing_what_it_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "loud.py").write_text("open('imported', 'w').close()\n")
    config = load_config(None, ['rows=["loud:mine"]', "loud:mine.strength=0.2"])
    assert Config.model_validate(config.model_dump()) == config
    assert not (folder / "imported").exists()


def test_every_name_of_the_list_has_its_section() -> None:
    config = load_config()
    for name, entry in ENTRIES.items():
        assert config.section(name) == entry.section
        assert entry_of(name) is entry
