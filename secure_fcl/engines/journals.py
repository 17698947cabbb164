"""What a device remembers outside the run's folder: how often it answered, and how far the ledger went when it did.

A run folder that is set back to an older copy as a whole fits itself. A device that keeps (attempts answered, head of
the ledger) on its own storage sees that the ledger it is shown lacks entries that it has answered for, and refuses.

The same journal says what may have left the device. 'About to send' is on disk before the first byte of a finished
message leaves, so a device whose journal lacks it for an attempt can say that nothing of that attempt left (`UNSENT`).
Where the noise is the device's own, the finished vector is on disk too and can be sent again: the same release,
whatever is computed from it (`SAME`). A device says neither of an attempt that its journal may have missed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crypto.errors import CryptoError
from crypto.keys.roster import Identity, Trust
from evaluation.errors import EvaluationError
from evaluation.files import atomic_write, read_json
from evaluation.strict_json import to_json
from secure_fcl.engines.array_store import PLAIN, ArrayStore
from secure_fcl.engines.simulation import file_stem
from secure_fcl.errors import JournalRefused

HASH_BYTES = 32
LOCK_SECONDS = 60.0
UNSENT, SAME = "unsent", "same"
"""What a device may say of an attempt: nothing of it left; or what left, and only that, is sent again."""
_DOMAIN, _SAID_DOMAIN = "secure-fcl ledger head 1", "secure-fcl attempt 1"


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


def _hash(ledger: bytes, entry: int) -> str:
    """Return the hash of an entry, the first being number 1; empty if there is none."""
    return "" if entry < 1 else ledger[(entry - 1) * HASH_BYTES : entry * HASH_BYTES].hex()


@dataclass(frozen=True, kw_only=True)
class Saying:
    """What a device signed of an attempt that was interrupted; an empty `said`: it cannot say anything.

    Attributes:
        said: `UNSENT` or `SAME`.
        proof: public key and signature over it, the run, the row, the device, and the ledger's entry of the attempt.
    """

    said: str = ""
    proof: str = ""

    def holds(self, attempt: Attempt, trust: Trust) -> bool:
        """Return whether the device of `attempt` signed it of that attempt."""
        if self.said not in (UNSENT, SAME):
            return False
        try:
            return trust.holds(attempt.device, attempt.saying(self.said), bytes.fromhex(self.proof))
        except ValueError:
            return False


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt of one device: the number of the ledger's entry, and its hash, which pins all entries before."""

    run: str
    row: str
    device: str
    entry: int
    head: str

    def saying(self, said: str) -> bytes:
        """Return the bytes that are signed. The hash pins what was charged; no other attempt has it."""
        return json.dumps([_SAID_DOMAIN, said, *asdict(self).values()]).encode()


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What a journal holds.

    Attributes:
        head: of the last attempt.
        since: of these first entries nothing can be said: the journal was begun, lost or set back after them.
        sent: whether anything of the last attempt may have left.
        over: hash of the last entry that the device has settled, and
        until: its number: nothing of it, or of an earlier one, will be sent any more.
        message: SHA-256 of the file of the vector that left, or may have, and is all that may still leave; else empty.
        model: digest of the model that the vector was made under.
    """

    head: Head
    since: int
    sent: bool = False
    over: str = ""
    until: int = 0
    message: str = ""
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An attempt that is on disk: what the device signed; `again`: the arrays to send again, None to make new ones."""

    head: Head
    again: dict[str, Any] | None = field(default=None, repr=False)


