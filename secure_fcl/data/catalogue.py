"""The data sets by name: what there is, where it lies, whether it is intact, and loading it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crypto.errors import CodeNotFound
from crypto.protocols.outside import file_of, load_code, names_code
from secure_fcl.data import hapt, kept
from secure_fcl.data.arrays import as_dataset
from secure_fcl.data.dataset import NO_CLIENT, Dataset
from secure_fcl.data.digits import load_digits
from secure_fcl.data.errors import DataDamaged, DataError, DataMissing, DataRefused, DataUnknown, NotPublished
from secure_fcl.data.fetch import Opener, Progress, fetch_source, no_progress, open_url
from secure_fcl.data.idx import parse_idx
from secure_fcl.data.places import NOT_PUBLISHED, FileCheck, find, folders, read_verified
from secure_fcl.data.sources import SOURCES, Source

NAMES: tuple[str, ...] = ("hapt", "digits", *(source.name for source in SOURCES))
"""Every name that `load` knows."""


@dataclass(frozen=True)
class DatasetStatus:
    """One row of the list: `state` is "shipped", "found" (not yet verified) or "missing"."""

    name: str
    state: str
    where: str
    remedy: str


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read a data set by name.

    Args:
        name: One of `NAMES`, or `module:name` of what `as_dataset` takes, or of a function without arguments that
            returns such. It is imported, which runs that module's code.
        data_dir: Searched before the directory that SECURE_FCL_DATA names and ~/.cache/secure-fcl. Has no
            effect on "hapt" and "digits", which come with the installation.

    Raises:
        DataUnknown: there is no such data set, or `module:name` is none.
        DataMissing: its files are in none of the places that the message names. Nothing is downloaded.
        DataDamaged: a header or a label is wrong; `NotPublished` where a size or checksum is another one.
    """
    if names_code(name):
        return own_data(name, "data.name")
    match name:
        case "hapt":
            return hapt.load_hapt()
        case "digits":
            return load_digits()
        case kept.ARRAYS:
            return kept.read_kept(data_dir)
        case _:
            return load_source(source_of(name), data_dir)


def own_data(reference: str, key: str) -> Dataset:
    """Return the data set of a user's own code, under the name that the configuration gives it.

    Args:
        reference: `module:name` of what `as_dataset` takes, or of a function without arguments that returns such.
        key: of the configuration, for the sentence of an error.

    Raises:
        DataUnknown: it cannot be imported, fails, or is nothing that `as_dataset` takes.
        DataError: what the code itself raises.
    """
    try:
        found = load_code(reference)
    except CodeNotFound as error:
        raise DataUnknown(f"{key} = {error}") from error
    where = f"{key} = {reference!r}: {reference.partition(':')[2]} in {file_of(reference)}"
    made = callable(found)
    if callable(found):
        try:
            found = found()
        except DataError:
            raise
        except Exception as error:
            raise DataUnknown(f"{where} fails with {type(error).__name__}: {error}; mend it there") from error
    if found is None or isinstance(found, str | int | float | list | np.ndarray):
        raise DataUnknown(
            f"{where} {'returns what is' if made else 'is'} of type {type(found).__name__}; it must be a "
            "secure_fcl.data.Dataset, something that secure_fcl.data.as_dataset takes, or a function without arguments "
            "that returns one"
        )
    # Neither name nor digest is the code's to choose: both tell one data set from another on certificates.
    try:
        return as_dataset(found, name=reference)
    except DataRefused as error:
        raise DataUnknown(f"{where}: {error}") from error


def list_datasets(data_dir: str | Path | None = None) -> tuple[DatasetStatus, ...]:
    """State of every data set that comes with the program; looks whether files exist and reads none."""
    rows = [
        DatasetStatus("hapt", "shipped", str(hapt.PATH), ""),
        DatasetStatus("digits", "shipped", "scikit-learn", ""),
    ]
    for source in SOURCES:
        try:
            where = next(iter(find(source, data_dir).values())).parent
            rows.append(DatasetStatus(source.name, "found", str(where), ""))
        except DataMissing:
            where = folders(source, data_dir)[0]
            rows.append(DatasetStatus(source.name, "missing", str(where), f"secure-fcl data fetch {source.name}"))
    return tuple(rows)


def own_status(name: str) -> DatasetStatus:
    """State of a data set of one's own; looks whether its file exists and imports nothing.

    Raises:
        DataUnknown: the name is not of the form `module:name`.
    """
    if not names_code(name):
        raise DataUnknown(f"{name!r} is not of the form module:name; without a name all others are listed")
    path = file_of(name)
    remedy = f"secure-fcl data verify {name}" if path else "install its module, or start in the folder that holds it"
    return DatasetStatus(name, "own code" if path else "missing", str(path or ""), remedy)


