"""What a device remembers outside the run's folder: how often it answered, and how far the ledger went when it did.

A run folder that is set back to an older copy as a whole fits itself. A device that keeps (attempts answered, head of
the ledger) on its own storage sees that the ledger it is shown lacks entries that it has answered for, and refuses.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crypto.errors import CryptoError
from crypto.keys.roster import Identity, Trust
from evaluation.errors import EvaluationError
from evaluation.files import read_json, write_json
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import JournalRefused

HASH_BYTES = 32
_DOMAIN = "secure-fcl ledger head 1"


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a device signs: after so many attempts answered, the ledger had so many entries and ended in this hash.

    Attributes:
        device: its name.
        attempts: rounds of the row that it began to answer, repeated ones included; each had an entry of its own.
        entries: of the row's ledger when it began the last one.
        head: SHA-256 of the last of these, 64 hexadecimal digits.
        proof: public key and signature over all this, the run and the row; hexadecimal.
    """

    device: str
    attempts: int = 0
    entries: int = 0
    head: str = ""
    proof: str = ""

    def signed(self, run: str, row: str, identity: Identity) -> Head:
        """Return the same with its proof."""
        return replace(self, proof=identity.prove(self._said(run, row)).hex())

    def holds(self, run: str, row: str, trust: Trust) -> bool:
        """Return whether the device signed it; `trust` knows its key, or takes the first that it shows."""
        try:
            return trust.holds(self.device, self._said(run, row), bytes.fromhex(self.proof))
        except ValueError:
            return False

    def _said(self, run: str, row: str) -> bytes:
        return json.dumps([_DOMAIN, run, row, self.device, self.attempts, self.entries, self.head]).encode()


def head_from(found: Mapping[str, Any]) -> Head:
    """Return the head of a JSON object; further keys are passed over.

    Raises:
        JournalRefused: a field is missing or of another type.
    """
    kinds = {"device": str, "attempts": int, "entries": int, "head": str, "proof": str}
    if not all(type(found.get(name)) is kind for name, kind in kinds.items()):
        raise JournalRefused(f"a signed head has not the fields {', '.join(kinds)}; restore it from a copy")
    return Head(**{name: found[name] for name in kinds})


def heads_bytes(heads: Sequence[str]) -> bytes:
    """Return the hashes of all entries of a ledger as a device is shown them, `HASH_BYTES` each."""
    return b"".join(map(bytes.fromhex, heads))


def require_outside(journals: Path, folder: Path) -> None:
    """Raise JournalRefused if journals would lie inside the run folder that they are to be compared with."""
    if journals.resolve().is_relative_to(folder.resolve()):
        raise JournalRefused(
            f"the journals {journals} lie inside the run folder {folder} and would be set back with it; name a folder "
            "outside"
        )


class Journal:
    """One device's journal of one row: `<folder>/<run>/<row>/<device>.json`, and its key beside the rows.

    *Guarantee*: an attempt is on disk before it is answered. A ledger that ends before the last entry answered for, or
    holds another in that entry's place, is refused. A journal that was deleted or set back itself knows no more.
    """

    def __init__(self, folder: Path, run: str, row: str, device: str) -> None:
        self._path = folder / run / file_stem(row) / f"{device}.json"
        self._key = folder / run / f"{device}.key"
        self._run, self._row, self._device = run, row, device

    def last(self) -> Head:
        """Return what was kept last; no attempts and no entries if nothing was.

        Raises:
            JournalRefused: the file is damaged.
        """
        if not self._path.exists():
            return Head(device=self._device)
        try:
            return head_from(read_json(self._path))
        except (EvaluationError, JournalRefused, AttributeError) as error:
            raise JournalRefused(f"the journal {self._path} is damaged ({error}); restore it from a copy") from error

    def check(self, ledger: bytes) -> Head:
        """Return what was kept last, if a ledger goes on from there.

        Raises:
            JournalRefused: it does not: entries that this device answered for are missing from it.
        """
        last, count = self.last(), len(ledger) // HASH_BYTES
        if last.entries > count or not last.entries:
            shown = ""
        else:
            shown = ledger[(last.entries - 1) * HASH_BYTES : last.entries * HASH_BYTES].hex()
        if shown != last.head:
            raise JournalRefused(
                f"{self._device} refuses the ledger of row {self._row}: it has answered {last.attempts} attempts, the "
                f"last after {last.entries} entries, and is shown {count} that do not go on from there; the run folder "
                "was set back to an older copy: restore the newest one, or start a new run"
            )
        return last

    def answer(self, ledger: bytes) -> Head:
        """Keep one attempt more, on disk before this returns, and return what to answer with.

        Raises:
            JournalRefused: as `check`; or the ledger has no entry for this attempt.
            StorageError: the journal cannot be written, and nothing may be answered.
        """
        last, count = self.check(ledger), len(ledger) // HASH_BYTES
        if count <= last.entries:
            raise JournalRefused(
                f"{self._device} refuses an attempt of row {self._row}: the ledger has no entry after the {count} that "
                "it has answered for; charge the round first"
            )
        head = ledger[-HASH_BYTES:].hex()
        now = Head(device=self._device, attempts=last.attempts + 1, entries=count, head=head)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        signed = now.signed(self._run, self._row, self._identity())
        write_json(self._path, asdict(signed))
        return signed

    def _identity(self) -> Identity:
        if not self._key.exists():
            # Under another name until it is whole on disk: a key cut by a crash would end this device's signatures.
            unfinished = self._key.with_name(f".{self._key.name}.{secrets.token_hex(6)}")
            Identity.new(self._device).save(unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(self._key)
        try:
            return Identity.load(self._key)
        except (CryptoError, OSError) as error:
            raise JournalRefused(f"the key {self._key} cannot be used ({error}); restore it from a copy") from error


def read_journals(folder: Path, run: str, row: str) -> list[Journal]:
    """Return the journals that a folder holds of one row of a run, by name of the device."""
    paths = sorted((folder / run / file_stem(row)).glob("*.json"))
    return [Journal(folder, run, row, path.stem) for path in paths]
