"""`secure_fcl.study`: a grid of runs, and its table."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from evaluation.files import atomic_write
from evaluation.studies import StudyLine, read_study
from secure_fcl.api.tables import Table
from secure_fcl.errors import ConfigInvalid
from secure_fcl.runner import StopRequest
from secure_fcl.running.loop import Interrupted
from secure_fcl.studies import Chosen, choose, open_study, run_study


@dataclass(frozen=True, eq=False)
class Study:
    """A study as its table stood when it was read.

    Attributes:
        folder: of the study; each run's folder lies in `runs` below it.
        runs: one line a run, as study.csv has them; none where the best was chosen privately, as nothing else is shown.
        chosen: what a private choice shows, with its own epsilon; None without `[private_selection]`.
    """

    folder: Path
    runs: Table[StudyLine]
    chosen: Chosen | None = None

    def __repr__(self) -> str:
        shown = repr(self.runs) if self.chosen is None else repr(self.chosen)
        return f"Study({str(self.folder)!r})\n{shown}"

    def _repr_html_(self) -> str:
        return self.runs._repr_html_() if self.chosen is None else f"<pre>{html.escape(repr(self))}</pre>"


def run_grid(grid: Path | str | Mapping[str, Any], out: Path | str | None) -> Study:
    """Run what is not finished of a study and return its table; see `secure_fcl.study`."""
    if isinstance(grid, Mapping):
        if out is None:
            raise ConfigInvalid("a study given as a dictionary has no name; name its folder: out")
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "study.toml"
        atomic_write(file, tomli_w.dumps(dict(grid)))
    else:
        file = Path(grid)
        folder = Path(out) if out is not None else Path("studies") / file.stem
    stop = StopRequest()
    try:
        with stop.listening(lambda text: None):
            found = open_study(file)
            if found.choice is not None:
                chosen = choose(found, folder, stopped=stop)
                return Study(folder, Table("study", StudyLine, ()), chosen)
            table, _ = run_study(found.cells, folder, lambda text: None, stop)
    except Interrupted:
        raise Interrupted(f"stopped; the same call continues {folder}") from None
    return Study(folder, Table("study", StudyLine, read_study(table)))
