"""The number of the format of a run folder, so that a version that cannot read one says so and names one that can."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from secure_fcl.errors import RunFolderError

#: Raised when a version writes what an older one would misread; `OLDEST` when one can no longer be read.
FORMAT, OLDEST = 1, 1


def require_readable(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse a run folder in a format that this version does not read.

    A folder without a number is of before there was one, and is read like the first.

    Args:
        path: of the folder.
        about: its environment.json: `format`, and in `packages` the version that wrote it.

    Raises:
        RunFolderError: names the format, those that are read, and the version that wrote it.
    """
    found = about.get("format", 1)
    if type(found) is int and OLDEST <= found <= FORMAT:
        return
    packages = about.get("packages")
    wrote = packages.get("secure-fcl") if isinstance(packages, Mapping) else None
    read = f"format {FORMAT}" if OLDEST == FORMAT else f"formats {OLDEST} to {FORMAT}"
    raise RunFolderError(
        f"run folder {path} is in format {found!r}, and secure-fcl {metadata.version('secure-fcl')} reads {read}; open "
        f"it with {f'secure-fcl {wrote}' if isinstance(wrote, str) else 'the version'} that wrote it"
    )
