"""A file of results, one line a cell, that lets the next start go on where the last one ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evaluation.files import read_jsonl

Line = dict[str, Any]


class Keyed(Protocol):
    """A cell with a name of its own in the file of results."""

    @property
    def key(self) -> str:
        """The name."""


C = TypeVar("C", bound=Keyed)


def run_missing(
    wanted: Sequence[C], results: Path, run: Callable[[C], Line], told: Callable[[Line], str]
) -> list[Line]:
    """Run what the file of results lacks, and tell of each; return the lines of all cells."""
    results.touch()
    known = {line["key"]: line for line in read_jsonl(results).records}
    for cell in wanted:
        if cell.key in known:
            continue
        line = {"key": cell.key, **run(cell)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        known[cell.key] = line
        print(f"{cell.key}: {told(line)}", flush=True)
    return [known[cell.key] for cell in wanted]
