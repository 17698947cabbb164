"""Where data files are looked for, and whether what lies there is what it should be."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from secure_fcl.data.errors import DataMissing, NotPublished
from secure_fcl.data.idx import is_gzip, unpack
from secure_fcl.data.sources import DataFile, Source

VARIABLE = "SECURE_FCL_DATA"
"""Environment variable that names the data directory."""


NOT_PUBLISHED = "not the published file"
"""State of a file that has the name of a published one and other content."""

_REMEDY = 'fetch it again, or read a file of your own with data.source = "folder"'


@dataclass(frozen=True)
class FileCheck:
    """One file of a data set: `state` is "verified", "unverified" (readable, but no checksum is published for
    this form), "missing", "damaged" or `NOT_PUBLISHED`; `detail` says which checksum or what is wrong.
    """

    name: str
    state: str
    path: Path | None
    detail: str


def data_dirs(data_dir: str | Path | None = None) -> tuple[Path, ...]:
    """The data directories in the order in which they are searched.

    `data_dir` if given (an empty string counts as not given), the directory that SECURE_FCL_DATA names if
    set, and ~/.cache/secure-fcl. The first is also where `fetch` writes.
    """
    named = [str(data_dir or ""), os.environ.get(VARIABLE, "")]
    dirs = [Path(one).expanduser() for one in named if one]
    return tuple(dict.fromkeys([*dirs, Path("~/.cache/secure-fcl").expanduser()]))


def find(source: Source, data_dir: str | Path | None = None) -> dict[str, Path]:
    """Find the four files, all in the first folder that holds every one of them.

    Below each directory of `data_dirs`, torchvision's folder and one named like the data set are searched, then the
    directory itself: MNIST and Fashion-MNIST use the same file names, so what lies there is told apart by its checksum
    alone. Each name may be spelled as in `spellings`.

    Raises:
        DataMissing: names the folders that were looked in, what the nearest of them lacks, and the remedy.
    """
    looked = [(folder, held(source, folder)) for folder in folders(source, data_dir)]
    for _, found in looked:
        if len(found) == len(source.files):
            return found
    folder, found = max(looked, key=lambda one: len(one[1]))
    lacks = ", ".join(file.name for file in source.files if file.name not in found)
    near = f"{folder} holds {len(found)} of its {len(source.files)} files and lacks {lacks}; " if found else ""
    raise DataMissing(
        f"data set {source.name!r} was not found: {near}looked in {', '.join(str(folder) for folder, _ in looked)} for "
        f"{', '.join(file.name for file in source.files)}, plain or gzipped; copy them to one of these folders, set "
        f"{VARIABLE}, or run: secure-fcl data fetch {source.name}"
    )


def folders(source: Source, data_dir: str | Path | None = None) -> list[Path]:
    """Every folder that `find` searches, in order."""
    roots = data_dirs(data_dir)
    return [root / below for root in roots for below in (source.folder, source.name)] + list(roots)


def held(source: Source, folder: Path) -> dict[str, Path]:
    """Return which files of a source a folder holds, by their published names."""
    found = {}
    for file in source.files:
        hit = next((path for path in spellings(folder, file.name) if path.is_file()), None)
        if hit is not None:
            found[file.name] = hit
    return found


def spellings(folder: Path, name: str) -> list[Path]:
    """Return the paths that a file may have in a folder, unpacked ones first.

    As published; with a dot before "idx", as some programs unpack it; and in a folder of its name, as archives do.
    """
    names = (name, name.replace("-idx", ".idx"))
    return [
        folder / path for ending in ("", ".gz") for one in names for path in (f"{one}{ending}", f"{one}/{one}{ending}")
    ]


def read_verified(path: Path, file: DataFile) -> tuple[bytes, FileCheck]:
    """Read and unpack one file and compare it with what is published.

    Returns:
        The unpacked content, and a check whose state is "verified" or "unverified".

    Raises:
        DataMissing: it cannot be read.
        NotPublished: a checksum or the size is another one.
        DataDamaged: it cannot be unpacked.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}; mend its permissions or fetch it") from None
    packed = is_gzip(raw)
    content = unpack(raw, file.size, path)
    if len(content) != file.size:
        raise NotPublished(
            f"{path} is not the published {file.name}: {len(content)} bytes unpacked instead of {file.size}; {_REMEDY}"
        )
    found = _md5(content) if file.md5 else _md5(raw) if packed and file.packed_md5 else ""
    wanted = file.md5 or file.packed_md5
    if not found:
        return content, FileCheck(file.name, "unverified", path, "no checksum is published for this form")
    if found != wanted:
        raise NotPublished(f"{path} is not the published {file.name}: md5 {found} instead of {wanted}; {_REMEDY}")
    return content, FileCheck(file.name, "verified", path, f"md5 {found}")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
