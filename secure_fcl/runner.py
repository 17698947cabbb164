"""Run, resume, audit and report as the command line does them, without printing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from evaluation.files import atomic_write
from evaluation.report import render_report
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.data.kept import packed
from secure_fcl.engines.federation import simulated
from secure_fcl.engines.pool import WorkerPool
from secure_fcl.engines.simulation import SIMULATION
from secure_fcl.errors import JournalRefused, WorkerLost
from secure_fcl.rows.audited import audited
from secure_fcl.running.fitting import REPORT, Findings, findings, require_continuable, require_fitting
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.kept_noise import as_begun
from secure_fcl.running.loop import Job
from secure_fcl.running.over_flower import require_flower, train_over_flower
from secure_fcl.running.prepare import Prepared, prepare
from secure_fcl.running.records import Watcher, unwatched
from secure_fcl.running.report_file import write_page

Say = Callable[[str], None]


class StopRequest:
    """Becomes true at the first Ctrl-C; the second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.asked

    @contextmanager
    def listening(self, say: Say, terminate: bool = False) -> Iterator[None]:
        """Take Ctrl-C, and SIGTERM with `terminate`, while the block runs; a no-op outside the main thread."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            say("stopping after this round; press Ctrl-C again to stop at once")

        numbers = (signal.SIGINT, signal.SIGTERM) if terminate else (signal.SIGINT,)
        try:
            before = {number: signal.signal(number, handle) for number in numbers}
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def require_room(journals: Path) -> None:
    """Raise JournalRefused if no journal can be written in a folder; makes the folder."""
    try:
        journals.mkdir(parents=True, exist_ok=True)
        writable = os.access(journals, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise JournalRefused(f"no journal can be written in {journals}; name a folder that can be made and written")


def require_outside(journals: Path, folder: Path) -> None:
    """Raise JournalRefused if journals would lie inside the run folder that they are to be compared with."""
    if journals.resolve().is_relative_to(folder.resolve()):
        raise JournalRefused(
            f"the journals {journals} lie inside the run folder {folder} and would be set back with it; name a folder "
            "outside"
        )


def start(
    config: Config, runs: Path, name: str | None = None, journals: bool = False, data: Dataset | None = None
) -> tuple[Prepared, RunFolder]:
    """Check everything, then make the folder: a refused configuration leaves nothing behind.

    Args:
        config: of the run.
        runs: folder of the runs.
        name: of the run's folder; None: date and data set.
        journals: whether the run's devices will keep journals outside the folder; it cannot go on without them then.
        data: given as it is, where the configuration says `data.name = "arrays"`; kept in the folder for the workers.
    """
    if config.engine == "flower":
        require_flower(config)
    prepared = prepare(config, data)
    tasks = prepared.scenario.task_names
    if data is None:
        return prepared, RunFolder.create(runs, prepared.config, name, journals, tasks)
    folder = RunFolder.create(runs, prepared.config, name, journals, tasks, packed(data))
    placed = folder.config()
    rows = tuple((replace(plan, config=placed), multiplier) for plan, multiplier in prepared.rows)
    return Prepared(placed, prepared.scenario, rows), folder


def resume(path: Path, trust_code: bool = False, anew: Collection[str] = (REPORT,)) -> tuple[Prepared, RunFolder]:
    """Return the prepared run of an existing folder.

    Args:
        path: of the folder.
        trust_code: whether code that the folder's configuration names may be imported; see `RunFolder.existing`.
        anew: files that will be written anew, and so need not fit the others.

    Raises:
        RunFolderError: there is no run that can be continued: its files do not fit one another, or it is in use, or it
            began with other noise than this version computes.
    """
    folder = RunFolder.existing(path, trust_code)
    with folder.locked():
        require_continuable(folder, anew)
    return as_begun(prepare(folder.config()), folder), folder


def train(
    prepared: Prepared,
    folder: RunFolder,
    watch: Watcher = unwatched,
    stopped: Callable[[], bool] = lambda: False,
    journals: Path | None = None,
) -> None:
    """Run what is left of a run and certify it; worker processes of this machine play its clients.

    `journals`: folder outside the run's own in which the devices keep how far the ledger went when they answered.

    Raises:
        JournalRefused: the run began with journals and none are named, or they lie inside its folder.
        secure_fcl.running.loop.Interrupted: `stopped()` became true between two rounds.
        WorkerLost: a worker ended or reported an error.
    """
    clients = prepared.scenario.clients
    if prepared.config.engine == "flower":
        if journals is not None:
            raise JournalRefused(f"devices under Flower keep journals of their own; leave --journals {journals} out")
        train_over_flower(prepared, folder, watch, stopped)
        return
    if journals is not None:
        require_outside(journals, folder.path)
    elif folder.about().get("journals") and not folder.progress().finished:
        raise JournalRefused(
            f"the devices of run {folder.path} keep journals outside it; name their folder: --journals"
        )
    with WorkerPool(prepared.config.workers, clients) as pool:
        Job(prepared, folder, simulated(pool, clients, journals), watch, stopped).run()


def execute(
    prepared: Prepared,
    folder: RunFolder,
    watch: Watcher = unwatched,
    say: Say = lambda text: None,
    stopped: Callable[[], bool] = lambda: False,
    journals: Path | None = None,
) -> Path:
    """Train what is left, audit, and write the report; return the report's path. `journals`: as in `train`.

    Raises:
        secure_fcl.running.loop.Interrupted: `stopped()` became true between two rounds.
        attacks.LedgerContradicted: the audit contradicts the ledger; the report is written before that.
    """
    with folder.locked():
        try:
            train(prepared, folder, watch, stopped, journals)
        except WorkerLost as error:
            if notes := getattr(error, "__notes__", None):
                # A trace may quote values of the data, so it goes where nothing is promised.
                trace = folder.path / SIMULATION / "error.txt"
                trace.parent.mkdir(exist_ok=True)
                atomic_write(trace, "\n".join([str(error), *notes]))
            raise
        if not any(audited(plan) for plan, _ in prepared.rows):
            return write_report(folder)
        # Statistics that a second is spent on, and that runs without an audit never need.
        from secure_fcl.auditing import audit, require_ledger_holds

        found = audit(prepared, folder, say)
        report = write_report(folder)
        require_ledger_holds(found, report)
        return report


def write_report(folder: RunFolder) -> Path:
    """Render report.html from the folder's files, whatever stage the run is in. The caller holds the folder.

    Raises:
        RunFolderError: the files do not fit one another.
    """
    require_fitting(folder, but=(REPORT,))
    return render(folder)


def render(folder: RunFolder) -> Path:
    """Render report.html without looking at whether its files fit one another: those of a run in progress change."""
    return write_page(folder.path, render_report(folder.path))


def verify(path: Path, journals: Path | None = None) -> Findings:
    """Return what can be said of whether the files of a run folder belong together; changes nothing, imports no code.

    `journals`: folder of the devices' journals, which alone can tell an older copy of the whole folder.

    Raises:
        RunFolderError: there is no run at this path, or a process is at work in it.
    """
    folder = RunFolder.named(path)
    try:
        with folder.locked():
            return findings(folder, journals, recount=True)
    except PermissionError:
        # A folder that cannot be locked cannot be written by a run of this user either.
        return findings(folder, journals, recount=True)
