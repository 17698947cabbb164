"""The ledger: append-only, hash-chained, synced to disk *before* the noise of what it charges is drawn."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from privacy.cohorts import Charge, Spent, add_to
from privacy.errors import LedgerClosed, LedgerDamaged

_GENESIS = "0" * 64


def _digest(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What one entry of a ledger says: its public labels and its charges."""

    what: dict[str, Any]
    charges: tuple[Charge, ...]


def read_entry(line: str, head: str) -> Entry:
    """Return the entry whose SHA-256 is `head`, for who knows hashes of a ledger and is shown one of its lines.

    Raises:
        LedgerDamaged: the line is not that entry.
    """
    try:
        body = json.loads(line)
        if body.pop("hash") == head == _digest(body):
            return Entry(dict(body["what"]), tuple(Charge.from_json(record) for record in body["charges"]))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise LedgerDamaged(f"a line that is no ledger entry stands for {head[:12]}; show the ledger's own") from error
    raise LedgerDamaged(f"a line stands for entry {head[:12]} of a ledger and is not it; show the ledger's own")


class Ledger:
    """One append-only file of charges; also a context manager. Opening it changes nothing on disk.

    *Guarantee*: `charge` returns only after the entry is on disk (fsync, also of the folder when the file is new), so
    a process that dies at any instant never leaves a release uncharged; what was charged but not released stays
    charged, and running a round again charges it again. A torn last line (death inside the write) was never acted
    upon and is cut off by the next charge. The chain shows every change but one made by somebody who rewrites all
    entries after it, or drops the last ones: quote `last_hash` elsewhere to pin the whole.

    One process writes at a time; a charge that finds the file grown by another is refused.

    Raises:
        LedgerDamaged: an entry of the existing file does not continue the chain.
        UnsupportedEvent: an entry holds an event of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = _GENESIS
        self._last = ""
        self._spent: Spent = {}
        self._heads: list[str] = []
        self._labels: list[dict[str, Any]] = []
        self._length = 0
        self._found = 0
        self._file: FileIO | None = None
        self._closed = False
        self._load()

    def _load(self) -> None:
        if not self.path.exists():
            return
        raw = self.path.read_bytes()
        whole, newline, _ = raw.rpartition(b"\n")
        for line in whole.split(b"\n") if newline else []:
            self._accept(line)
        self._length = len(whole) + len(newline)
        self._found = len(raw)

    def _accept(self, line: bytes) -> None:
        where = f"{self.path}, entry {len(self) + 1}"
        try:
            body = json.loads(line)
            claimed = body.pop("hash")
            sound = body["previous"] == self._head and claimed == _digest(body)
            charges = [Charge.from_json(record) for record in body["charges"]] if sound else []
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise LedgerDamaged(f"{where} is not a ledger entry; restore the file from a backup") from error
        if not sound:
            raise LedgerDamaged(
                f"{where} does not continue the hash chain: an entry was changed, removed or inserted; "
                "no epsilon is computed from it; restore the file from a backup"
            )
        add_to(self._spent, charges)
        self._grown(claimed, body.get("what"), line)

    def charge(self, charges: Sequence[Charge], **what: str | int) -> None:
        """Append one entry (what: public labels such as task and round) and sync it to disk.

        Raises:
            LedgerClosed: the ledger was closed, or an earlier write did not finish.
            LedgerDamaged: another process changed the file meanwhile.
            OSError: the system refused the write; nothing may be released, and the ledger is closed.
        """
        if self._closed:
            raise LedgerClosed(f"{self.path} is closed; open the ledger again, which reads what is on disk")
        body = {
            "previous": self._head,
            "what": what,
            "charges": [charge.to_json() for charge in charges],
        }
        head = _digest(body)
        line = json.dumps({**body, "hash": head}).encode() + b"\n"
        # Until the entry is known to be whole on disk, memory and file may disagree: any failure closes the ledger.
        self._closed = True
        try:
            self._append(line)
        except BaseException:
            self.close()
            raise
        self._grown(head, what, line[:-1])
        self._length += len(line)
        add_to(self._spent, charges)
        self._closed = False

    def _append(self, line: bytes) -> None:
        file = self._file or self._open()
        self._file = file
        if os.fstat(file.fileno()).st_size != self._length:
            raise LedgerDamaged(f"{self.path} was changed by another process; only one may write a ledger at a time")
        rest = memoryview(line)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())

    def _open(self) -> FileIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(self.path, "a+")
        size = os.fstat(file.fileno()).st_size
        if size == self._found and size > self._length:
            file.truncate(self._length)
        # The folder's entry of a new file must survive a power cut as well.
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return file

    def spent(self) -> Spent:
        """Return per cohort the multiset of events charged so far; empty for an empty ledger.

        A copy of running totals: its cost grows with cohorts and kinds of events, not with entries.
        """
        return {cohort: events.copy() for cohort, events in self._spent.items()}

    def __len__(self) -> int:
        return len(self._heads)

    def _grown(self, head: str, what: object, line: bytes) -> None:
        self._head = head
        self._last = line.decode()
        self._heads.append(head)
        self._labels.append(dict(what) if isinstance(what, dict) else {})

    @property
    def heads(self) -> tuple[str, ...]:
        """SHA-256 of every entry, in order: the n-th pins the first n entries, whatever follows."""
        return tuple(self._heads)

    @property
    def labels(self) -> tuple[dict[str, Any], ...]:
        """The public labels that every entry was charged with, in order."""
        return tuple(self._labels)

    @property
    def last_entry(self) -> str:
        """The last entry as it stands in the file, for `read_entry`; empty before the first."""
        return self._last

    @property
    def last_hash(self) -> str:
        """SHA-256 of the last entry (64 zeros before the first): quoting it pins the whole ledger."""
        return self._head

    def close(self) -> None:
        """Close the file; may be called again. What was charged can still be read, and the ledger opened again."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
