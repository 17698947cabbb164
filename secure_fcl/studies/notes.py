"""study.json: what a study's folder knows of its cells beside their runs, and where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evaluation.errors import EvaluationError
from evaluation.files import read_json, write_json
from evaluation.run_folder import mapping, number
from secure_fcl.errors import RunFolderError
from secure_fcl.running.folder import RunFolder
from secure_fcl.studies.grid import Cell

NOTES = "study.json"
#: What is public of a private choice, and what it showed.
SELECTION, WINNER = "selection.json", "winner.json"
State = Literal["waiting", "begun", "finished", "failed"]


@dataclass
class Notes:
    """What is written down of a study; `write` replaces the file as a whole.

    Attributes:
        cells: key to label, in the order of the study file; cells that the file no longer has stay.
        failed: key to sentence, of the cells that failed when they were last tried.
        seconds: key to how long a cell took that ran through in one go.
        added_later: whether a cell was added when another had finished.
    """

    cells: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    added_later: bool = False

    @staticmethod
    def read(folder: Path) -> Notes:
        """Return the notes of a folder; empty ones where there are none.

        Raises:
            RunFolderError: the file is not one that `write` wrote.
        """
        path = folder / NOTES
        if not path.exists():
            return Notes()
        try:
            found = read_json(path)
            return Notes(
                cells={str(one["key"]): str(one["label"]) for one in found["cells"]},
                failed={str(one["key"]): str(one["failed"]) for one in found["cells"] if one.get("failed")},
                seconds={str(one["key"]): s for one in found["cells"] if (s := number(one.get("seconds"))) is not None},
                added_later=bool(found["added_later"]),
            )
        except (EvaluationError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"{path} is damaged ({error}); delete it: the runs beside it stay") from error

    def note(self, cells: Iterable[Cell], finished: bool) -> None:
        """Take up the cells of a study file; `finished`: whether a run of the folder has finished already."""
        new = {cell.key: cell.label for cell in cells}
        self.added_later |= finished and bool(self.cells) and bool(set(new) - set(self.cells))
        self.cells = new | {key: label for key, label in self.cells.items() if key not in new}

    def write(self, folder: Path, more: dict[str, Any] | None = None) -> None:
        """Write study.json; `more`: what stands beside the cells, for who reads the file.

        Raises:
            StorageError: the system refused.
        """
        lines = [
            {
                "key": key,
                "label": label,
                "state": state_of(folder, key, self.failed),
                "failed": self.failed.get(key),
                "seconds": self.seconds.get(key),
            }
            for key, label in self.cells.items()
        ]
        write_json(folder / NOTES, {"cells": lines, "added_later": self.added_later} | (more or {}))


def state_of(folder: Path, key: str, failed: dict[str, str]) -> State:
    """Return where a cell stands, from its run's folder."""
    if key in failed:
        return "failed"
    path = folder / "runs" / key
    if not (path / "state.json").exists():
        return "waiting"
    try:
        return "finished" if RunFolder.named(path).progress().finished else "begun"
    except (RunFolderError, EvaluationError):
        return "begun"


def require_study(folder: Path) -> None:
    """Refuse a folder in which no study ran.

    Raises:
        RunFolderError: it holds neither the notes of a study nor those of a private choice.
    """
    if not (folder / NOTES).exists() and not (folder / SELECTION).exists():
        raise RunFolderError(f"{folder} is not the folder of a study (no {NOTES} in it); name one, or its file")


def status(folder: Path) -> dict[str, Any]:
    """Return where a study stands, for people and machines: its cells with their states, and seconds left.

    `seconds_left` is what the cells left would take one after another, by the mean of those that ran in one go; None
    where none has. Of a study that chooses privately nothing is known: neither how many runs there are nor how far.

    Raises:
        RunFolderError: the folder is no study's, or its notes are damaged.
    """
    if (folder / SELECTION).exists():
        chosen = mapping(read_json(folder / SELECTION))
        return {"private_selection": chosen, "finished": (folder / WINNER).exists()}
    require_study(folder)
    notes = Notes.read(folder)
    states = {key: state_of(folder, key, notes.failed) for key in notes.cells}
    left = sum(state != "finished" for state in states.values())
    mean = sum(notes.seconds.values()) / len(notes.seconds) if notes.seconds else None
    cells = [
        {"key": key, "label": notes.cells[key], "state": state, "failed": notes.failed.get(key)}
        for key, state in states.items()
    ]
    return {
        "cells": cells,
        "finished": sum(state == "finished" for state in states.values()),
        "failed": len(notes.failed),
        "left": left,
        "seconds_left": 0.0 if not left else None if mean is None else left * mean,
    }
