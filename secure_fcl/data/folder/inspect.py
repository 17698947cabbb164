"""A proposal for data.toml from what a folder holds, with every number that was read off the data named as such.

Whoever takes a proposed number over declares it public: what is read off private data is no constant, and nothing
charges for it.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from secure_fcl.data.errors import DataMissing, DataRefused, why_unread
from secure_fcl.data.folder import images, wav
from secure_fcl.data.folder.columns import ENDINGS
from secure_fcl.data.folder.idx_files import find_half
from secure_fcl.data.folder.npz import ARRAYS
from secure_fcl.data.folder.section import LAYOUTS
from secure_fcl.data.folder.tables import files_of
from secure_fcl.data.idx import parse_idx, unpack

_LABELS = ("label", "activity", "class", "target", "y")
_TIMES = ("time", "timestamp", "t", "seconds")
_MOST_CLASSES = 200
UNDECLARED = "to be declared"


@dataclass(frozen=True, eq=False, kw_only=True)
class Proposal:
    """A section for data.toml. read_off: keys whose values come from the data, and from what in it."""

    section: dict[str, Any]
    read_off: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return it as TOML, after comments that say what is not private in it."""
        lines = ["# Proposed by `secure-fcl data inspect`; read it and correct it before it is used."]
        lines += [f"# NON-PRIVATE: {key} was read off {source}." for key, source in self.read_off.items()]
        return "\n".join(lines) + "\n" + tomli_w.dumps(self.section)


def propose(path: str | Path) -> Proposal:
    """Return a data.toml for a folder that has none, from its file names and a look into its files.

    Raises:
        DataMissing: there is no such folder, or nothing in it that is read.
        DataRefused: the first file cannot be read.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataMissing(f"{folder} is not a folder; name the one that holds the data")
    if (folder / ARRAYS).is_file():
        return _npz(folder)
    if any(find_half(folder, half) for half in ("train", "test")):
        return _idx(folder)
    for endings, make in ((ENDINGS, _table), (images.ENDINGS, _images), (wav.ENDINGS, _wav)):
        files = files_of(folder, endings, [])
        if files:
            return make(folder, files)
    raise DataMissing(f"{folder} holds nothing that is read; put CSV, Parquet, {ARRAYS}, IDX, image or WAV files there")


def _table(folder: Path, files: list[Path]) -> Proposal:
    sheets = [path for path in files if path.suffix.lower() == ".csv"]
    if not sheets:
        raise DataRefused(f"{folder} holds Parquet files only; write data.toml by hand, see docs/how-to/own-data.md")
    rows, header = [], list[str]()
    for path in sheets:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                found = list(csv.reader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataRefused(f"{path} cannot be read as CSV in UTF-8: {error}; write it again") from error
        header = header or [name.strip() for name in (found or [[]])[0]]
        rows += [row for row in found[1:] if len(row) == len(header)]
    if not rows:
        raise DataRefused(f"{sheets[0]} and the other files hold no row; give some")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    time = next((name for name in header if name.lower() in _TIMES), "")
    label = next((name for name in header if name.lower() in _LABELS), header[-1])
    channels = [n for n in header if n not in (time, label) and all(_is_number(v) for v in columns[n][:50])]
    classes = sorted({value.strip() for value in columns[label]})[:_MOST_CLASSES]
    rate, rate_from = 1.0, ""
    if time and all(_is_number(v) for v in columns[time]):
        steps = np.diff(np.array(columns[time], dtype=np.float64))
        steps = steps[steps > 0]
        if len(steps):
            rate, rate_from = float(f"{1 / np.median(steps):.3g}"), f"the median step of column {time!r}"
    window = max(4, 2 ** round(math.log2(max(4.0, 2.56 * rate))))
    section = {
        "kind": "table", "classes": classes, "units": UNDECLARED, "channels": channels, "time": time, "label": label,
        "rate": rate, "window": window, "stride": window // 2, "test_share": 0.2, "test_by": "stretch",
    }  # fmt: skip
    read = {"classes": f"column {label!r}", "channels": "the header and the first rows"}
    return Proposal(section=section, read_off=read | ({"rate": rate_from} if rate_from else {}))


def _npz(folder: Path) -> Proposal:
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as archive:
            classes = [str(value) for value in np.unique(archive["y"]).tolist()]
            halves = {"train", "test"} & set(archive.files)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataRefused(
            f"{folder / ARRAYS} cannot be read: {why_unread(error)}; write x and y with numpy.savez"
        ) from error
    share = {} if halves else {"test_share": 0.2}
    return Proposal(
        section={"kind": "npz", "classes": classes, "units": UNDECLARED, **share}, read_off={"classes": "array y"}
    )


def _idx(folder: Path) -> Proposal:
    found = {half: paths for half in ("train", "test") if (paths := find_half(folder, half))}
    values = {
        int(v) for _, path in found.values() for v in np.unique(parse_idx(unpack(path.read_bytes(), 0, path), 1, path))
    }
    share = {} if "test" in found else {"test_share": 0.2}
    classes = [str(value) for value in sorted(values)]
    return Proposal(section={"kind": "idx", "classes": classes, **share}, read_off={"classes": "the files of labels"})


def _images(folder: Path, files: list[Path]) -> Proposal:
    from PIL import Image

    try:
        with Image.open(files[0]) as first:
            size, colour = [first.height, first.width], "grey" if first.mode in ("1", "L", "I;16") else "rgb"
    except (OSError, ValueError) as error:
        raise DataRefused(f"{files[0]} is no readable image: {error}; replace it, or move it out") from error
    layout, classes = _layout(folder, files)
    section = {"kind": "images", "classes": classes, "size": size, "colour": colour, "layout": layout}
    read = {"classes": "the folders' names", "size": str(files[0]), "colour": str(files[0])}
    return Proposal(section=section | _share(layout), read_off=read)


def _wav(folder: Path, files: list[Path]) -> Proposal:
    from scipy.io import wavfile

    try:
        rate, values = wavfile.read(files[0])
    except Exception as error:
        # scipy reports broken headers as errors of many kinds.
        raise DataRefused(f"{files[0]} is no readable WAV file ({type(error).__name__}); replace it") from error
    layout, classes = _layout(folder, files)
    channels = [f"channel{number}" for number in range(1 if values.ndim == 1 else values.shape[1])]
    section = {
        "kind": "wav", "classes": classes, "channels": channels, "rate": rate, "window": rate, "stride": rate,
        "layout": layout,
    }  # fmt: skip
    read = {"classes": "the folders' names", "channels": str(files[0]), "rate": str(files[0])}
    return Proposal(section=section | _share(layout), read_off=read)


def _layout(folder: Path, files: list[Path]) -> tuple[str, list[str]]:
    parts = [path.relative_to(folder).parts[:-1] for path in files]
    depth = len(parts[0])
    if depth == 0 or any(len(one) != depth for one in parts):
        raise DataRefused(f"{files[0]} and others do not lie equally deep; arrange them as {' or '.join(LAYOUTS)}")
    halves = {one[0] for one in parts} <= {"train", "test"}
    kinds = [layout for layout in LAYOUTS if layout.count("/") == depth - 1 and layout.startswith("split") == halves]
    if not kinds:
        raise DataRefused(f"{files[0]} lies {depth} folders deep; arrange the files as {' or '.join(LAYOUTS)}")
    return kinds[0], sorted({one[-1] for one in parts})


def _share(layout: str) -> dict[str, float]:
    return {} if layout.startswith("split") else {"test_share": 0.2}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True
