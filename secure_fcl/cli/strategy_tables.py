"""Fact sheets as tables: three narrow ones for a terminal, the same in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_fcl.cli.tables import print_table
from secure_fcl.forecast.strategy_facts import FactSheet

if TYPE_CHECKING:
    from rich.console import Console

Line = tuple[str, ...]


@dataclass(frozen=True)
class FactTable:
    """A part of the facts that fits into 80 columns: title, heads, cells of one sheet, and what the heads mean."""

    title: str
    heading: Line
    cells: Callable[[FactSheet], Line]
    meaning: str

    def rows(self, sheets: Sequence[FactSheet]) -> list[Line]:
        """Return one row of text for each sheet, under `heading`."""
        return [self.cells(sheet) for sheet in sheets]


def _sent(s: FactSheet) -> Line:
    return (
        s.row,
        "yes" if s.sums_only else "NO",
        "yes" if s.per_example_dp else "NO",
        "/".join(s.places),
        _size(s.bytes_up),
        f"= {s.shared_equals}" if s.shared_equals else ("own" if "shared" in s.places else "none"),
    )


def _charged(s: FactSheet) -> Line:
    return (
        s.row,
        str(s.releases),
        "-" if s.extra_releases is None else f"{s.extra_releases:+d}",
        str(s.releases_kept) if s.memory_examples else "-",
        ", ".join(s.terms) or "-",
    )


def _needed(s: FactSheet) -> Line:
    return (
        s.row,
        str(s.memory_examples) if s.memory_examples else "-",
        _size(s.kept_bytes),
        "needed" if s.task_identity else "no",
        ", ".join(s.side_channels) or "-",
    )


TABLES = (
    FactTable(
        "What leaves a device",
        ("row", "sums only", "example DP", "noise", "up a round", "if shared"),
        _sent,
        "sums only: the server sees nothing of a client but sums. example DP: every example has an epsilon. up a "
        "round: payload of one client in a training round. if shared: with shared noise, the row that it equals to "
        "the last bit; own: it equals no other; none: no sum leaves a device.",
    ),
    FactTable(
        "What it charges",
        ("row", "releases", "extra", "if kept", "terms act in"),
        _charged,
        "releases: private releases that read an example in its task; extra: beyond the steps of fine-tuning or "
        "replay there; if kept: releases in each later task, where Fed-A-GEM's reference gradient adds to the steps. "
        "More releases, more epsilon for the same noise.",
    ),
    FactTable(
        "What it needs",
        ("row", "examples kept", "bytes kept", "task at test", "side channels"),
        _needed,
        "bytes kept: on a device between rounds, beside examples and keys. side channels: what it sends beside the "
        "sums; a protected run refuses them unless they are named, and no epsilon covers them.",
    ),
)


def print_sheets(sheets: Sequence[FactSheet], console: Console) -> None:
    """Print the tables and what their columns mean."""
    for each in TABLES:
        print_table(console, each.title, each.heading, each.rows(sheets), text_columns=len(each.heading))
        console.print(each.meaning, highlight=False)
        console.print()


def as_markdown(sheets: Sequence[FactSheet]) -> str:
    """Return the tables in Markdown, and before them what every row is."""
    first = "## What they are\n\n" + _markdown(("row", "what"), [(s.row, s.what) for s in sheets])
    parts = [f"## {each.title}\n\n{_markdown(each.heading, each.rows(sheets))}\n\n{each.meaning}" for each in TABLES]
    return "\n\n".join([first, *parts]) + "\n"


def _markdown(heading: Line, rows: Sequence[Line]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _size(count: int) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B" if count else "-"
