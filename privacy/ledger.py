"""The ledger: append-only, hash-chained, synced to disk *before* the noise of what it charges is drawn."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from privacy.cohorts import Charge, Spent, spent
from privacy.errors import LedgerDamaged

_GENESIS = "0" * 64


def _digest(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Ledger:
    """One append-only file of charges.

    Guarantee: `charge` returns only after the entry is on disk (fsync), so a process that dies at any
    instant never leaves a release uncharged; what was charged but not released stays charged, and running a
    round again charges it again. A torn last line (death inside the write) was never acted upon and is cut off.

    Raises:
        LedgerDamaged: an entry of the existing file does not continue the chain.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = _GENESIS
        self._charges: list[Charge] = []
        self._count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._load()
        self._file = path.open("ab")

    def _load(self) -> None:
        if not self.path.exists():
            return
        raw = self.path.read_bytes()
        whole, newline, torn = raw.rpartition(b"\n")
        for line in whole.split(b"\n") if newline else []:
            self._accept(line)
        if torn:
            with self.path.open("r+b") as file:
                file.truncate(len(raw) - len(torn))
                os.fsync(file.fileno())

    def _accept(self, line: bytes) -> None:
        where = f"{self.path}, entry {self._count + 1}"
        try:
            body = json.loads(line)
            claimed = body.pop("hash")
        except (ValueError, KeyError, AttributeError) as error:
            raise LedgerDamaged(f"{where} is not a ledger entry; restore the file from a backup") from error
        if body.get("previous") != self._head or claimed != _digest(body):
            raise LedgerDamaged(
                f"{where} does not continue the hash chain: an entry was changed, removed or inserted. "
                "No epsilon is computed from it; restore the file from a backup"
            )
        self._charges += [Charge.from_json(record) for record in body["charges"]]
        self._head = claimed
        self._count += 1

    def charge(self, charges: Sequence[Charge], **what: str | int) -> None:
        """Append one entry (what: public labels such as task and round) and sync it to disk."""
        body = {
            "previous": self._head,
            "what": what,
            "charges": [charge.to_json() for charge in charges],
        }
        head = _digest(body)
        self._file.write(json.dumps({**body, "hash": head}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._head = head
        self._count += 1
        self._charges += charges

    def spent(self) -> Spent:
        """Return per cohort the multiset of events charged so far."""
        return spent(self._charges)

    def __len__(self) -> int:
        return self._count

    @property
    def head(self) -> str:
        """SHA-256 of the last entry: quoting it pins the whole ledger."""
        return self._head

    def close(self) -> None:
        """Close the file; the ledger can be opened again."""
        self._file.close()
