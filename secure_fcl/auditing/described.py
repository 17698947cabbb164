"""What attacks.json says about itself: its kind and format, and what made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import secure_fcl
from attacks.own.record import commit_of_code, versions
from evaluation.audit_schema import FORMAT, KIND


def described(seed: int) -> dict[str, Any]:
    """Return the first fields of attacks.json: the document's kind and format, seed, versions, and commit of the code.

    Args:
        seed: public, of the configuration; all coins, halves and permutations of the games follow it.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "seed": seed,
        "versions": versions(),
        "commit": commit_of_code(Path(secure_fcl.__file__)),
    }
