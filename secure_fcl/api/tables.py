"""Frozen tables: lines are dataclasses, shown on a terminal, in a notebook and as a DataFrame."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from html import escape
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from evaluation.tables import MISSING, epsilon_above, epsilon_below, percent, quantity, size
from secure_fcl.errors import SecureFclError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

L = TypeVar("L")
_SHORT = 16
_LONG = 48
_KEYS = ("run", "strategy", "after task")
PANDAS = "pip install 'pandas>=2.2'"

_SHOWN: Mapping[str, Callable[[object], str]] = {
    "share": percent,
    "change": lambda value: percent(value, signed=True),
    "bound": epsilon_above,
    "shown": epsilon_below,
    "bytes": lambda value: size(value) if isinstance(value, int | float) else MISSING,
    "number": quantity,
}


def shown_as(kind: str) -> Any:
    """Return a dataclass field, None by default, whose value people read as a kind of number.

    share and change: percent, a change with its sign; bound: an epsilon rounded up; shown: an epsilon rounded down;
    bytes: in kB or MB; number: three decimals.
    """
    return field(default=None, metadata={"shown": _SHOWN[kind]})


@dataclass(frozen=True, eq=False)
class Table(Generic[L]):
    """Lines of one kind, in order. Values are as the run's files have them; only what is printed is rounded.

    Attributes:
        name: what the lines are about.
        kind: class of the lines, a frozen dataclass; a field that holds a tuple is a column for each entry.
        lines: the lines.
        note: what a reader must know beside them; why there are none, for one. May be empty.
    """

    name: str
    kind: type[L]
    lines: tuple[L, ...]
    note: str = ""

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.lines)

    def __iter__(self) -> Iterator[L]:
        """Yield the lines."""
        return iter(self.lines)

    def __getitem__(self, place: int) -> L:
        """Return one line."""
        return self.lines[place]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, those of tuples counted from 1: `task 1`, `task 2`."""
        return tuple(name for name, *_ in self._columns())

    def records(self) -> list[dict[str, Any]]:
        """Return the lines as dictionaries of plain values, one key a column."""
        return [{name: value for name, value, _ in self._cells(line)} for line in self.lines]

    def to_pandas(self) -> Any:
        """Return the lines as a pandas.DataFrame with the same columns.

        Raises:
            SecureFclError: pandas is not installed.
        """
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise SecureFclError(f"pandas is not installed; run: {PANDAS}") from error
        return pandas.DataFrame(self.records(), columns=list(self.columns))

    def texts(self) -> list[list[str]]:
        """Return the cells of every line as people read them."""
        return [[text(value) for _, value, text in self._cells(line)] for line in self.lines]

    def __repr__(self) -> str:
        heads, lines = list(self.columns), self.texts()
        # What is too long for a column stands below the table, whole.
        below = [f"{head} of {line[0]}: {cell}" for line in lines for head, cell in zip(heads, line, strict=True)
                 if len(cell) > _LONG]  # fmt: skip
        lines = [["below" if len(cell) > _LONG else cell for cell in line] for line in lines]
        widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
        left = [isinstance(value, str) for _, value, _ in self._cells(self.lines[0])] if lines else [True] * len(heads)
        rows = [
            "  ".join(
                cell.ljust(width) if words else cell.rjust(width)
                for cell, width, words in zip(cells, widths, left, strict=True)
            ).rstrip()
            for cells in ([heads, *lines] if lines else [])
        ]
        return "\n".join([f"{self.name} ({len(lines)} lines)", *rows, *below, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in self.texts()
        )
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        shown = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>" if body else ""
        return f"<table><caption>{escape(self.name)}</caption>{shown}</table>{note}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the table for rich; one that is too wide comes in parts that each begin with the keys of its lines."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        texts = self.texts()
        for number, places in enumerate(self._parts(texts, options.max_width)):
            shown = RichTable(
                title=self.name if number == 0 else None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False
            )
            for place in places:
                cells = [line[place] for line in texts]
                words = bool(self.lines) and isinstance(list(self._cells(self.lines[0]))[place][1], str)
                # Names and numbers stay whole; only longer words fold.
                whole = max(map(len, [*cells, ""])) <= _SHORT
                shown.add_column(
                    self.columns[place], justify="left" if words else "right", overflow="fold", no_wrap=whole
                )
            for line in texts:
                shown.add_row(*(Text(line[place]) for place in places))
            if self.lines:
                yield shown
        yield Text(
            "\n".join([*([] if self.lines else [f"{self.name}: no lines"]), *([self.note] if self.note else [])])
        )

    def _parts(self, texts: list[list[str]], width: int) -> list[list[int]]:
        """Return places of columns, in parts that fit a width in characters."""
        heads = self.columns
        # Long cells fold.
        needed = [max(len(head), *(min(len(line[place]), 24) for line in texts), 0) for place, head in enumerate(heads)]
        keys = [place for place, head in enumerate(heads) if head in _KEYS]
        parts, taken = [list(keys)], sum(needed[place] + 3 for place in keys)
        start = taken
        for place in range(len(heads)):
            if place in keys:
                continue
            if taken + needed[place] + 3 > width and len(parts[-1]) > len(keys):
                parts.append(list(keys))
                taken = start
            parts[-1].append(place)
            taken += needed[place] + 3
        return parts

    def _columns(self) -> list[tuple[str, str, int | None, Callable[[object], str]]]:
        """Return name, field, place in a tuple (None: no tuple) and text of every column."""
        found: list[tuple[str, str, int | None, Callable[[object], str]]] = []
        for one in fields(self.kind):  # type: ignore[arg-type]
            text = one.metadata.get("shown", _plain)
            longest = max((len(v) for line in self.lines if isinstance(v := getattr(line, one.name), tuple)), default=0)
            title = one.name.replace("_", " ")
            if "each" in one.metadata:
                found += [(f"{one.metadata['each']} {place + 1}", one.name, place, text) for place in range(longest)]
            else:
                found.append((title, one.name, None, text))
        return found

    def _cells(self, line: L) -> Iterator[tuple[str, Any, Callable[[object], str]]]:
        for name, attribute, place, text in self._columns():
            value = getattr(line, attribute)
            if place is not None:
                value = value[place] if place < len(value) else None
            yield name, value, text


def _plain(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"{len(value)}, see the note" if value else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def each(kind: str, name: str) -> Any:
    """Return a dataclass field that holds a tuple, shown as a column for each entry: `name 1`, `name 2`."""
    return field(default=(), metadata={"shown": _SHOWN[kind], "each": name})
