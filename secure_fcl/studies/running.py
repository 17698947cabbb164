"""Running a study: what is not finished yet, several cells at once, with tables after every one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from attacks.errors import AttackError
from evaluation.errors import EvaluationError
from evaluation.files import read_json, read_text
from privacy import PrivacyError
from secure_fcl.auditing.ledger_check import require_ledger_holds
from secure_fcl.config import dump_config
from secure_fcl.errors import RunFolderError, RunInUse, SecureFclError
from secure_fcl.rows.schedule import written_out
from secure_fcl.running.fitting import ATTACKS, REPORT, require_fitting
from secure_fcl.running.folder import RunFolder
from secure_fcl.studies.crew import Crew, News, Order, shares
from secure_fcl.studies.grid import Cell
from secure_fcl.studies.notes import SELECTION, Notes
from secure_fcl.studies.results import POINTS, result, write_study_page, write_tables
from secure_fcl.studies.totals import Total, total_of

Say = Callable[[str], None]
#: Errors of one cell, which the others go on without.
_OF_A_CELL = (SecureFclError, PrivacyError, AttackError, EvaluationError, OSError)


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """How far a study is: a share of all its work, and the seconds left by the pace so far (None: not known yet).

    `ended` counts the cells that finished or failed.
    """

    ended: int
    share: float
    seconds_left: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study wrote: paths, one line a finished run, cells that failed with their sentences, and the total."""

    table: Path
    points: Path
    plot: Path
    page: Path
    rows: tuple[dict[str, Any], ...]
    failed: dict[str, str]
    total: Total

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        return {
            "table": str(self.table), "points": str(self.points), "plot": str(self.plot), "page": str(self.page),
            "rows": [*self.rows],
            "failed": self.failed, "total": self.total.to_json(),
        }  # fmt: skip


