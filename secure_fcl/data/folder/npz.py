"""Arrays in one data.npz, of one's own or written by `save_dataset`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from evaluation.files import atomic_write
from secure_fcl.data.arrays import check_halves, dataset_of_columns
from secure_fcl.data.dataset import COLUMNS, Dataset, columns_of
from secure_fcl.data.errors import DataDamaged, DataMissing, DataRefused, why_unread
from secure_fcl.data.folder.section import FILE, FolderSection
from secure_fcl.data.labels import class_names
from secure_fcl.data.split import falls_to_test

ARRAYS = "data.npz"


def save_dataset(data: Dataset, path: str | Path) -> Path:
    """Write a data set as a folder that `data.source = "folder"` reads back, bit for bit and with the same digest.

    Args:
        data: the data set.
        path: of the folder, which is made; what lies there under these two names is replaced.

    Returns:
        The folder: data.npz with all arrays, and data.toml with names, units and source.

    Raises:
        DataRefused: class or client names that data.toml cannot hold: empty, or one twice.
        evaluation.errors.StorageError: it cannot be written.
    """
    folder = Path(path)
    names = [class_names(data.classes), class_names(data.client_names) if data.client_names else ()]
    about: dict[str, Any] = {
        "kind": "npz", "coded": True, "classes": list(names[0]), "clients": list(names[1]),
        "units": data.units or "as given",
        "source": data.source, "windows_per_reading": data.windows_per_reading,
    }  # fmt: skip
    content = io.BytesIO()
    columns: dict[str, Any] = {**columns_of(data)}
    np.savez_compressed(content, **columns)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / ARRAYS, content.getvalue())
    # Last: a folder without it is no data set, so nothing is ever half there.
    atomic_write(folder / FILE, tomli_w.dumps(about))
    return folder


def read_npz(folder: Path, section: FolderSection, name: str) -> Dataset:
    """Return the data set of data.npz: arrays x and y, and perhaps client, session, run, position, train and test.

    Raises:
        DataMissing: there is no data.npz.
        DataRefused: it cannot be read, or its arrays do not fit each other or what is declared.
    """
    path = folder / ARRAYS
    arrays: dict[str, Any] = _read(path)
    try:
        if section.coded:
            return Dataset(
                name=name, classes=section.classes, client_names=section.clients, units=section.units,
                source=section.source, windows_per_reading=section.windows_per_reading,
                **{key: arrays[key] for key in COLUMNS},
            )  # fmt: skip
        return _own(arrays, section, name)
    except KeyError as error:
        raise DataRefused(f"{path} lacks the array {error}, which coded = true promises; save it again") from error
    except (DataRefused, DataDamaged) as error:
        raise DataRefused(f"{path}: {error}") from error


def _own(arrays: dict[str, npt.NDArray[Any]], section: FolderSection, name: str) -> Dataset:
    if not {"test", "train"} & set(arrays):
        _draw_test(arrays, section)
    elif section.test_share or section.test_clients or section.test_recordings:
        raise DataRefused("the file has a test or train mask, and data.toml declares test examples too; keep one")
    return dataset_of_columns(
        arrays, name=name, classes=section.classes, clients=section.clients, units=section.units,
        source=section.source, windows_per_reading=section.windows_per_reading, ignored=section.ignore_labels,
    )  # fmt: skip


def _draw_test(arrays: dict[str, npt.NDArray[Any]], section: FolderSection) -> None:
    n = len(arrays["y"])
    client = [str(c) for c in arrays.get("client", np.full(n, "")).tolist()]
    run = [str(r) for r in arrays.get("run", np.arange(n)).tolist()]
    mask = np.array([
        c in section.test_clients or f"{c}/{r}" in section.test_recordings
        or falls_to_test(f"{c}/{r}", section.test_share) for c, r in zip(client, run, strict=True)
    ], dtype=np.bool_)  # fmt: skip
    check_halves(~mask, mask)
    arrays["test"] = mask


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise DataMissing(f"{path} is not there; put the arrays x and y into a file of this name")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        # A single .npy under this name has no .files.
        raise DataRefused(
            f"{path} cannot be read: {why_unread(error)}; write it with numpy.savez, without pickled objects"
        ) from error
    for name in ("x", "y"):
        if name not in found or found[name].ndim == 0:
            raise DataRefused(f"{path} has no array {name!r}, only {', '.join(found) or 'none'}; write x and y")
    unknown = sorted(set(found) - set(COLUMNS))
    if unknown:
        raise DataRefused(f"{path} has an array {unknown[0]!r}; the arrays are {', '.join(COLUMNS)}")
    return found
