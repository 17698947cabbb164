"""Sealed boxes: bytes that only the holder of one pair of keys can open, in one context only.

A key agreed by X25519 and ML-KEM-768 (`crypto.keys.exchange`), then AES-256-GCM (the construction of HPKE's base mode,
RFC 9180, though not its wire format). The sender is not authenticated.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto.errors import ExchangeError, SealError
from crypto.keys.exchange import CAPSULE_BYTES, HybridKey, agree
from crypto.keys.randomness import RandomBytes
from crypto.keys.secrecy import holds_secrets

OVERHEAD = CAPSULE_BYTES + 16
_NONCE = bytes(12)


def seal(public: bytes, plaintext: bytes, context: tuple[str | int | bytes, ...], random: RandomBytes) -> bytes:
    """Seal `plaintext` (also empty) for the holder of `public`, of `PUBLIC_BYTES`; `OVERHEAD` bytes longer.

    *Guarantee*: confidential, and it opens only unaltered and with the same `context`, against everyone
    without the receiver's private keys, as long as X25519 or ML-KEM-768 is secure; a fresh capsule for every box makes
    the fixed nonce safe. No forward secrecy against a later theft of the receiver's keys.

    Raises:
        SealError: `public` is not a usable pair of keys.
    """
    try:
        capsule, key = agree(public, ("sealed box 2", *context), random)
    except ExchangeError as error:
        raise SealError(str(error)) from error
    return capsule + AESGCM(key).encrypt(_NONCE, plaintext, None)


@holds_secrets
class BoxKey:
    """Private X25519 and ML-KEM-768 keys that open sealed boxes."""

    def __init__(self, random: RandomBytes) -> None:
        """Make fresh keys from 96 random bytes."""
        self._keys = HybridKey(random)
        self.public = self._keys.public

    def open(self, box: bytes, context: tuple[str | int | bytes, ...]) -> bytes:
        """Return what was sealed.

        Raises:
            SealError: the box is too short, altered, or of another context or key.
        """
        if len(box) < OVERHEAD:
            raise SealError(f"a sealed box has at least {OVERHEAD} bytes, this one {len(box)}")
        try:
            key = self._keys.open(box[:CAPSULE_BYTES], ("sealed box 2", *context))
            return AESGCM(key).decrypt(_NONCE, memoryview(box)[CAPSULE_BYTES:], None)
        except (InvalidTag, ExchangeError) as error:
            raise SealError("the sealed box does not open: altered, or for another receiver or context") from error
