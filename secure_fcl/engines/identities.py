"""The identities of one row's parties: from the user's folder, or fresh ones in a private folder while it runs.

Either way every party reads its own private key from a file, and the plan pins everybody's public key.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crypto.keys.roster import Roster
from crypto.planning.masks import Mode, choose_parameters
from crypto.planning.plans import Plan
from crypto.protocols.session import plan_roles
from secure_fcl.engines.keys import ROSTER, write_identities
from secure_fcl.errors import SecureFclError


@dataclass(frozen=True)
class Identities:
    """A plan that pins identities, and the folder with the parties' private files."""

    plan: Plan
    folder: Path

    def file_of(self, name: str) -> Path:
        """Return where one party's private key lies."""
        return self.folder / f"{name}.key"


@contextmanager
def identities(made: Plan, given: str, server: Mode, everybody: bool = True) -> Iterator[Identities]:
    """Pin the identities in the folder `given`; empty: fresh ones, deleted in the end.

    `everybody`: whether all private files must be there, as a simulation needs; who deploys has the roster alone.

    Raises:
        SecureFclError: the folder has no roster, or no private file for one of the parties.
        crypto.errors.CryptoError: the roster is malformed or lacks a party.
    """
    names = (*made.clients, *plan_roles(made))
    if given:
        yield _read(made, Path(given).expanduser(), server, everybody)
        return
    with tempfile.TemporaryDirectory(prefix="secure-fcl-keys-") as place:
        write_identities(names, Path(place))
        yield _read(made, Path(place), server, everybody)


def check(made: Plan, given: str, server: Mode, everybody: bool = True) -> None:
    """Raise before a run what `identities`, or a plan against such a server, would raise in it."""
    if made.masks is not None:
        choose_parameters(
            len(made.clients), made.masks.corrupt, made.max_dropouts, server, complete=made.rules.masks == "complete"
        )
    if given:
        _read(made, Path(given).expanduser(), server, everybody)


def state_digest(state: Mapping[str, NDArray[np.generic]], place: str) -> bytes:
    """Return the digest of what a client was sent and what for: vectors of different digests do not add up.

    `place` names row, slot and round: every round of a run is released, and charged, by itself.
    """
    digest = hashlib.sha256(place.encode())
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _read(made: Plan, folder: Path, server: Mode, everybody: bool) -> Identities:
    roster = folder / ROSTER
    names = (*made.clients, *plan_roles(made))
    if not roster.is_file():
        raise SecureFclError(
            f"{folder} holds no {ROSTER}; make it: secure-fcl keys {names[0]} ... {names[-1]} --out {folder}"
        )
    found = Identities(made.pinned(Roster.from_json(roster.read_text()), server), folder)
    missing = [name for name in names if everybody and not found.file_of(name).is_file()]
    if missing:
        raise SecureFclError(f"{folder} lacks {len(missing)} private files, {missing[0]}.key for one; make them anew")
    return found
