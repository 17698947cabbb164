"""Signed records: what a client says for good, so that the server can repeat it to others.

A record is a proof (`crypto.keys.roster`: public key and Ed25519 signature) followed by the body. The signature
covers session, kind, sender and the body's hash.
"""

from __future__ import annotations

import hashlib

from crypto.errors import MessageError
from crypto.keys.roster import PROOF_BYTES, Identity, Trust
from crypto.protocols.masks.errors import FaultError
from crypto.protocols.masks.keys import digest, head
from crypto.wire.values import unpack_sparse


def write_record(identity: Identity, session: str, kind: str, body: bytes) -> bytes:
    """Sign `body` as a record of this kind and session."""
    return identity.prove(_statement(session, kind, identity.name, body)) + body


def read_record(trust: Trust, session: str, kind: str, sender: str, record: bytes) -> bytes:
    """Return the body of `sender`'s record.

    Raises:
        FaultError: `trust` does not hold the signature.
    """
    proof, body = record[:PROOF_BYTES], record[PROOF_BYTES:]
    if not trust.holds(sender, _statement(session, kind, sender, body), proof):
        raise FaultError(f"the {kind} of {sender!r} is not signed by the identity known for it")
    return body


def unpack(data: bytes) -> object:
    """Read msgpack.

    Raises:
        FaultError: it is malformed, or made of far too many values.
    """
    try:
        return unpack_sparse(data)
    except MessageError as error:
        raise FaultError("a record is malformed") from error


def _statement(session: str, kind: str, sender: str, body: bytes) -> bytes:
    return digest((sender, hashlib.sha256(body).digest()), head("masks record 1", session, kind))
