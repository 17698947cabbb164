"""What lies in a study's folder, read once: its table, its points, what failed, and what a private choice shows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.files import Record, read_json, read_text
from evaluation.frontier import CRITERIA, Point
from evaluation.intervals import mean_interval
from evaluation.partial import PartialFolder
from evaluation.run_folder import mapping

#: What tells the points of a study apart; further columns that are no measure are settings too.
SETTINGS = ("strategy", "noise", "epsilon", "protection", "setting")
_MORE = ("task_mean", "class_mean", "worst_client", "bytes_up_per_client")


@dataclass(frozen=True)
class StudyFolder:
    """The files of a study.

    Attributes:
        lines: of study.csv, as text by column; one a run.
        notes: study.json; empty where there is none.
        selection: what is public of a private choice; None for a study that shows all its runs.
        winner: what the choice showed; None before it is made.
        problems: what could not be read, one sentence each.
    """

    folder: Path
    lines: tuple[Mapping[str, str], ...] = ()
    notes: Record | None = None
    selection: Record | None = None
    winner: Record | None = None
    problems: tuple[str, ...] = ()

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of the grid, in the order in which they first occur."""
        groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
        for line in self.lines:
            groups.setdefault(tuple(line.get(name, "") for name in SETTINGS), []).append(line)
        several = len({line.get("protection", "") for line in self.lines}) > 1
        return tuple(_point(runs, several) for runs in groups.values())


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _point(runs: Sequence[Mapping[str, str]], several: bool) -> Point:
    first = runs[0]
    scores = {name: mean_interval([_number(run.get(name)) for run in runs]) for name in CRITERIA}
    means = {name: mean_interval([_number(run.get(name)) for run in runs]).value for name in _MORE}
    spent = [_number(run.get("epsilon_spent")) for run in runs]
    budget = _number(first.get("epsilon"))
    worst = max(spent) if spent and not any(map(math.isnan, spent)) else budget
    noise = {"none": "no noise", "local": "local noise", "shared": "shared noise"}
    words = [
        first.get("strategy", "?"), noise.get(first.get("noise", ""), first.get("noise", "")),
        first.get("protection", "") if several else "", first.get("setting", ""),
    ]  # fmt: skip
    return Point(
        name=", ".join(filter(None, words)),
        epsilon=math.inf if math.isnan(worst) else worst,
        scores={name: score for name, score in scores.items() if not math.isnan(score.value)},
        more={name: mean for name, mean in means.items() if not math.isnan(mean)},
        seeds=len(runs),
    )


def read_study_folder(folder: Path) -> StudyFolder:
    """Read whatever a study's folder holds; a study in progress has fewer lines.

    Raises:
        StorageError: `folder` is not a folder.
    """
    files = PartialFolder(folder, "study")

    def record(name: str) -> Record | None:
        found = files.read(name, read_json)
        return None if found is None else mapping(found)

    text = files.read("study.csv", read_text)
    lines = tuple({k: v or "" for k, v in line.items() if k} for line in csv.DictReader(io.StringIO(text or "")))
    return StudyFolder(
        folder=folder,
        lines=lines,
        notes=record("study.json"),
        selection=record("selection.json"),
        winner=record("winner.json"),
        problems=tuple(files.problems),
    )
