"""What a server says of a run while it serves it: one small file in the run's folder, and what it comes to."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluation.errors import EvaluationError
from evaluation.files import read_json, write_json
from privacy import Ledger, PrivacyError, statements, worst
from secure_fcl.config.accountants import accountant_of
from secure_fcl.config.outside import names_code
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import RunFolderError

FILE = "status.json"
EVERY, AT_LEAST_EVERY = 0.5, 5.0
STALE = 20.0
"""Seconds after which a status that nobody wrote anew is of a server that is gone."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a server sees. All of it is public: names, rounds, budgets, classes of errors.

    Attributes:
        state: "waiting", "running", "stopped", "aborted", "refused" or "finished".
        written: when, seconds since 1970.
        reason: of an abort or a refusal.
        present: who is connected.
        missing: who is not, and why as far as is known.
        late: who owed the last answer asked of it, and why.
        row, task, tasks, round, rounds: the last round that ended, counted from 1; 0: none yet.
        done, total: rounds of all rows.
        budgets: planned epsilon of each row, null without noise.
        deltas: for the epsilon of each row that has one.
        accountant: the configuration's; one of the user's own is not imported to look at a status.
    """

    state: str
    written: float = 0.0
    reason: str = ""
    present: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    row: str = ""
    task: int = 0
    tasks: int = 0
    round: int = 0
    rounds: int = 0
    done: int = 0
    total: int = 0
    budgets: Mapping[str, float | None] = field(default_factory=dict)
    deltas: Mapping[str, float] = field(default_factory=dict)
    accountant: str = ""


class StatusFile:
    """Keeps a run's status file up to date from a thread of its own. Use it in a `with` statement.

    `look` is called there: it must only read.
    """

    def __init__(self, path: Path, look: Callable[[], Status]) -> None:
        self._path, self._look = path, look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="status", daemon=True)

    def _keep(self) -> None:
        before: Status | None = None
        then = 0.0
        while not self._ended.wait(EVERY):
            now = self._look()
            if now != before or time.monotonic() - then > AT_LEAST_EVERY:
                before, then = now, time.monotonic()
                self._write(now)

    def _write(self, status: Status) -> None:
        try:
            write_json(self._path, asdict(status) | {"written": time.time()})
        except EvaluationError:
            # A full disk ends the run at its next round, in one sentence; it need not end here.
            return

    def __enter__(self) -> StatusFile:
        self._write(self._look())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._write(self._look())


def read_status(run: Path) -> dict[str, Any]:
    """Return a run's status, with `age` (seconds), `serving` (whether a server is at work) and `epsilon` by row.

    `epsilon` of a row is what the ledger charged so far comes to for the worst cohort. It is a count, not a claim: what
    may be claimed of a run is what its budgets admit (`budgets`), as whether a round was stopped may depend on data.

    Raises:
        RunFolderError: no server has served this run, or the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        raise RunFolderError(f"{path} is not there: no server serves this run; name the folder of one that does")
    try:
        found: dict[str, Any] = read_json(path)
        age = time.time() - float(found["written"])
        found["epsilon"] = {row: _charged(run, row, float(delta), found) for row, delta in found["deltas"].items()}
    except (EvaluationError, PrivacyError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{path} cannot be read ({type(error).__name__}); start the server again") from error
    found["age"] = round(age, 1)
    found["serving"] = found["state"] in ("waiting", "running") and age < STALE
    return found


def _charged(run: Path, row: str, delta: float, status: Mapping[str, Any]) -> float | None:
    """Return epsilon of what a row's ledger holds; None where it has none, or the user's own code would have to say."""
    if names_code(str(status["accountant"])):
        return None
    spent = Ledger(run / "ledger" / f"{file_stem(row)}.jsonl").spent()
    if not spent:
        return 0.0
    bad = worst(statements(spent, delta, accountant_of(str(status["accountant"]))))
    return bad.epsilon if bad is not None and math.isfinite(bad.epsilon) else None


def status_lines(found: Mapping[str, Any]) -> list[str]:
    """Return what `read_status` returned as lines for people."""
    serving = found["state"] if found["serving"] or found["state"] not in ("waiting", "running") else "no server"
    lines = [f"state: {serving}, written {found['age']:g} s ago" + (f": {found['reason']}" if found["reason"] else "")]
    at = "none yet"
    if found["done"]:
        at = f"{found['row']}, task {found['task']} of {found['tasks']}, round {found['round']} of {found['rounds']}"
    lines.append(f"last round: {at}; {found['done']} of {found['total']} in all")
    lines.append(f"present: {', '.join(found['present']) or 'nobody'}")
    for what in ("missing", "late"):
        lines += [f"{what}: {name} ({why})" for name, why in sorted(found[what].items())]
    for row, epsilon in found["epsilon"].items():
        so_far = "cannot be said" if epsilon is None else f"{epsilon:.4g}"
        lines.append(f"epsilon of {row}: {so_far} charged so far, {found['budgets'][row]:g} may be claimed")
    return lines
