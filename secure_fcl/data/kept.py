"""Arrays that a run was handed from Python, kept as one .npz in its own folder, where workers and --resume read them.

The configuration names them `data.name = "arrays"`; the file stands in for the data set that a name would load.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from secure_fcl.data.dataset import COLUMNS, Dataset, columns_of
from secure_fcl.data.errors import DataDamaged, DataMissing

ARRAYS = "arrays"
FILE = "data.npz"
_WORDS = ("name", "units", "source", "digest")


def packed(data: Dataset) -> bytes:
    """Return a data set as the content of an .npz file; it holds the examples themselves."""
    buffer = io.BytesIO()
    words = {name: np.array(getattr(data, name)) for name in _WORDS}
    np.savez(
        buffer, allow_pickle=False, **columns_of(data), **words, classes=np.array(data.classes),
        client_names=np.array(data.client_names, dtype=np.str_),
        windows_per_reading=np.array(data.windows_per_reading),
    )  # fmt: skip
    return buffer.getvalue()


def read_kept(folder: str | Path | None) -> Dataset:
    """Return the data set that `packed` made, from `data.npz` in a folder.

    Raises:
        DataMissing: there is no such file, or no folder is named.
        DataDamaged: it is no such file, or its digest is not that of its arrays.
    """
    path = Path(folder or "") / FILE
    if not folder or not path.is_file():
        raise DataMissing(
            f"data.name = {ARRAYS!r} stands for arrays that secure_fcl.run(data=...) keeps in the run's own folder, "
            f"and {path if folder else 'none'} is there; give them again in a new run"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            columns: dict[str, Any] = {name: file[name] for name in COLUMNS}
            words = {name: str(file[name]) for name in _WORDS}
            found = Dataset(
                **columns,
                name=words["name"],
                classes=tuple(str(name) for name in file["classes"]),
                units=words["units"],
                windows_per_reading=int(file["windows_per_reading"]),
                client_names=tuple(str(name) for name in file["client_names"]),
                source=words["source"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataDamaged(f"{path} is damaged ({error}); restore it from a copy of the run's folder") from error
    if found.digest != words["digest"]:
        raise DataDamaged(f"{path} is not what the run began with; restore it from a copy of the run's folder")
    return found
