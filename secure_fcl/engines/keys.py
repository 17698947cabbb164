"""Identities for a deployment: a public roster and one private file per party."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crypto.keys.roster import Roster, make_identities
from evaluation.files import atomic_write
from secure_fcl.errors import SecureFclError

ROSTER = "roster.json"


def write_identities(names: Sequence[str], folder: Path) -> list[Path]:
    """Write `roster.json` (public keys) and `<name>.key` (private, mode 0600) for each name; return the paths.

    Give each party its own private file over a channel you trust, and the roster to all.

    Raises:
        SecureFclError: a name is given twice or is no file name, or the folder holds a roster already.
        crypto.errors.CryptoError: a name that the protocols do not allow.
    """
    if len(set(names)) != len(names):
        raise SecureFclError(f"{len(names)} names, {len(set(names))} different; name each party once")
    for name in names:
        if Path(name).name != name:
            raise SecureFclError(f"the name {name!r} is no file name; use letters, digits, - and _")
    roster = folder / ROSTER
    if roster.exists():
        raise SecureFclError(f"{roster} exists; identities are never overwritten, choose another --out")
    identities = make_identities(names)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, identity in identities.items():
        paths.append(folder / f"{name}.key")
        identity.save(paths[-1])
    atomic_write(roster, Roster.of(identities.values()).to_json())
    return [roster, *paths]
