"""Tables on a terminal that break no word: what is too wide for one table goes into several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

#: Blanks between two columns, and before the first and after the last one together.
GAP, EDGES = 3, 2


def print_line(console: Console, text: str) -> None:
    """Print text that is never broken and holds no markup, so that places and commands can be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_table(
    console: Console, title: str, heading: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1
) -> None:
    """Print rows of text as one table, or as several that each repeat the first column, so that no word is broken.

    Args:
        console: where to; its width decides.
        title: above the first table.
        heading: names of the columns.
        rows: one cell a column; a cell's words stay whole, except one that is wider than the console.
        text_columns: so many first columns are aligned to the left and may wrap between words; the others are
            numbers, which do not wrap.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns = [[name, *(row[place] for row in rows)] for place, name in enumerate(heading)]
    least = [_least(cells, wraps=place < text_columns) for place, cells in enumerate(columns)]
    most = [max(map(len, cells)) for cells in columns]
    for number, places in enumerate(split(least, console.width)):
        widths = _widths([least[p] for p in places], [most[p] for p in places], console.width)
        table = Table(title=title if not number else None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for place, width in zip(places, widths, strict=True):
            justify: Literal["left", "right"] = "left" if place < text_columns else "right"
            table.add_column(heading[place], justify=justify, overflow="fold", width=min(width, console.width))
        for row in rows:
            table.add_row(*(Text(row[place]) for place in places))
        console.print(table)


def _least(cells: Sequence[str], *, wraps: bool) -> int:
    """The width that a column needs: its longest word, or its longest cell; a heading may always wrap."""
    heading, *rest = cells
    words = [word for cell in rest for word in cell.split()] if wraps else rest
    return max(map(len, [*heading.split(), *words]), default=0)


def _widths(least: Sequence[int], most: Sequence[int], width: int) -> list[int]:
    """The width of each column of one table: what its cells would like, taken from the widest until all fit."""
    found = [max(pair) for pair in zip(least, most, strict=True)]
    while EDGES + GAP * (len(found) - 1) + sum(found) > width:
        room = [have - need for have, need in zip(found, least, strict=True)]
        if not any(room):
            break
        # Of those that can give, the widest gives.
        place = max((p for p, free in enumerate(room) if free), key=lambda p: found[p])
        found[place] -= 1
    return found


def split(least: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of each table: as many as fit, in order, after the first column, which every table has.

    Args:
        least: width that each column needs, at least one.
        width: of the console. A table whose two columns are wider than it is made all the same.
    """
    tables, used = [[0]], EDGES + least[0]
    for place in range(1, len(least)):
        if used + GAP + least[place] > width and len(tables[-1]) > 1:
            tables.append([0])
            used = EDGES + least[0]
        tables[-1].append(place)
        used += GAP + least[place]
    return tables
