"""Which recordings are for testing: a public rule, of names alone."""

from __future__ import annotations

import hashlib

_NAME = "secure-fcl test share 1"


def falls_to_test(recording: str, share: float) -> bool:
    """Return whether a recording is for testing, by a public coin that its name decides.

    The coin of one recording does not depend on which others there are, so neighbouring data sets differ in one
    example only.
    """
    digest = hashlib.sha256(f"{_NAME}|{recording}".encode()).digest()
    return int.from_bytes(digest[:7], "big") < share * 2**56