def verify(name: str, data_dir: str | Path | None = None) -> tuple[FileCheck, ...]:
    """Read every file of a data set and compare it with what is published; reports instead of raising.

    Raises:
        DataUnknown: there is no such data set.
    """
    if names_code(name):
        data = load(name)
        detail = f"{len(data)} examples, sha256 of the arrays {data.digest}; nothing is published to compare it with"
        return (FileCheck(name, "unverified", file_of(name), detail),)
    if name == "digits":
        load_digits()
        return (FileCheck("digits", "unverified", None, "part of scikit-learn"),)
    if name == "hapt":
        try:
            hapt.load_hapt()
        except (DataMissing, DataDamaged) as error:
            state = "missing" if isinstance(error, DataMissing) else "damaged"
            return (FileCheck("hapt.npz", state, hapt.PATH, str(error)),)
        return (FileCheck("hapt.npz", "verified", hapt.PATH, f"sha256 {hapt.SHA256}"),)
    source = source_of(name)
    try:
        paths = find(source, data_dir)
    except DataMissing as error:
        # The sentence once, and not beside every file.
        details = [str(error), *(f"{file.expected}" for file in source.files[1:])]
        return tuple(
            FileCheck(file.name, "missing", None, detail) for file, detail in zip(source.files, details, strict=True)
        )
    checks = []
    for file in source.files:
        try:
            checks.append(read_verified(paths[file.name], file)[1])
        except DataDamaged as error:
            state = NOT_PUBLISHED if isinstance(error, NotPublished) else "damaged"
            checks.append(FileCheck(file.name, state, paths[file.name], str(error)))
    return tuple(checks)


def fetch(
    name: str,
    data_dir: str | Path | None = None,
    *,
    progress: Progress = no_progress,
    opener: Opener = open_url,
) -> Path | None:
    """Download a data set into the first data directory; nothing to do for the two that are installed.

    Returns:
        The folder that holds the files, or None for "hapt" and "digits".

    Raises:
        DataUnknown: there is no such data set.
        DownloadFailed: no mirror delivered a file with the expected checksum.
    """
    if names_code(name):
        raise DataUnknown(f"{name!r} is code of your own, which loads what it needs; there is nothing to fetch")
    if name in ("hapt", "digits"):
        return None
    return fetch_source(source_of(name), data_dir, progress=progress, opener=opener)


def source_of(name: str) -> Source:
    """The files of a data set that is read from a data directory.

    Raises:
        DataUnknown: there is no such data set.
    """
    for source in SOURCES:
        if source.name == name:
            return source
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataUnknown(f"no data set is called {name!r}; {hint}there are {', '.join(NAMES)}, or module:name of your own")


def load_source(source: Source, data_dir: str | Path | None = None) -> Dataset:
    """Read the IDX files of one source.

    Returns:
        x float32 (n, 1, rows, columns), bytes divided by 255, upright; training images first; client -1
        throughout; every image is its own run. An image of 28 x 28 takes 3 kB (EMNIST by class: 2.5 GB).

    Raises:
        DataMissing: see `load`.
        DataDamaged: see `load`.
    """
    paths = find(source, data_dir)
    arrays = [
        parse_idx(read_verified(paths[file.name], file)[0], dimensions, paths[file.name])
        for file, dimensions in zip(source.files, (3, 1, 3, 1), strict=True)
    ]
    for images, labels, file in zip(arrays[::2], arrays[1::2], source.files[::2], strict=True):
        if len(images) != len(labels):
            raise DataDamaged(
                f"{paths[file.name]} holds {len(images)} images for {len(labels)} labels; fetch both again"
            )
    pixels = np.concatenate([arrays[0], arrays[2]])
    if source.transposed:
        pixels = pixels.transpose(0, 2, 1)
    n = len(pixels)
    train = np.arange(n) < len(arrays[0])
    return Dataset(
        name=source.name,
        x=np.divide(pixels[:, None], np.float32(255), dtype=np.float32),
        y=np.concatenate([arrays[1], arrays[3]]).astype(np.int64) - source.first_label,
        client=np.full(n, NO_CLIENT, dtype=np.int64),
        session=np.zeros(n, dtype=np.int64),
        run=np.arange(n, dtype=np.int64),
        position=np.zeros(n, dtype=np.int64),
        train=train,
        test=~train,
        classes=source.classes,
        units="ink, 0 (none) to 1 (byte 255)",
        source=source.citation,
    )
