import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
HOW_TO = HERE.parents[2] / "docs" / "how-to"
Said = list[dict[str, Any]]
#: Planned, stopped after the first round, refused, continued, reported.
STORY = (
    ("plan", "run.toml", "--brief"), ("run", "run.toml", "--name", "mine"), ("run", "--resume", "runs/mine"),
    ("run", "--resume", "runs/mine", "--trust-code"), ("report", "runs/mine", "--trust-code"),
)  # fmt: skip


@pytest.fixture
def write_how_to(tmp_path: Path) -> Callable[[str], Path]:
    """`write_how_to("add-data")`: a new folder with the page's two files in it, and nothing of it on Python's path."""

    def write(page: str) -> Path:
        text = (HOW_TO / f"{page}.md").read_text()
        for language, name in (("python", "lab.py"), ("toml", "run.toml")):
            found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
            assert found is not None
            (tmp_path / name).write_text(found[1])
        return tmp_path

    return write


@pytest.fixture
def live_through() -> Callable[..., Path]:
    """`live_through(folder)`: all of a run's life, each command in a new process; returns the run's folder.

    Further commands follow. What each printed is in the folder's said.json.
    """

    def live(folder: Path, *more: tuple[str, ...]) -> Path:
        run = folder / "runs" / "mine"
        lines = [[words, str(run / "state.json") if "--name" in words else None] for words in (*STORY, *more)]
        command = [sys.executable, "-P", str(HERE / "commands.py"), json.dumps(lines)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        (folder / "said.json").write_text(done.stdout)
        said: Said = json.loads(done.stdout)
        assert [one["code"] for one in said] == [0, 130, 2, 0, 0, *[0] * len(more)], said
        assert "give --trust-code" in said[2]["said"]
        assert "task 2" not in said[1]["said"]
        assert_on_paper(run, folder / "lab.py")
        return run

    return live


def assert_on_paper(run: Path, file: Path) -> None:
    """The certificate and the report name the file and its digest."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (code,) = json.loads((run / "certificate.json").read_text())["outside_code"]
    assert (code["path"], code["digest"]) == (str(file), digest)
    for name in ("certificate.txt", "report.html"):
        text = (run / name).read_text()
        assert digest in text
        assert str(file) in text
    assert not [path for path in run.rglob("*") if ":" in path.name]
