"""Files of raw inputs for a model, and its answers as a file."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evaluation.files import atomic_write
from evaluation.strict_json import to_json
from secure_fcl.data.errors import why_unread
from secure_fcl.errors import InputRefused

if TYPE_CHECKING:
    from secure_fcl.api.trained import RunModel

ENDINGS = (".csv", ".npy", ".npz")


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of inputs: the predicted label of each, and the scores (n, classes) it was chosen by."""

    labels: tuple[str, ...]
    predicted: NDArray[np.str_]
    scores: NDArray[np.float32]

    def records(self) -> list[dict[str, Any]]:
        """Return one dictionary an input: `input`, counted from 0, `label`, and `score <label>`, None if not finite."""
        return [
            {
                "input": place,
                "label": str(label),
                **{
                    f"score {name}": float(score) if np.isfinite(score) else None
                    for name, score in zip(self.labels, row, strict=True)
                },
            }
            for place, (label, row) in enumerate(zip(self.predicted, self.scores, strict=True))
        ]

    def as_csv(self) -> str:
        """Return the records as CSV with a heading; a score that is not finite is empty."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, ["input", "label", *(f"score {n}" for n in self.labels)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records())
        return buffer.getvalue()

    def write(self, path: Path) -> Path:
        """Write the records as .csv or .json, by the name's ending, and return the path.

        Raises:
            InputRefused: another ending.
            StorageError: the system refused.
        """
        if path.suffix not in (".csv", ".json"):
            raise InputRefused(f"--out {path} ends in {path.suffix or 'nothing'}; name a .csv or .json file")
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, self.as_csv() if path.suffix == ".csv" else to_json(self.records(), indent=2) + "\n")
        return path


def answers(model: RunModel, x: NDArray[np.generic], task: int | None = None) -> Answers:
    """Return what a model says of raw inputs (n, *shape).

    Raises:
        InputRefused: as `RunModel.classes`.
    """
    return Answers(model.origin.labels, model.predict(x, task), model.scores(x))


def read_inputs(path: Path, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return the raw inputs (n, *shape) of a file; a single input of the shape alone is one of n.

    .npy: the array; .npz: the array `x`, or the only one; .csv: one input a line, its numbers in C order; a first line
    of words is a heading. Nothing is unpickled.

    Raises:
        InputRefused: the file is missing or none of these, or its numbers do not make inputs of the shape.
    """
    if path.suffix not in ENDINGS:
        raise InputRefused(f"{path} ends in {path.suffix or 'nothing'}; inputs come as {', '.join(ENDINGS)}")
    try:
        found = _csv(path) if path.suffix == ".csv" else _arrays(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputRefused(f"{path} cannot be read as inputs ({why_unread(error)}); check the file") from error
    if found.shape == shape:
        return found[None]
    if found.ndim == 2 and found.shape[1] == int(np.prod(shape)):
        return found.reshape(len(found), *shape)
    return found


def _arrays(path: Path) -> NDArray[np.generic]:
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        return np.asarray(loaded)
    with loaded as file:
        if "x" not in file.files and len(file.files) != 1:
            raise InputRefused(f"{path} holds {', '.join(sorted(file.files)) or 'nothing'}; call the inputs x")
        return np.asarray(file["x" if "x" in file.files else file.files[0]])


def _csv(path: Path) -> NDArray[np.generic]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and not _is_number(lines[0][0]):
        lines = lines[1:]
    widths = sorted({len(line) for line in lines})
    if len(widths) != 1:
        raise InputRefused(
            f"{path} has lines of {' and '.join(map(str, widths)) or 'no'} numbers; give one input a line"
        )
    return np.array([[float(cell) for cell in line] for line in lines], dtype=np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
