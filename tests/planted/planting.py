"""Plants one change in a copy of the project and says what the tests named make of it.

The copy is what tests and workers import. Before the changed statement stands a note of who came by: the bench then
knows that the changed line ran, in a worker process where that is claimed.
"""

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation", "tests", "pyproject.toml")
NOTES = "PLANTED_NOTES"


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


def try_change(change: Change, folder: Path) -> Outcome:
    """Copy the project to `folder`, plant the change, run its tests there."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "recorded"))
        else:
            shutil.copy(source, folder / part)
    path = folder / change.file
    path.write_text(planted(path.read_text(), change.old, change.new))
    notes = folder / "notes"
    paths = (str(folder), str(folder / "tests" / "planted"))
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), NOTES: str(notes), "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *change.tests,
    ]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    seen = frozenset(notes.read_text().split()) if notes.exists() else frozenset()
    return Outcome(code=done.returncode, output=done.stdout + done.stderr, seen=seen)
