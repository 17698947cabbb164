"""Which node plays which client: a node names a party, and signs a fresh challenge with that party's own key.

It says too whose code it runs. That is the node's word: no signature shows which code made it.
"""

from __future__ import annotations

import json
import secrets
from typing import Literal

from crypto.errors import CryptoError
from crypto.keys.roster import Identity, Trust
from crypto.wire.values import pack_value, unpack_value
from secure_fcl.engines.parties import Party
from secure_fcl.errors import FrameRefused

Code = Literal["own", "shipped"]
"""The device's own installation, or what the server shipped."""
_DOMAIN = "secure-fcl flower greeting 1"
CHALLENGE_BYTES = 32


def new_challenge() -> bytes:
    """Return fresh bytes that a node is to sign."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def greeting(party: Party, identity: Identity, code: Code, challenge: bytes) -> bytes:
    """Return what a node answers to a challenge.

    Raises:
        FrameRefused: the challenge has another length: a device signs nothing else that a server sends.
    """
    if len(challenge) != CHALLENGE_BYTES:
        raise FrameRefused(f"a challenge of {len(challenge)} bytes; it has {CHALLENGE_BYTES}")
    return pack_value([party, code, identity.prove(_signed(party, code, challenge))])


def greeted(frame: bytes, challenge: bytes, trust: Trust) -> tuple[Party, Code] | None:
    """Return the party that a greeting proves to be of, and whose code it says to run; None if it proves nothing."""
    try:
        match unpack_value(frame):
            case [str(party), "own" | "shipped" as code, bytes(proof)]:
                return (party, code) if trust.holds(party, _signed(party, code, challenge), proof) else None
    except CryptoError:
        return None
    return None


def _signed(party: Party, code: Code, challenge: bytes) -> bytes:
    return json.dumps([_DOMAIN, party, code, challenge.hex()]).encode()
