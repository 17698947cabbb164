"""Where a device's journal keeps arrays: in files as they are, or as whoever deploys devices gives it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from secure_fcl.engines.simulation import load_arrays, save_arrays


class ArrayStore(Protocol):
    """Keeps named arrays under a path."""

    def save(self, path: Path, arrays: Mapping[str, Any]) -> str:
        """Write arrays to a file, atomically; return the file's SHA-256."""

    def load(self, path: Path) -> dict[str, Any]:
        """Return what `save` wrote."""


class PlainArrays:
    """Files as they are: of simulated devices."""

    def save(self, path: Path, arrays: Mapping[str, Any]) -> str:
        """See `ArrayStore`."""
        return save_arrays(path, **arrays)

    def load(self, path: Path) -> dict[str, Any]:
        """See `ArrayStore`."""
        return load_arrays(path)


PLAIN = PlainArrays()
