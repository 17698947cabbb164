"""Columns of a CSV or Parquet file, and where each of their rows is in the file."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataRefused
from secure_fcl.data.folder.section import FolderSection

Doubles = npt.NDArray[np.float64]

#: Endings of files that are read, in lower case.
ENDINGS = (".csv", ".parquet")

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, eq=False, kw_only=True)
class Columns:
    """The wanted columns of one file; text as it stands there, or what Parquet holds.

    lines: of each row in a CSV file, its last one where a cell goes over several; None: rows are counted from 1.
    """

    path: Path
    values: dict[str, Sequence[Any]]
    lines: Sequence[int] | None

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.values.values())))

    def where(self, row: int) -> str:
        """Return which row of which file, as errors name it."""
        return f"{self.path} row {row + 1}" if self.lines is None else f"{self.path} line {self.lines[row]}"


def read_columns(path: Path, section: FolderSection) -> Columns:
    """Read the columns that are declared; others are not looked at.

    Raises:
        DataRefused: the file cannot be read, lacks a column, or has a row of another length; names the line.
    """
    wanted = [*section.channels, section.label, *filter(None, (section.time, section.recording))]
    if path.suffix.lower() == ".parquet":
        return Columns(path=path, values=_parquet(path, wanted), lines=None)
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=section.delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            places = [_place(path, header, name) for name in wanted]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataRefused(
                        f"{path} line {reader.line_num}: {len(row)} cells, and the header names {len(header)}; mend "
                        "the row, or declare another delimiter"
                    )
                rows.append([row[place] for place in places])
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataRefused(f"{path} cannot be read as CSV in UTF-8: {error}; write it again") from error
    columns = zip(*rows, strict=True) if rows else ((),) * len(wanted)
    return Columns(path=path, values=dict(zip(wanted, columns, strict=True)), lines=lines)


def _place(path: Path, header: list[str], name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    if header.count(name) > 1:
        raise DataRefused(f"{path} has {header.count(name)} columns {name!r}; rename all but one")
    near = difflib.get_close_matches(name, header, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataRefused(f"{path} has no column {name!r}; {hint}it has {', '.join(header) or 'none at all'}")


def _parquet(path: Path, wanted: list[str]) -> dict[str, Sequence[Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataRefused(
            f"{path} is a Parquet file, which needs pyarrow; pip install 'secure-fcl[parquet]'"
        ) from error
    try:
        file = parquet.ParquetFile(path)
        header = [str(name) for name in file.schema_arrow.names]
        for name in wanted:
            _place(path, header, name)
        table = file.read(columns=list(dict.fromkeys(wanted)))
    except (OSError, ValueError) as error:
        # pyarrow's own errors are of these two kinds.
        raise DataRefused(f"{path} cannot be read as Parquet: {error}; write it again") from error
    return {name: table.column(name).to_pylist() for name in wanted}


def readings(columns: Columns, section: FolderSection) -> Doubles:
    """Return float64 (rows, channels); NaN where a reading is no finite number and `missing` takes that as a gap.

    Raises:
        DataRefused: a reading is no finite number; names the row, the column and what stands there.
    """
    out = np.empty((len(columns), len(section.channels)))
    for place, name in enumerate(section.channels):
        out[:, place] = _numbers(columns.values[name])
    bad = ~np.isfinite(out)
    if bad.any() and section.missing == "refuse":
        row, place = (int(n) for n in np.argwhere(bad)[0])
        name = section.channels[place]
        more = f" ({int(bad.any(axis=1).sum()) - 1} more such rows)" if bad.any(axis=1).sum() > 1 else ""
        raise DataRefused(
            f"{columns.where(row)}: {name} is {_shown(columns.values[name][row])}, not a finite number{more}; mend the "
            "row, or declare missing = 'gap'"
        )
    out[bad.any(axis=1)] = np.nan
    scaled: Doubles = (out - np.array(section.offset)) / np.array(section.scale)
    return scaled


def times(columns: Columns, section: FolderSection) -> Doubles:
    """Return the time of each row in seconds, float64 (rows,); of evenly spaced rows where no column is declared.

    Raises:
        DataRefused: a time is no number, or no date and time; names the row.
    """
    if not section.time:
        return np.arange(len(columns)) / section.rate
    values = columns.values[section.time]
    if section.time_unit == "iso":
        found = np.array([_seconds(value) for value in values], dtype=np.float64)
    else:
        found = _numbers(values) * _SECONDS[section.time_unit]
    bad = ~np.isfinite(found)
    if bad.any():
        row = int(bad.argmax())
        kind = "date and time of ISO 8601" if section.time_unit == "iso" else "finite number"
        raise DataRefused(
            f"{columns.where(row)}: {section.time} is {_shown(values[row])}, not a {kind}; mend the row, or declare "
            "another time_unit"
        )
    return found


def _numbers(values: Sequence[Any]) -> Doubles:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _seconds(value: Any) -> float:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        # Without a zone the machine's own would decide, and change with the season.
        return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds() - (
            offset.total_seconds() if (offset := moment.utcoffset()) else 0.0
        )
    except ValueError:
        return np.nan


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    if isinstance(value, float) and value != value:
        return "NaN"
    return str(value) if isinstance(value, float | int) else repr(value)
