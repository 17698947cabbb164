"""`secure_fcl.Run`: one run folder, read once, after its files were checked against each other."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.run_folder import Run as Files
from evaluation.run_folder import read_run
from evaluation.verdict import banners, verdict
from secure_fcl.api import lines
from secure_fcl.api.tables import Table
from secure_fcl.config import Config, load_tree
from secure_fcl.errors import RunFolderError
from secure_fcl.running.fitting import REPORT, require_fitting, unpinned
from secure_fcl.running.folder import RunFolder

if TYPE_CHECKING:
    from secure_fcl.api.trained import RunModel


@dataclass(frozen=True, eq=False)
class Run:
    """A run as its folder stood when it was opened: tables, certificate, report, and models that predict.

    *Guarantee*: what it shows is of files that fit one another (`secure-fcl verify` says what that covers); it states
    no epsilon but the certificate's, and none before that is written.

    Attributes:
        folder: of the run.
        trust_code: whether code that the run's configuration names may be imported.
    """

    folder: Path
    trust_code: bool = False
    _files: Files = field(repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def finished(self) -> bool:
        """Whether every strategy ran to its end and is certified."""
        return self._files.finished is True

    @cached_property
    def strategies(self) -> tuple[str, ...]:
        """Strategies of the configuration, in order, begun or not."""
        rows = load_tree(self.folder / "config.toml").get("rows", ())
        return tuple(str(row) for row in rows)

    @cached_property
    def accuracy(self) -> Table[lines.AccuracyLine]:
        """Test accuracy of each strategy after each task."""
        return lines.accuracy(self._files)

    @cached_property
    def forgetting(self) -> Table[lines.ForgettingLine]:
        """What each strategy forgot."""
        return lines.forgetting(self._files)

    @cached_property
    def epsilon(self) -> Table[lines.EpsilonLine]:
        """What the certificate guarantees of each strategy; no lines before it is written."""
        return lines.epsilon(self._files)

    @cached_property
    def leakage(self) -> Table[lines.LeakageLine]:
        """What the attacks found; no lines before an audit."""
        return lines.leakage(self._files)

    @cached_property
    def cost(self) -> Table[lines.CostLine]:
        """Bytes and seconds of each strategy."""
        return lines.cost(self._files)

    @property
    def tables(self) -> tuple[Table[Any], ...]:
        """The five tables."""
        return self.accuracy, self.forgetting, self.epsilon, self.leakage, self.cost

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the head of the report warns of, and what could not be checked or read."""
        old = unpinned(RunFolder.named(self.folder))
        return (*(banner.text for banner in banners(self._files)), *self._files.problems, *([old] if old else []))

    @property
    def certificate(self) -> dict[str, Any]:
        """A copy of certificate.json.

        Raises:
            RunFolderError: it is not written yet.
        """
        if self._files.certificate is None:
            raise RunFolderError(
                f"run {self.folder} has no certificate yet, so nothing is guaranteed of it; finish it with "
                f"secure-fcl run --resume {self.folder}"
            )
        return copy.deepcopy(self._files.certificate)

    @property
    def report(self) -> Path:
        """Path of report.html.

        Raises:
            RunFolderError: it is not there.
        """
        path = self.folder / REPORT
        if not path.is_file():
            raise RunFolderError(f"run {self.folder} has no report; make it with: secure-fcl report {self.folder}")
        return path

    def config(self) -> Config:
        """Return the configuration that the run began with.

        Raises:
            RunFolderError: it was changed, or names code and `trust_code` is False.
        """
        return RunFolder.existing(self.folder, self.trust_code).config()

    def model(self, strategy: str, after_task: int | None = None, *, client: int | None = None) -> RunModel:
        """Return a network that predicts labels from raw inputs, as the run evaluated it.

        Args:
            strategy: of the run.
            after_task: slot of the calendar, from 1; None: the last.
            client: whose model, from 0, where every client has its own (local_only); None everywhere else.

        Raises:
            RunFolderError: no such strategy, task or client; the files do not fit one another; the state is not kept.
            DataError: the data of the run, whose shape and labels the model needs, is not there.
        """
        from secure_fcl.api.trained import trained_model

        return trained_model(RunFolder.existing(self.folder, self.trust_code), strategy, after_task, client)

    def __repr__(self) -> str:
        state = "finished" if self.finished else "not finished"
        return f"Run({str(self.folder)!r}, {', '.join(self.strategies)}; {state})\n{verdict(self._files)}"

    def _repr_html_(self) -> str:
        warned = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
        tables = "".join(t._repr_html_() for t in (self.accuracy, self.epsilon))
        return f"<p><b>{escape(self.name)}</b>: {escape(verdict(self._files))}</p><ul>{warned}</ul>{tables}"


def open_run(folder: Path, trust_code: bool = False) -> Run:
    """Return the run of a folder after checking that its files belong together; imports no code that it names.

    Raises:
        RunFolderError: there is no run at this path, a process is at work in it, or its files do not fit one another.
    """
    found = RunFolder.named(folder, trust_code)
    with found.read_only():
        require_fitting(found, but=(REPORT,))
        return Run(folder, trust_code, _files=read_run(folder))
