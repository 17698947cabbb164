"""Run command lines of secure-fcl, each in a new process, and print what came of each: `python -P commands.py JSON`.

JSON is a list of [arguments, stop]: `stop` is a file of a run folder, and Ctrl-C comes as it is replaced; or null.
Processes are forked from this one, which has imported the packages once and run nothing of them; none of them has seen
the user's code. As for `python -P -m secure_fcl`, the working folder is not on the path.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any


def command(arguments: list[str], stop: str | None) -> dict[str, Any]:
    """Return the exit code of one command, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = multiprocessing.get_context("fork").Process(target=_command, args=(arguments, stop, log))
        process.start()
        process.join()
        return {"code": process.exitcode, "said": log.read_text(encoding="utf-8", errors="replace")}


def _command(arguments: list[str], stop: str | None, log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if stop:
        _interrupt(Path(stop).resolve())
    sys.argv = ["secure-fcl", *arguments]
    runpy.run_module("secure_fcl", run_name="__main__", alter_sys=True)


def _interrupt(path: Path) -> None:
    asked = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal asked
        if not asked and event == "os.rename" and Path(os.fspath(arguments[1])).resolve() == path:
            asked = True
            signal.raise_signal(signal.SIGINT)

    sys.addaudithook(hook)


if __name__ == "__main__":
    for name in (
        "secure_fcl.runner",
        "secure_fcl.cli.plan_tables",
        "evaluation.summary",
        "opacus",
        "scipy.stats",
        "matplotlib.figure",
        "jinja2",
        "sklearn.datasets",
        "dp_accounting.rdp.rdp_privacy_accountant",
    ):
        importlib.import_module(name)
    print(json.dumps([command(arguments, stop) for arguments, stop in json.loads(sys.argv[1])]))
