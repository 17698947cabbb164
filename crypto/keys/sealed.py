"""Sealed boxes: bytes that only the holder of one X25519 key can open, in one context only.

Ephemeral X25519, HKDF-SHA256, AES-256-GCM (the construction of ECIES and of HPKE's base mode, RFC 9180,
though not its wire format). The sender is not authenticated.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import SealError
from crypto.keys.randomness import KEY_BYTES, RandomBytes, encode_labels
from crypto.keys.secrecy import holds_secrets

OVERHEAD = KEY_BYTES + 16
_NONCE = bytes(12)


def seal(public: bytes, plaintext: bytes, context: tuple[str | int | bytes, ...], random: RandomBytes) -> bytes:
    """Seal `plaintext` (also empty) for the holder of the 32-byte key `public`; `OVERHEAD` bytes longer.

    *Guarantee*: confidential, and it opens only unaltered and with the same `context`, against everyone
    without the receiver's private key; a fresh ephemeral key for every box makes the fixed nonce safe. No
    forward secrecy against a later theft of the receiver's key.

    Raises:
        SealError: `public` is not a usable key.
    """
    ephemeral = X25519PrivateKey.from_private_bytes(random(KEY_BYTES))
    sender = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise SealError(f"the receiver's public key ({len(public)} bytes) is not a usable X25519 key") from error
    return sender + AESGCM(_key(shared, sender, public, context)).encrypt(_NONCE, plaintext, None)


@holds_secrets
class BoxKey:
    """A private X25519 key that opens sealed boxes."""

    def __init__(self, random: RandomBytes) -> None:
        """Make a fresh key from 32 random bytes."""
        self._private = X25519PrivateKey.from_private_bytes(random(KEY_BYTES))
        self.public = self._private.public_key().public_bytes_raw()

    def open(self, box: bytes, context: tuple[str | int | bytes, ...]) -> bytes:
        """Return what was sealed.

        Raises:
            SealError: the box is too short, altered, or of another context or key.
        """
        if len(box) < OVERHEAD:
            raise SealError(f"a sealed box has at least {OVERHEAD} bytes, this one {len(box)}")
        sender = box[:KEY_BYTES]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(sender))
            key = _key(shared, sender, self.public, context)
            return AESGCM(key).decrypt(_NONCE, memoryview(box)[KEY_BYTES:], None)
        except (InvalidTag, ValueError) as error:
            raise SealError("the sealed box does not open: altered, or for another receiver or context") from error


def _key(shared: bytes, sender: bytes, receiver: bytes, context: tuple[str | int | bytes, ...]) -> bytes:
    info = encode_labels(("sealed box 1", *context))
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=sender + receiver, info=info).derive(shared)
