"""Shadow models on disk: plain arrays, named by what they were made from, replaced in one step, never unpickled."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.files import atomic_write

Arrays = Mapping[str, NDArray[Any]]
_KEY = "cache_key"


def cache_key(settings: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 over settings (as sorted JSON) and arrays (name, type, shape, bytes): 64 hexadecimal digits.

    Raises:
        TypeError: a setting is no JSON value.
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"|{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def cached(folder: Path | None, key: str, make: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
    """The arrays under `key` in `folder`, made and stored if they are not there; without a folder, just made.

    A file that is damaged, or holds another key, is made again: it costs time, never a wrong answer.

    Raises:
        StorageError: the folder cannot be written.
    """
    if folder is None:
        return dict(make())
    path = folder / f"shadows-{key[:32]}.npz"
    found = _read(path, key)
    if found is not None:
        return found
    arrays = dict(make())
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_KEY: np.array(key)}, **arrays)
    atomic_write(path, buffer.getvalue())
    return arrays


def _read(path: Path, key: str) -> dict[str, NDArray[Any]] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except Exception:
        # A zip archive can be damaged in more ways than a list of exception types would cover.
        return None
    return arrays if str(arrays.pop(_KEY, None)) == key else None
