"""`secure_fcl.study`: a grid of runs, and its table."""

from __future__ import annotations

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
from secure_fcl.studies import load_study, run_study


@dataclass(frozen=True, eq=False)
class Study:
    """A study as its table stood when it was read.

    Attributes:
        folder: of the study; each run's folder lies in `runs` below it.
        runs: one line a run, as study.csv has them.
    """

    folder: Path
    runs: Table[StudyLine]

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})\n{self.runs!r}"

    def _repr_html_(self) -> str:
        return self.runs._repr_html_()


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
            table, _ = run_study(load_study(file), folder, lambda text: None, stop)
    except Interrupted:
        raise Interrupted(f"stopped; the same call continues {folder}") from None
    return Study(folder, Table("study", StudyLine, read_study(table)))
