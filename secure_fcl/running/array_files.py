"""Array files of a run folder that are no arrays: a pickle in their place would run code wherever it is unpickled."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

_ENDINGS = (".npz", ".npy")
#: First byte of a pickle of protocol 2 or later, with which no archive and no array begins.
_PICKLE = b"\x80"
#: More than any header of an array has: numpy refuses longer ones.
_HEADER = 1 << 14


def array_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder that is named like arrays, sorted."""
    yield from (path for path in sorted(folder.rglob("*")) if path.suffix in _ENDINGS and path.is_file())


def what_is_wrong(path: Path) -> str | None:
    """Return why a file holds no plain arrays, None if its headers say that it does; nothing of it is unpickled.

    Only headers are read: cut or changed numbers are for a digest to find.
    """
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return _of_one(file)
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    if (why := _of_one(member)) is not None:
                        return f"its part {name!r} {why}"
        return None
    # A zip archive can be damaged in more ways than a list of exception types would cover.
    except Exception as error:
        return "is a pickle" if _is_pickle(path) else f"is missing or damaged ({type(error).__name__}: {error})"


def _of_one(file: IO[bytes]) -> str | None:
    start = io.BytesIO(file.read(_HEADER))
    if start.getvalue()[:1] == _PICKLE:
        return "is a pickle"
    # Version 3 differs from 2 in the encoding of names alone, and no array of a run has any.
    read = npy.read_array_header_1_0 if npy.read_magic(start) == (1, 0) else npy.read_array_header_2_0
    return "is a pickle of objects" if read(start)[2].hasobject else None


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(1) == _PICKLE
    except OSError:
        return False
