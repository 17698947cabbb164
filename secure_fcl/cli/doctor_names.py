"""Two packages of one name but for case: on file systems that ignore case they share a folder, and one is lost."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

#: Distributions that bring a package `Crypto`.
OTHERS = ("pycryptodome", "pycrypto")


def sharing(ours: Path | None, others: Mapping[str, Path]) -> str:
    """Return the name of the distribution whose package lies in the folder of ours; empty if none does.

    Where case tells names apart, `crypto` and `Crypto` are two folders, and Python imports the one that is asked for.
    Where it does not, whichever was installed last has written over the other.

    Args:
        ours: folder of the package `crypto`; None: it cannot be found.
        others: by distribution, where its package `Crypto` should lie.
    """
    if ours is None:
        return ""
    return next((name for name, theirs in others.items() if theirs.exists() and theirs.samefile(ours)), "")


def folder_of_crypto() -> Path | None:
    """Return where the package `crypto` lies, without importing it."""
    found = importlib.util.find_spec("crypto")
    return Path(found.origin).parent if found and found.origin else None


def installed_others() -> dict[str, Path]:
    """Return the distributions that bring a package `Crypto`, and where it should lie."""
    found: dict[str, Path] = {}
    for name in OTHERS:
        try:
            found[name] = Path(str(metadata.distribution(name).locate_file("Crypto")))
        except metadata.PackageNotFoundError:
            continue
    return found
