"""Explicit download of a data set: never implicit, always checked, never half written."""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from secure_fcl.data.errors import DataDamaged, DownloadFailed
from secure_fcl.data.places import data_dirs, read_verified
from secure_fcl.data.sources import Archive, DataFile, Source

TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 16


class Readable(Protocol):
    """The body of an answer."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


Opener = Callable[[str], AbstractContextManager[Readable]]
Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes so far and the bytes expected."""


def open_url(url: str) -> AbstractContextManager[Readable]:
    """Open an http or https address."""
    if not url.startswith(("http://", "https://")):
        raise DownloadFailed(f"{url} is neither http nor https")
    request = urllib.request.Request(url, headers={"User-Agent": "secure-fcl"})
    answer: AbstractContextManager[Readable] = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    return answer


def no_progress(_name: str, _done: int, _total: int) -> None:
    """Report nothing."""


def fetch_source(
    source: Source,
    data_dir: str | Path | None = None,
    *,
    progress: Progress = no_progress,
    opener: Opener = open_url,
) -> Path:
    """Download what is missing into torchvision's folder below the first data directory.

    Each file is written under a temporary name in the same folder, compared with its checksum, and only then
    renamed; an interrupted download leaves nothing behind. Intact files are kept;
    damaged ones are replaced once the new ones have arrived.

    Returns:
        The folder that now holds all files.

    Raises:
        DownloadFailed: no mirror delivered a file (lists each one's reason), or the folder cannot be written.
    """
    folder = data_dirs(data_dir)[0] / source.folder
    missing = [file for file in source.files if not _intact(folder, file)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if missing and source.archive is not None:
            _download(source, folder / source.archive.name, source.archive, progress, opener)
            _extract(folder / source.archive.name, source.archive, missing, folder)
        elif missing:
            for file in missing:
                _download(source, folder / f"{file.name}.gz", file, progress, opener)
        for file in missing:
            (folder / file.name).unlink(missing_ok=True)
    except OSError as error:
        raise DownloadFailed(f"{folder} cannot be written: {error}; name another folder with --data-dir") from error
    return folder


def _intact(folder: Path, file: DataFile) -> bool:
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        if path.is_file():
            try:
                read_verified(path, file)
            except DataDamaged:
                continue
            return True
    return False


def _download(source: Source, target: Path, item: DataFile | Archive, progress: Progress, opener: Opener) -> None:
    size, md5 = (item.size, item.md5) if isinstance(item, Archive) else (item.packed_size, item.packed_md5)
    if target.is_file() and _md5_of(target) == md5:
        return
    reasons = []
    for mirror in source.mirrors:
        url = mirror + target.name
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part:
            try:
                found = _copy(url, part.write, target.name, size, progress, opener)
                part.close()
                if found == md5:
                    Path(part.name).replace(target)
                    return
                reasons.append(f"{url}: md5 {found} instead of {md5}")
            except (OSError, HTTPException) as error:
                reasons.append(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}")
            finally:
                Path(part.name).unlink(missing_ok=True)
    raise DownloadFailed(
        f"{target.name} could not be downloaded:\n"
        + "\n".join(f"  {reason}" for reason in reasons)
        + f"\nwithout a network, copy it to {target} (md5 {md5}) from a machine that has one"
    )


def _copy(url: str, write: Callable[[bytes], object], name: str, size: int, progress: Progress, opener: Opener) -> str:
    """Copy the answer and return its md5; stop at twice the expected size, which cannot match any more."""
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    with opener(url) as answer:
        while (block := answer.read(_BLOCK)) and done <= 2 * size:
            digest.update(block)
            write(block)
            done += len(block)
            progress(name, done, size)
    return digest.hexdigest()


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _extract(zipped: Path, archive: Archive, files: list[DataFile], folder: Path) -> None:
    with zipfile.ZipFile(zipped) as content:
        for file in files:
            name = f"{file.name}.gz"
            try:
                packed = content.read(f"{archive.folder}/{name}")
            except KeyError:
                raise DownloadFailed(
                    f"{zipped} does not hold {archive.folder}/{name}; remove it and fetch again"
                ) from None
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False) as part:
                part.write(packed)
            Path(part.name).replace(folder / name)