class Journal:
    """One device's journal of one row: `<folder>/<run>/<row>/<device>.json`, and its key beside the rows.

    *Guarantee*: an attempt is on disk before it is answered. A ledger that ends before the last entry answered for, or
    holds another in that entry's place, is refused. A journal that was deleted or set back itself knows no more of
    that, but it says nothing of attempts before: a seal beside it holds what the file system knows of the file (inode
    and time of change, which copying cannot bring back). A file system that is set back as a whole brings back both.
    """

    def __init__(
        self, folder: Path, run: str, row: str, device: str, arrays: ArrayStore = PLAIN, own: Identity | None = None
    ) -> None:
        """`arrays`: keeps the vector that may be sent again; `own`: signs, None: a key made here."""
        stem = folder / run / file_stem(row)
        self._path, self._seal = stem / f"{device}.json", stem / f"{device}.seal"
        self._message, self._lock = stem / f"{device}.npz", stem / f".{device}.lock"
        self._key = folder / run / f"{device}.key"
        self._run, self._row, self._device = run, row, device
        self._arrays, self._own = arrays, own

    def last(self) -> Head:
        """Return what was kept last; no attempts and no entries if nothing was.

        Raises:
            JournalRefused: the file is damaged.
        """
        return self._read()[0]

    def check(self, ledger: bytes) -> Head:
        """Return what was kept last, if a ledger goes on from there.

        Raises:
            JournalRefused: it does not: entries that this device answered for are missing from it.
        """
        last, count = self.last(), len(ledger) // HASH_BYTES
        shown = _hash(ledger, last.entries) if 0 < last.entries <= count else ""
        if shown != last.head:
            raise JournalRefused(
                f"{self._device} refuses the ledger of row {self._row}: it has answered {last.attempts} attempts, the "
                f"last after {last.entries} entries, and is shown {count} that do not go on from there; the run folder "
                "was set back to an older copy: restore the newest one, or start a new run"
            )
        return last

    def open(self, ledger: bytes) -> None:
        """Begin the journal, or go on with it; of the entries so far it says nothing if it was lost or set back.

        Raises:
            JournalRefused: as `check`.
            StorageError: the journal cannot be written.
        """
        with self._held():
            kept, sound = self._kept(ledger)
            if not sound:
                self._keep(kept)

    def answer(self, ledger: bytes, repeats: bool = False) -> Begun:
        """Keep one attempt more, on disk before this returns, and return what to answer with.

        `repeats`: by the ledger's own entry the attempt repeats the one before and is not charged to this device.

        Raises:
            JournalRefused: as `check`; the ledger has no entry for this attempt; or it repeats what this device has not
                settled, whoever says that it has; or the journal is not as `open` and later calls left it.
            StorageError: the journal cannot be written, and nothing may be answered.
        """
        with self._held():
            kept, sound = self._kept(ledger)
            last, count = kept.head, len(ledger) // HASH_BYTES
            if not sound:
                raise JournalRefused(
                    f"{self._device} refuses an attempt of row {self._row}: its journal {self._path} was lost or set "
                    "back since the row was opened; open it again and charge the round again"
                )
            # What was there when the journal was begun or found lost may have been answered before.
            if count <= max(last.entries, kept.since, kept.until):
                raise JournalRefused(
                    f"{self._device} refuses an attempt of row {self._row}: the ledger has no entry after the {count} "
                    "that it has answered for; charge the round first"
                )
            if repeats and (count < 2 or kept.over != _hash(ledger, count - 1)):
                raise JournalRefused(
                    f"{self._device} refuses to repeat entry {count - 1} of row {self._row} without a charge: it has "
                    "not signed that it may; charge the round again"
                )
            head = Head(device=self._device, attempts=last.attempts + 1, entries=count, head=_hash(ledger, count))
            head = head.signed(self._run, self._row, self._identity())
            if not (repeats and kept.message):
                self._keep(replace(kept, head=head, sent=False, message="", model=""))
                return Begun(head=head)
            again = self._loaded(kept)
            if again is None:
                raise JournalRefused(f"{self._message} is not what {self._device} sent; charge the round again")
            self._keep(replace(kept, head=head, sent=False))
            return Begun(head=head, again=again)

    def sending(self, ledger: bytes, model: str, vector: Mapping[str, Any] | None = None) -> None:
        """Keep on disk that the attempt's message is about to leave. Before this returns no byte of it may.

        Args:
            ledger: as the attempt was asked with.
            model: digest of the model that it was made under.
            vector: what the message is made of, where that may be sent again: it carries all of its noise itself.

        Raises:
            JournalRefused: the attempt is not this device's last, or it is settled; nothing may be sent.
            StorageError: the journal cannot be written, and nothing may be sent.
        """
        with self._held():
            kept, sound = self._kept(ledger)
            count = len(ledger) // HASH_BYTES
            if not sound or kept.head.head != _hash(ledger, count) or kept.until >= count:
                raise JournalRefused(
                    f"{self._device} sends nothing of entry {count} of row {self._row}: that attempt is over; ask for "
                    "the next one"
                )
            now = replace(kept, sent=True)
            if kept.message:
                if kept.model != model:
                    raise JournalRefused(
                        f"{self._device} does not send again what it made under another model; charge the round again"
                    )
            elif vector is not None:
                now = replace(now, message=self._arrays.save(self._message, vector), model=model)
            self._keep(now)

    def settle(self, ledger: bytes, repeats: bool = False) -> Saying:
        """Say, signed, what left of the attempt of the ledger's last entry, and send nothing more of it from now on.

        Nothing is said of an attempt that this journal may have missed, of which something left that is not at hand, or
        that itself repeats (`repeats`: as in `answer`) what this device has not settled.

        Raises:
            JournalRefused: as `check`.
            StorageError: the journal cannot be written.
        """
        with self._held():
            kept, _ = self._kept(ledger)
            count = len(ledger) // HASH_BYTES
            head, before = _hash(ledger, count), _hash(ledger, count - 1)
            settled = kept.over != "" and kept.over in (head, before)
            if count <= kept.since or (repeats and not settled):
                return Saying()
            asked = kept.head.entries == count
            # Of an attempt that it was never asked for, a vector of before is due only where that is what is repeated.
            due = bool(kept.message) and (asked or settled)
            if asked and kept.sent and not due:
                return Saying()
            if due and self._loaded(kept) is None:
                return Saying()
            now = replace(kept, over=head, until=count)
            self._keep(now if due else replace(now, message="", model=""))
            said = SAME if due else UNSENT
            attempt = Attempt(run=self._run, row=self._row, device=self._device, entry=count, head=head)
            return Saying(said=said, proof=self._identity().prove(attempt.saying(said)).hex())

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Alone with the journal: a process of a start before may still be at work on its last attempt."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._lock, timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise JournalRefused(
                f"the journal {self._path} is held by another process for {LOCK_SECONDS:g} seconds; end it, and go on"
            ) from None

    def _read(self) -> tuple[Head, Mapping[str, Any]]:
        if not self._path.exists():
            return Head(device=self._device), {}
        try:
            found = read_json(self._path)
            return head_from(found), found
        except (EvaluationError, JournalRefused, AttributeError) as error:
            raise JournalRefused(f"the journal {self._path} is damaged ({error}); restore it from a copy") from error

    def _kept(self, ledger: bytes) -> tuple[_Kept, bool]:
        """Return what the journal holds, and whether it is as this device left it; if not, it knows no more."""
        last = self.check(ledger)
        found = self._read()[1]
        kinds = {"since": int, "sent": bool, "over": str, "until": int, "message": str, "model": str}
        sound = self._sealed() and all(type(found.get(name)) is kind for name, kind in kinds.items())
        if not sound:
            return _Kept(head=last, since=len(ledger) // HASH_BYTES, sent=True), False
        return _Kept(head=last, **{name: found[name] for name in kinds}), True

    def _keep(self, kept: _Kept) -> None:
        own = {name: value for name, value in asdict(kept).items() if name != "head"}
        self._write(self._path, {**asdict(kept.head), **own})
        # A crash before this leaves the journal unsealed: then it says nothing, which is charged.
        self._write(self._seal, self._known())

    @staticmethod
    def _write(path: Path, value: object) -> None:
        atomic_write(path, to_json(value, indent=2) + "\n", mode=0o600)

    def _known(self) -> dict[str, int]:
        """Return what the file system alone writes of the journal's file."""
        found = self._path.stat()
        return {"inode": found.st_ino, "changed": found.st_ctime_ns}

    def _sealed(self) -> bool:
        try:
            return bool(read_json(self._seal) == self._known())
        except (EvaluationError, OSError):
            return False

    def _loaded(self, kept: _Kept) -> dict[str, Any] | None:
        """Return the vector that is to be sent again; None if its file is not the one."""
        if not self._message.is_file() or hashlib.sha256(self._message.read_bytes()).hexdigest() != kept.message:
            return None
        return self._arrays.load(self._message)

    def _identity(self) -> Identity:
        if self._own is not None:
            return self._own
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
