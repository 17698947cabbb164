"""What state.json says beside where a run stands: the digests of the run's other files, so that they fit one another.

The state is replaced as a whole, by rename, after everything that it pins is on disk. A process that dies between two
writes leaves files that run ahead of the state, never behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluation.errors import SerialisationError
from evaluation.strict_json import from_json, to_json
from privacy import Ledger
from secure_fcl.errors import RunFolderError

PENDING = ""
"""In place of a digest: the file was being replaced when the state was written, and nothing is known of it."""
_OWN = "sha256"
_KEYS = ("files", "ledgers", _OWN)


@dataclass(frozen=True, kw_only=True)
class LedgerPin:
    """How far a ledger goes: number of entries, and the hash of the last one, which pins all before it."""

    entries: int
    head: str


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Digests by path inside the run's folder, with forward slashes.

    Attributes:
        files: SHA-256 of a whole file; of metrics.jsonl and cost.jsonl, of the committed records.
        ledgers: of every row that has begun.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    ledgers: Mapping[str, LedgerPin] = field(default_factory=dict)

    def with_file(self, name: str, digest: str | None) -> Pins:
        """Return the pins with another digest of one file; None: without that file."""
        files = {**self.files, name: digest or PENDING}
        if digest is None:
            del files[name]
        return replace(self, files=files)

    def with_ledger(self, name: str, ledger: Ledger) -> Pins:
        """Return the pins with a ledger as it stands now."""
        pin = LedgerPin(entries=len(ledger), head=ledger.last_hash)
        return replace(self, ledgers={**self.ledgers, name: pin})


def state_text(progress: Mapping[str, Any], pins: Pins | None) -> str:
    """Return state.json: where the run stands, the pins, and a digest over both; without pins, only the first."""
    if pins is None:
        return _text(progress)
    body = {
        **progress,
        "files": [{"file": name, "sha256": digest} for name, digest in sorted(pins.files.items())],
        "ledgers": [{"file": name, **asdict(pin)} for name, pin in sorted(pins.ledgers.items())],
    }
    return _text({**body, _OWN: _digest(body)})


def read_state(path: Path, text: str) -> tuple[Any, Pins | None]:
    """Return what `state_text` was given; no pins for a state of before there were any.

    Raises:
        SerialisationError: the text is not JSON.
        RunFolderError: it is not to the byte what `state_text` writes.
    """
    try:
        document = from_json(text)
    except SerialisationError as error:
        raise SerialisationError(f"{path}: {error}; restore the file or run again") from error
    if not isinstance(document, dict) or not any(key in document for key in _KEYS):
        return document, None
    body = {key: value for key, value in document.items() if key != _OWN}
    try:
        sound = document.get(_OWN) == _digest(body) and text == _text(document)
        files = {one["file"]: one["sha256"] for one in body.pop("files")}
        ledgers = {one["file"]: LedgerPin(entries=one["entries"], head=one["head"]) for one in body.pop("ledgers")}
    except (KeyError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise RunFolderError(
            f"{path} is damaged or was edited: it does not fit its own digest; restore it from the same copy as the "
            "rest of the folder, or start a new run"
        )
    return body, Pins(files=files, ledgers=ledgers)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(document: Mapping[str, Any]) -> str:
    return to_json(document, indent=2) + "\n"


def _digest(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
