"""Plants one change in a copy of the project and says what the tests named make of it.

The copy is what tests and workers import. Before the changed statement stands a note of who came by: the bench then
knows that the changed line ran, in a worker process where that is claimed.
"""

from __future__ import annotations

import ast
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation", "tests", "pyproject.toml")
NOTES = "PLANTED_NOTES"
MOST = 900.0
"""Seconds that the tests of one change may take."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change: `old`, found once in `file`, becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    said: str = "AssertionError"
    """What the failing test says: a law is broken, not that the bench tripped."""
    where: str = "worker"
    """Who must have come by the changed line: a "worker", or the "run"'s own process."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the tests made of a change: pytest's exit code and output, and who came by the changed line."""

    code: int
    output: str
    seen: frozenset[str]


def note() -> None:
    """Write down who came by: a worker process, or another."""
    path, frame = os.environ.get(NOTES), sys._getframe(1)
    if path is None:
        return
    who = "run"
    while frame is not None:
        if Path(frame.f_code.co_filename).parts[-2:] == ("engines", "worker.py"):
            who = "worker"
        frame = frame.f_back
    with Path(path).open("a") as file:
        file.write(f"{who}\n")


def planted(source: str, old: str, new: str) -> str:
    """Return the source with the change, and with a note before the statement that holds it."""
    if source.count(old) != 1:
        raise LookupError(f"{source.count(old)} places hold {old!r}; a planted change needs exactly one")
    changed = source.replace(old, new)
    line = source[: source.index(old)].count("\n") + 1
    place = _statement(ast.parse(changed), line, changed.splitlines())
    lines = changed.splitlines(keepends=True)
    indent = lines[place - 1][: len(lines[place - 1]) - len(lines[place - 1].lstrip())]
    lines.insert(place - 1, f"{indent}__import__('planting').note()\n")
    return "".join(lines)


def _statement(tree: ast.Module, line: int, lines: list[str]) -> int:
    """Return the first line of the innermost statement at a line before which another may stand."""
    best = None
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if lines[first - 1].lstrip().startswith(("elif", "else")):
            continue
        if best is None or first >= best:
            best = first
    if best is None:
        raise LookupError(f"no statement at line {line}")
    return best


def try_change(change: Change) -> Outcome:
    """Plant the change in the copy of the project, run its tests there, and take it out again."""
    place = _copy()
    path, output, notes = place / "copy" / change.file, place / "output", place / "notes"
    source = planted((ROOT / change.file).read_text(), change.old, change.new)
    paths = (str(place / "copy"), str(place / "copy" / "tests" / "planted"))
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), NOTES: str(notes), "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(place / "temporary" / "examples"),
    }  # fmt: skip
    arguments = ["-q", "-x", "-m", "", "-p", "no:cacheprovider", "-p", "no:xdist",
                 f"--basetemp={place / 'temporary'}", *change.tests]  # fmt: skip
    path.write_text(source)
    try:
        code = _greenhouse().run(arguments, cwd=place / "copy", env=environment, output=output)
        seen = frozenset(notes.read_text().split()) if notes.exists() else frozenset()
        return Outcome(code=code, output=output.read_text(), seen=seen)
    finally:
        shutil.copy2(ROOT / change.file, path)
        for left in (output, notes):
            left.unlink(missing_ok=True)


@cache
def _copy() -> Path:
    """Return a folder with a copy of the project, one for all changes: making and removing one takes long."""
    place = Path(tempfile.mkdtemp(prefix="planted-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            # Compiled files come along: they name time and size of their source, which a changed file's do not meet.
            shutil.copytree(source, place / "copy" / part, ignore=shutil.ignore_patterns("recorded"))
        else:
            shutil.copy2(source, place / "copy" / part)
    return place


@cache
def _greenhouse() -> Greenhouse:
    return Greenhouse()


class Greenhouse:
    """This side of `greenhouse.py`: started at the first request, ended with the test run."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(MOST)
        with theirs:
            command = [sys.executable, "-P", str(Path(__file__).with_name("greenhouse.py")), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        atexit.register(self._control.close)

    def run(self, arguments: list[str], cwd: Path, env: dict[str, str], output: Path) -> int:
        """Run pytest in a fresh fork; return its exit code. TimeoutError after `MOST` seconds, everything killed."""
        request = {"arguments": arguments, "cwd": str(cwd), "env": env, "output": str(output)}
        self._control.send(json.dumps(request).encode())
        try:
            answer = self._control.recv(1 << 10)
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            _greenhouse.cache_clear()
            raise
        if not answer:
            raise RuntimeError("the process that runs planted changes is gone; its error is above")
        code: int = json.loads(answer)["code"]
        return code
