"""Reading of a folder that may be partial: what is missing is None, what cannot be read is a problem and no error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from evaluation.errors import EvaluationError, StorageError

T = TypeVar("T")


class PartialFolder:
    """Reads the files of a folder one by one, and keeps a sentence about each that cannot be read in `problems`."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Name a folder; `kind`: what it is the folder of, for the sentence of an error.

        Raises:
            StorageError: `folder` is not a folder.
        """
        if not folder.is_dir():
            raise StorageError(folder, "not a folder", f"name the folder of a {kind}")
        self._folder = folder
        self.problems: list[str] = []

    def read(self, name: str, reader: Callable[[Path], T]) -> T | None:
        """Return what `reader` makes of a file; None where there is none, or it cannot be read."""
        path = self._folder / name
        if not path.exists():
            return None
        try:
            return reader(path)
        except EvaluationError as error:
            self.tell(str(error))
            return None

    def tell(self, problem: str) -> None:
        """Keep a problem; files are named relative to the folder."""
        self.problems.append(problem.replace(f"{self._folder}/", ""))
