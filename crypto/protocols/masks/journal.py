"""What a client has answered, on record before the answer leaves, so that a crash cannot make it answer twice."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from crypto.protocols.masks.errors import JournalError


class MemoryJournal:
    """A journal that lasts as long as the process: for simulations, where a crash ends all clients."""

    def __init__(self) -> None:
        self._entries: set[str] = set()

    def claim(self, entry: str) -> bool:
        """See `crypto.protocols.entry.Journal.claim`."""
        if entry in self._entries:
            return False
        self._entries.add(entry)
        return True

    def holds(self, entry: str) -> bool:
        """See `crypto.protocols.entry.Journal.holds`."""
        return entry in self._entries


class FileJournal:
    """A journal in an append-only file of one line an entry, synced to the disk before `claim` returns.

    A last line that a crash cut short counts as recorded: the client errs on the side of silence. One open journal at a
    time: another one, in this process or another, would not see what this one records.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file (mode 0600), and lock it until `close` or the end of the process.

        Raises:
            JournalError: it cannot be opened, or is open already.
        """
        self._path = path
        try:
            # Only here, so that everything that needs no journal works where there is none, as on Windows.
            import fcntl
        except ImportError:
            raise JournalError(
                f"the journal {path} needs the file locks of Linux or macOS; run there, or in WSL"
            ) from None
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except (OSError, ValueError) as error:
            raise JournalError(f"the journal {path} cannot be opened: {error}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = path.read_text()
            if text and not text.endswith("\n"):
                self._append("\n")
            self._sync_folder()
        except BlockingIOError as error:
            self.close()
            raise JournalError(
                f"the journal {path} is open elsewhere; give every session a journal of its own"
            ) from error
        except (OSError, ValueError) as error:
            self.close()
            raise JournalError(f"the journal {path} cannot be opened: {error}") from error
        lines = text.splitlines()
        self._entries = set(lines if not text or text.endswith("\n") else lines[:-1])
        # An entry that was cut short stands for every entry it may have become.
        self._cut = tuple(text.splitlines()[-1:]) if text and not text.endswith("\n") else ()

    def claim(self, entry: str) -> bool:
        """See `crypto.protocols.entry.Journal.claim`.

        Raises:
            JournalError: an empty entry, or one of several lines.
        """
        if not entry or entry.splitlines() != [entry]:
            raise JournalError("a journal entry is one line of text")
        if entry in self._entries or any(entry.startswith(cut) for cut in self._cut):
            return False
        try:
            self._append(entry + "\n")
        except OSError as error:
            raise JournalError(f"the journal {self._path} cannot be written: {error}") from error
        self._entries.add(entry)
        return True

    def holds(self, entry: str) -> bool:
        """See `crypto.protocols.entry.Journal.holds`; one that was cut short is not held."""
        return entry in self._entries

    def close(self) -> None:
        """Close the file; may be called again."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _append(self, text: str) -> None:
        os.write(self._descriptor, text.encode())
        os.fsync(self._descriptor)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
