"""Files that survive a crash: replaced as a whole, or records of which at most the last is lost.

JSON is strict: NaN and infinities become null on writing, and a file that spells them out is refused on
reading.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evaluation.errors import CorruptRecordError, SerialisationError, StorageError
from evaluation.strict_json import from_json, to_json

Record = dict[str, Any]

_REMEDIES = {
    errno.ENOSPC: "free disk space and run again",
    errno.EDQUOT: "free disk space or raise the quota and run again",
    errno.EACCES: "choose a folder you may write to, or change its permissions",
    errno.EPERM: "choose a folder you may write to, or change its permissions",
    errno.EROFS: "the disk is mounted read-only; choose another folder",
    errno.ENOENT: "create the folder first, or correct the path",
    errno.ENOTDIR: "a part of the path is a file; correct the path",
    errno.EISDIR: "the path is a folder; name a file",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}


def _storage_error(path: Path, error: OSError) -> StorageError:
    remedy = _REMEDIES.get(error.errno or 0, "check the disk and the path")
    return StorageError(path, error.strerror or type(error).__name__, remedy)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def append_synced(descriptor: int, data: bytes) -> None:
    """Append to a file and force it to disk; on failure the file ends where it ended before.

    Raises:
        OSError: the system refused.
    """
    before = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def atomic_write(path: Path, data: bytes | str, *, mode: int = 0o666) -> None:
    """Replace `path` by `data` (text as UTF-8) in one step: a crash leaves the old file or the new one.

    The temporary file lies in the same folder, is flushed to disk before it takes the name, and is removed
    on failure.

    Args:
        path: the file; its folder must exist.
        data: the whole content.
        mode: permissions of the file, less the process's umask; 0o600 for secrets.

    Raises:
        StorageError: the system refused; the message names the path and the remedy.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _storage_error(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented strict JSON, atomically.

    Raises:
        SerialisationError: a type that JSON cannot hold.
        StorageError: the system refused.
    """
    atomic_write(path, to_json(value, indent=2) + "\n")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _storage_error(path, error) from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        SerialisationError: not UTF-8.
        StorageError: the file cannot be read.
    """
    try:
        return _read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise SerialisationError(f"{path}: not UTF-8 text ({error}); restore the file") from error


def read_json(path: Path) -> Any:
    """The value in a strict JSON file.

    Raises:
        SerialisationError: not UTF-8, not JSON, or NaN and Infinity spelt out.
        StorageError: the file cannot be read.
    """
    try:
        return from_json(read_text(path))
    except SerialisationError as error:
        raise SerialisationError(f"{path}: {error}; restore the file or run again") from error


@dataclass(frozen=True)
class Records:
    """The records of a file, in order; `torn` says what was left out at its end, None if nothing was."""

    records: tuple[Record, ...]
    torn: str | None
    intact_bytes: int


def _parse(line: bytes) -> Record | None:
    try:
        record = from_json(line.decode())
    except (UnicodeDecodeError, SerialisationError):
        return None
    return record if isinstance(record, dict) else None


def read_jsonl(path: Path) -> Records:
    """Every record (one JSON object a line; empty lines are skipped) of a file a crash may have cut short.

    Only a last line without its newline can be torn, since a newline is written with its record: it is left
    out and `Records.torn` says so. If such a line is a whole object it is kept. A bad line anywhere else is
    an error.

    Raises:
        CorruptRecordError: a line before the last, or a last line with its newline, is no JSON object.
        StorageError: the file cannot be read.
    """
    data = _read_bytes(path)
    *lines, tail = data.split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            raise CorruptRecordError(f"{path}, line {number}: not a JSON object; restore the file from a copy")
        records.append(record)
    if not tail:
        return Records(tuple(records), None, len(data))
    record = _parse(tail)
    if record is not None:
        return Records((*records, record), None, len(data))
    torn = f"{path}, line {len(lines) + 1}: {len(tail)} bytes of an unfinished record were left out"
    return Records(tuple(records), torn, len(data) - len(tail))


class JsonLines:
    """A record file for appending: each record is on disk before `append` returns.

    Opening an existing file cuts off a torn last line, which `repaired` then reports. One writer at a time.

    Raises:
        CorruptRecordError: the file holds a bad line that is not a torn end.
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.repaired: str | None = None
        fresh = not path.exists()
        if not fresh:
            found = read_jsonl(path)
            self.repaired = found.torn
        try:
            self._file = path.open("ab", buffering=0)
            if fresh:
                sync_folder(path.parent)
            elif self.repaired is not None:
                self._file.truncate(found.intact_bytes)
            elif found.intact_bytes and not path.read_bytes().endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise _storage_error(path, error) from error

    def append(self, record: Mapping[str, object]) -> None:
        """Write one record and force it to disk; on failure the file ends where it ended before.

        Raises:
            SerialisationError: a value that JSON cannot hold; nothing is written.
            StorageError: the system refused.
        """
        line = (to_json(dict(record)) + "\n").encode()
        try:
            append_synced(self._file.fileno(), line)
        except OSError as error:
            raise _storage_error(self._path, error) from error

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
