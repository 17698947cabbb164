"""Fact sheets as a terminal table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from secure_fcl.fact_sheets import FactSheet

if TYPE_CHECKING:
    from rich.console import Console

HEAD = (
    "row", "sums only", "DP per example", "noise", "releases", "extra", "if kept", "terms act in", "kept", "memory",
    "task id", "up a round", "with shared noise",
)  # fmt: skip


def table_rows(sheets: Sequence[FactSheet]) -> list[tuple[str, ...]]:
    """Return one row of text per sheet, under `HEAD`."""
    return [_cells(sheet) for sheet in sheets]


def _cells(s: FactSheet) -> tuple[str, ...]:
    return (
        s.row,
        "yes" if s.sums_only else f"NO: {', '.join(s.side_channels)}",
        "yes" if s.per_example_dp else "NO",
        " or ".join(s.places),
        str(s.releases),
        "-" if s.extra_releases is None else f"{s.extra_releases:+d}",
        str(s.releases_kept) if s.memory_examples else "-",
        ", ".join(s.terms) or "-",
        _size(s.kept_bytes),
        str(s.memory_examples) if s.memory_examples else "-",
        "needed" if s.task_identity else "no",
        _size(s.bytes_up),
        f"= {s.shared_equals}" if s.shared_equals else ("own" if "shared" in s.places else "none"),
    )


def print_sheets(sheets: Sequence[FactSheet], console: Console) -> None:
    """Print the table and what its columns mean."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEAD, title="Strategies, read off their code", title_justify="left", box=SIMPLE_HEAD)
    for cells in table_rows(sheets):
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    console.print(
        "releases: private releases that read an example in its task; extra: beyond the steps of fine-tuning or "
        "replay; if kept: in each later task; kept: on a device beside examples and keys; up: payload of one client.",
        highlight=False,
    )


def _size(count: int) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B" if count else "-"
