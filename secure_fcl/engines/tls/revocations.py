"""Whose certificates hold no more: a file of names and serial numbers, read again whenever it changes."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from evaluation.files import atomic_write
from secure_fcl.engines.tls.certificates import Shown
from secure_fcl.errors import SecureFclError

REVOKED = "revoked.json"
WITHDRAWN = "withdrawn.json"
"""In a device's folder: since when it answers nothing, by its own will."""


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """Names whose every certificate is revoked, and serial numbers (hexadecimal) of single ones."""

    names: frozenset[str] = frozenset()
    serials: frozenset[str] = frozenset()

    def holds(self, shown: Shown) -> bool:
        """Return whether a certificate is not among them."""
        return shown.name not in self.names and shown.serial not in self.serials


def read_revoked(path: Path) -> Revoked:
    """Return what a file says; nothing is revoked where there is none.

    Raises:
        SecureFclError: it is malformed: who is revoked is not guessed.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return Revoked()
    except (OSError, ValueError) as error:
        raise SecureFclError(f"{path} cannot be read ({type(error).__name__}); restore it") from error
    match found:
        case {"revoked": list(names), **more} if more.keys() <= {"serials"}:
            serials = more.get("serials", [])
            if isinstance(serials, list) and _texts((*names, *serials)):
                return Revoked(names=frozenset(names), serials=frozenset(serial.lower() for serial in serials))
    raise SecureFclError(f'{path} is no list of revoked certificates; it holds {{"revoked": [...], "serials": [...]}}')


def revoke(path: Path, names: Collection[str] = (), serials: Collection[str] = ()) -> Revoked:
    """Add names and serial numbers to a file; a running server honours it within a heartbeat.

    Raises:
        SecureFclError: as `read_revoked`.
    """
    before = read_revoked(path)
    after = Revoked(names=before.names | set(names), serials=before.serials | {each.lower() for each in serials})
    written = {"revoked": sorted(after.names), "serials": sorted(after.serials)}
    atomic_write(path, json.dumps(written, indent=2) + "\n")
    return after


class Revocations:
    """A file that is read again when it changes. While it is malformed nobody new is let in."""

    def __init__(self, path: Path | None) -> None:
        """Read the file; None: nothing is ever revoked.

        Raises:
            SecureFclError: as `read_revoked`.
        """
        self._path = path
        self._seen = self._stamp()
        self.now = Revoked() if path is None else read_revoked(path)
        self.readable = True

    def refresh(self) -> bool:
        """Read the file again if it changed; return whether it did. A malformed one leaves what was known."""
        stamp = self._stamp()
        if self._path is None or stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self.now = read_revoked(self._path)
            self.readable = True
        except SecureFclError:
            self.readable = False
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def _texts(values: Collection[object]) -> bool:
    return all(isinstance(value, str) for value in values)
