"""Which node plays which client: a node names a party, and signs a fresh challenge with that party's own key."""

from __future__ import annotations

import json
import secrets

from crypto.keys.roster import Identity, Trust
from crypto.wire.values import pack_value, unpack_value
from secure_fcl.engines.parties import Party
from secure_fcl.errors import FrameRefused

_DOMAIN = "secure-fcl flower greeting 1"
CHALLENGE_BYTES = 32


def new_challenge() -> bytes:
    """Return fresh bytes that a node is to sign."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def greeting(party: Party, identity: Identity, challenge: bytes) -> bytes:
    """Return what a node answers to a challenge.

    Raises:
        FrameRefused: the challenge has another length: a device signs nothing else that a server sends.
    """
    if len(challenge) != CHALLENGE_BYTES:
        raise FrameRefused(f"a challenge of {len(challenge)} bytes; it has {CHALLENGE_BYTES}")
    return pack_value([party, identity.prove(_signed(party, challenge))])


def greeted(frame: bytes, challenge: bytes, trust: Trust) -> Party | None:
    """Return the party that a greeting proves to be of; None if it proves nothing, whatever it is."""
    try:
        match unpack_value(frame):
            case [str(party), bytes(proof)]:
                return party if trust.holds(party, _signed(party, challenge), proof) else None
    # Whatever an untrusted node sent.
    except Exception:
        return None
    return None


def _signed(party: Party, challenge: bytes) -> bytes:
    return json.dumps([_DOMAIN, party, challenge.hex()]).encode()
