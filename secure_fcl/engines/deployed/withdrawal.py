"""A device that withdraws: what it deletes, what it keeps, and what was released of it and stays released.

After it the folder answers nothing more; to the federation the device is one that is missing. What was in `state/` is
deleted twice: the files, and the key under which they are encrypted, so that no copy of them opens either.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from evaluation.files import write_json
from privacy import Ledger
from secure_fcl.engines.deployed.folder import DATA, LOCK, DeviceFolder
from secure_fcl.engines.deployed.vault import delete_state_key
from secure_fcl.engines.tls.revocations import WITHDRAWN
from secure_fcl.errors import DeviceRefused

_KEPT = "ledger.jsonl"


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """What a withdrawal did.

    Attributes:
        deleted: files and folders that are gone, relative to the device's folder.
        charged: entries of each ledger that stays, by its place in the device's folder. What they come to says the
            certificate of the run: it is the worst of all devices', this one's included.
        elsewhere: what `data.source` names, if the examples are not in the folder: it is not touched; "" if they were.
    """

    deleted: tuple[str, ...]
    charged: dict[str, int]
    elsewhere: str

    def sentences(self, name: str) -> list[str]:
        """Return what it did and what it cannot do, for people; `name`: the device's."""
        rounds = sum(self.charged.values())
        own = f"the examples of data.source = {self.elsewhere!r} are yours and are not touched; " * bool(self.elsewhere)
        kept = ", ".join(f"{path} ({count} rounds)" for path, count in sorted(self.charged.items())) or "none"
        return [
            f"deleted: {len(self.deleted)} files and folders of {name}: examples, memory, coins, sessions, the last "
            "answer, and the key of state/, without which no copy of them opens",
            f"{own}kept: ledgers of what was charged: {kept}",
            f"released: the sums and models of {rounds} rounds hold what {name} sent for them, and stay; noise covers "
            "it, at the epsilon of the run's certificate, which a withdrawal makes no smaller",
            "exact removal is refused: it would be one more release, a sum in which the device sends the negative of "
            "what it sent, and no strategy's plan has a round that admits and charges one; a new deployment without "
            "the device makes models without it",
            f"from now on {name} is missing from every sum; `secure-fcl deploy OUT --revoke {name}` tells all parties",
        ]


def require_not_withdrawn(path: Path) -> None:
    """Raise DeviceRefused if the device of this folder has withdrawn."""
    if (path / WITHDRAWN).exists():
        raise DeviceRefused(f"{path} has withdrawn and answers nothing more; `secure-fcl deploy` makes a new device")


def withdraw(place: DeviceFolder) -> Withdrawal:
    """Delete what a device holds of its examples and of its sessions, for good; its ledgers stay.

    May be called again: what an interrupted withdrawal left is deleted then.

    Raises:
        DeviceRefused: the device's process is running.
        OSError, evaluation.errors.StorageError: the system refused; call it again.
    """
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with FileLock(place.state / LOCK, timeout=0):
            # First of all: whatever happens next, nothing is answered any more.
            write_json(place.path / WITHDRAWN, {"since": time.time()})
            delete_state_key(place.path, place.label)
            deleted = tuple(_deleted(place))
            ledgers = sorted(place.state.rglob(_KEPT))
    except Timeout:
        raise DeviceRefused(f"{place.state} is in use by another process; end the device first") from None
    inside = place.config.data.source == "catalogue"
    return Withdrawal(
        deleted=deleted,
        charged={str(path.relative_to(place.path)): _entries(path) for path in ledgers},
        elsewhere="" if inside else place.config.data.source,
    )


def _deleted(place: DeviceFolder) -> Iterator[str]:
    """Delete the examples and all of the state but ledgers and the lock, and yield what it was."""
    if (examples := place.path / DATA).exists():
        shutil.rmtree(examples)
        yield DATA
    for path in sorted(place.state.rglob("*")):
        if path.is_file() and path.name not in (_KEPT, LOCK):
            path.unlink()
            yield str(path.relative_to(place.path))


def _entries(path: Path) -> int:
    with Ledger(path) as ledger:
        return len(ledger)