def in_words(seconds: float) -> str:
    """Return a length of time in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a study's folder, which is made, while the block runs.

    Raises:
        RunInUse: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunInUse(f"study {folder} is being run by another process; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def run_study(
    cells: tuple[Cell, ...],
    folder: Path,
    say: Say,
    stopped: Callable[[], bool] = lambda: False,
    jobs: int | None = None,
    watch: Callable[[Ahead], None] = lambda ahead: None,
) -> tuple[Path, Path]:
    """Run what is not finished yet, rewriting tables and plot after every run; return paths of table and plot.

    As `conduct`, for who asks for no more.

    Raises:
        Interrupted: `stopped()` became true; the same call continues.
        RunInUse: another process runs the study.
    """
    done = conduct(cells, folder, say, stopped, jobs, watch)
    return done.table, done.plot


def conduct(
    cells: tuple[Cell, ...],
    folder: Path,
    say: Say = lambda text: None,
    stopped: Callable[[], bool] = lambda: False,
    jobs: int | None = None,
    watch: Callable[[Ahead], None] = lambda ahead: None,
) -> Outcome:
    """Run what is not finished yet, each cell in a process of its own, and return all that is there then.

    A cell that fails does not keep the others; it is tried again by the next call.

    Args:
        cells: of `load_study`.
        folder: of the study, made if it is not there; each run has its own below `runs`.
        say: told in a line what happens.
        stopped: asked between rounds; every run under way saves its last round first.
        jobs: how many run at once; None: so many that with their workers they keep within the cores.
        watch: told how far it is.

    Raises:
        Interrupted: `stopped()` became true; the same call continues.
        RunInUse: another process runs the study.
    """
    with held(folder):
        if (folder / SELECTION).exists():
            raise RunFolderError(
                f"{folder} chooses privately, and its cells may not be run and shown as well; run the study file with "
                "its section private_selection, or name another folder and count both"
            )
        notes = Notes.read(folder)
        work = _Work(cells, folder, notes, say, watch)
        try:
            left = work.left()
            count, workers = shares((cell.config for cell in left), jobs)
            work.write()
            orders = [Order(name=c.key, run=folder / "runs" / c.key, workers=workers(c.config)) for c in left]
            with Crew(count) as crew:
                crew.work(orders, work.told, stopped)
        finally:
            work.write()
        return work.outcome()


@dataclass
class _Work:
    """A study under way: which cells have a result, and how far the others are."""

    cells: Sequence[Cell]
    folder: Path
    notes: Notes
    say: Say
    watch: Callable[[Ahead], None]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)
    _fresh: set[str] = field(default_factory=set)
    _shares: dict[str, float] = field(default_factory=dict)
    _at: float = field(default_factory=time.monotonic)
    _ahead: float = 0.0

    def __post_init__(self) -> None:
        self._by_key = {cell.key: cell for cell in self.cells}
        self._axes = tuple(dict.fromkeys(name for cell in self.cells for name, _ in cell.settings))

    def left(self) -> list[Cell]:
        """Return the cells without a result, each with its run's folder, and forget how they failed before."""
        left = []
        for cell in self.cells:
            self.notes.failed.pop(cell.key, None)
            try:
                run = self._begun_of(cell)
                if run is not None and self._complete(cell, run):
                    self._collect(cell, run)
                    continue
            except _OF_A_CELL as error:
                self._fail(cell.key, str(error))
                continue
            left.append(cell)
        self.notes.note(self.cells, finished=bool(self.rows))
        self._ahead = len(self.rows) + len(self.notes.failed)
        return left

    def _begun_of(self, cell: Cell) -> RunFolder | None:
        path = self.folder / "runs" / cell.key
        if not (path / "state.json").exists():
            return None
        # What runs is the cell of the study file, so code is named by that, and not by the folder.
        if read_text(path / "config.toml") != dump_config(written_out(cell.config)):
            raise RunFolderError(f"{path / 'config.toml'} is not the cell of the study file; restore or delete the run")
        return RunFolder.existing(path, trust_code=True)

    def _complete(self, cell: Cell, run: RunFolder) -> bool:
        attacks = cell.config.attacks
        wanted = attacks.enabled and attacks.row in cell.config.rows
        return run.progress().finished and (not wanted or (run.path / ATTACKS).exists())

    def _collect(self, cell: Cell, run: RunFolder) -> None:
        with run.locked():
            require_fitting(run, but=(REPORT,))
        self.rows[cell.key] = result(cell, run)
        if (run.path / ATTACKS).exists():
            require_ledger_holds(read_json(run.path / ATTACKS), run.path / REPORT)

    def _fail(self, key: str, sentence: str) -> None:
        self.notes.failed[key] = sentence
        self.say(f"failed {key}: {sentence}")

    def told(self, news: News) -> None:
        """Hear what happened to a run."""
        key = news.order.name
        if news.kind == "started":
            self._begun[key] = time.monotonic()
            if not (news.order.run / "state.json").exists():
                RunFolder.create(news.order.run.parent, written_out(self._by_key[key].config), key)
                self._fresh.add(key)
            self.say(f"{[*self._by_key].index(key) + 1}/{len(self.cells)} {key}")
            return
        if news.kind == "round":
            self._shares[key] = news.done / max(1, news.total)
        elif news.kind == "resumed":
            self._fresh.discard(key)
            self.say(f"resuming {key}: {news.sentence}")
        else:
            self._ended(key, news)
        self.watch(self.ahead())

    def _ended(self, key: str, news: News) -> None:
        self._shares.pop(key, None)
        if news.kind == "interrupted":
            return
        if news.kind == "failed":
            self._fail(key, news.sentence)
        else:
            cell = self._by_key[key]
            if key in self._fresh:
                self.notes.seconds[key] = round(time.monotonic() - self._begun[key], 2)
            try:
                self._collect(cell, RunFolder.existing(self.folder / "runs" / key, trust_code=True))
            except _OF_A_CELL as error:
                self._fail(key, str(error))
        self.write()

    def ahead(self) -> Ahead:
        """Return how far the study is; the pace is that of this call alone."""
        ended = len(self.rows) + len(self.notes.failed)
        done = ended + sum(self._shares.values())
        made, seconds = done - self._ahead, time.monotonic() - self._at
        left = seconds / made * (len(self.cells) - done) if made > 0.0 else None
        failed = f", {len(self.notes.failed)} failed" if self.notes.failed else ""
        text = f"{ended}/{len(self.cells)} cells{failed}"
        return Ahead(ended=ended, share=min(1.0, done / len(self.cells)), seconds_left=left, text=text)

    def in_order(self) -> list[dict[str, Any]]:
        """Return the lines of all finished runs, in the order of the study file."""
        return [self.rows[cell.key] for cell in self.cells if cell.key in self.rows]

    def write(self) -> tuple[Path, Path]:
        """Write tables, plot and notes; return the paths of the table and the plot."""
        self.notes.write(self.folder, {"axes": [*self._axes]})
        return write_tables(self.in_order(), self.folder, self._axes)

    def outcome(self) -> Outcome:
        """Write all once more, with the total, and return it."""
        table, plot = self.write()
        total = total_of(self.folder, self.notes.added_later)
        self.notes.write(self.folder, {"axes": [*self._axes], "total": total.to_json()})
        return Outcome(
            table=table, points=self.folder / POINTS, plot=plot, page=write_study_page(self.folder),
            rows=tuple(self.in_order()), failed=dict(self.notes.failed), total=total,
        )  # fmt: skip


def reported(cells: tuple[Cell, ...], folder: Path, say: Say = lambda text: None) -> Outcome:
    """Write tables and plot of a study from what is there, running nothing, and return them.

    Raises:
        RunInUse: the study is being run.
        RunFolderError: a folder of a run is damaged.
    """
    with held(folder):
        work = _Work(cells, folder, Notes.read(folder), say, lambda ahead: None)
        before = dict(work.notes.failed)
        for cell in cells:
            path = folder / "runs" / cell.key
            if (path / "state.json").exists() and (
                run := RunFolder.existing(path, trust_code=True)
            ).progress().finished:
                work.rows[cell.key] = result(cell, run)
        work.notes.failed = before
        return work.outcome()
