"""One CSV or Parquet file for each device: rows of readings, cut into windows inside stretches of one label."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataRefused
from secure_fcl.data.folder.columns import ENDINGS, Columns, read_columns, readings, times
from secure_fcl.data.folder.section import FILE, FolderSection
from secure_fcl.data.folder.stretches import Stretch, windows
from secure_fcl.data.labels import LEFT_OUT, codes

Ints = npt.NDArray[np.int64]


def files_of(folder: Path, endings: tuple[str, ...], notes: list[str]) -> list[Path]:
    """Return the files below a folder by name, hidden ones left out; others are noted as not read."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in inside.parts) or inside == Path(FILE):
            continue
        if path.suffix.lower() in endings:
            found.append(path)
        else:
            notes.append(f"{path} is not read: its name ends in none of {', '.join(endings)}")
    return found


def read_tables(folder: Path, section: FolderSection, notes: list[str]) -> tuple[list[Stretch], list[str]]:
    """Return the stretches of all files and the clients that have one.

    A file in the folder is a client of its name; files in a folder inside it belong to the client of that name.

    Raises:
        DataRefused: a file lies deeper, two are of one client and recording, or a row cannot be used.
    """
    found: list[Stretch] = []
    clients: list[str] = []
    for path in files_of(folder, ENDINGS, notes):
        inside = path.relative_to(folder)
        if len(inside.parts) > 2:
            raise DataRefused(f"{path} lies {len(inside.parts)} folders deep; use CLIENT.csv or CLIENT/RECORDING.csv")
        own = len(inside.parts) == 1
        client, recording = (inside.stem, "") if own else (inside.parts[0], inside.stem)
        if own and client in clients:
            raise DataRefused(f"{path}: client {client!r} has another file or a folder; keep one of them")
        clients += [client] * (client not in clients)
        found += _stretches(read_columns(path, section), section, client, recording, notes)
    return found, clients


def _stretches(
    columns: Columns, section: FolderSection, client: str, recording: str, notes: list[str]
) -> Iterator[Stretch]:
    if not len(columns):
        notes.append(f"{columns.path} has no row; client {client!r} has nothing of it")
        return
    signal = readings(columns, section)
    label = codes(
        [str(value).strip() for value in columns.values[section.label]], section.classes, columns.where,
        f"{section.label} (the label)", section.ignore_labels,
    )  # fmt: skip
    names, short = _recordings(columns, section, signal, recording), 0
    parts: dict[str, int] = {}
    for start, stop in _runs(names, label, np.isnan(signal[:, 0])):
        if label[start] == LEFT_OUT or np.isnan(signal[start, 0]):
            continue
        name = names[start]
        cut = windows(signal[start:stop].astype(np.float32), section.window, section.step)
        short += (stop - start) * (not len(cut))
        if len(cut):
            part = parts[name] = parts.get(name, -1) + 1
            yield Stretch(client=client, recording=name, part=part, x=cut, label=int(label[start]))
    if short:
        notes.append(f"{columns.path}: {short} of {len(columns)} rows lie in stretches shorter than a window; left out")


def _recordings(columns: Columns, section: FolderSection, signal: npt.NDArray[np.float64], recording: str) -> list[str]:
    """Return the name of each row's recording; a gap in time, or rows that count as one, begin another.

    Raises:
        DataRefused: time goes back or stands still, or rows are closer than the declared rate; names the row.
    """
    given = columns.values.get(section.recording) if section.recording else None
    base = [recording] * len(columns) if given is None else [_joined(recording, str(v).strip()) for v in given]
    step = np.diff(times(columns, section))
    same = np.array([a == b for a, b in pairwise(base)], dtype=np.bool_)
    for wrong, what in (
        (same & (step <= 0), "does not come after the row before; sort the file, or declare the recording's column"),
        (same & (step < 0.5 / section.rate), f"where rate = {section.rate:g} asks for {1 / section.rate:g} s; declare "
         "another rate or time_unit, or resample the file"),
    ):  # fmt: skip
        if wrong.any():
            row = int(wrong.argmax()) + 1
            raise DataRefused(f"{columns.where(row)}: {section.time} is {step[row - 1]:g} s later, {_tail(what)}")
    # A gap of half a step is rounding; from one and a half on a reading is missing.
    breaks = same & (step > (section.gap or 1.5 / section.rate))
    lost = np.isnan(signal[:, 0])
    breaks |= same & lost[:-1] & ~lost[1:]
    number: dict[str, int] = {}
    out = []
    for row, name in enumerate(base):
        if row == 0 or not same[row - 1] or breaks[row - 1]:
            number[name] = number.get(name, 0) + 1
        out.append(_numbered(name, number[name]))
    return out


def _tail(what: str) -> str:
    return what if what.startswith("where") else f"which {what}"


def _joined(recording: str, value: str) -> str:
    return f"{recording}.{value}" if recording and value else recording or value


def _numbered(name: str, number: int) -> str:
    """Name a recording and those that gaps make of it: trip, trip.2, trip.3; without a name 1, 2, 3."""
    if not name:
        return str(number)
    return name if number == 1 else f"{name}.{number}"


def _runs(names: list[str], label: Ints, lost: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield first and last row + 1 of each stretch of one recording, one label, and readings that are there."""
    start = 0
    for row in range(1, len(names) + 1):
        if row == len(names) or (names[row], label[row], lost[row]) != (names[start], label[start], lost[start]):
            yield start, row
            start = row
