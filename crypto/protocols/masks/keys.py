"""Keys: one X25519 pair and one self-mask seed for each epoch, and what masks and boxes are derived from.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D). An epoch is one sum's worth of keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.keys.randomness import KEY_BYTES, RandomBytes, encode_labels
from crypto.keys.secrecy import holds_secrets
from crypto.protocols.masks.errors import RecordError

NONCE_BYTES = 12
BOX_OVERHEAD = NONCE_BYTES + 16
Labels = tuple[str | int | bytes, ...]


@lru_cache(maxsize=64)
def head(*labels: str | int | bytes) -> bytes:
    """Public labels that thousands of lists begin with, encoded: lists, encoded, are simply joined."""
    return encode_labels(labels)


def hkdf(secret: bytes, labels: Labels, before: bytes = b"") -> bytes:
    """Derive 32 bytes for the purpose that `labels` names (empty salt); `before`: labels in front, encoded."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=before + encode_labels(labels)).derive(secret)


def digest(labels: Labels, before: bytes = b"") -> bytes:
    """SHA-256 of a list of labels, `before` as that of `hkdf`; different lists give different inputs."""
    return hashlib.sha256(before + encode_labels(labels)).digest()


@holds_secrets
class AgreementKey:
    """An X25519 private key that can be erased: it goes with the last reference to what OpenSSL keeps of it."""

    __slots__ = ("_key", "public")

    def __init__(self, private: bytes) -> None:
        """Take 32 uniformly random bytes; X25519 clamps them."""
        self._key: X25519PrivateKey | None = X25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, peer: bytes, labels: Labels, secret: bytes = b"", before: bytes = b"") -> bytes:
        """Derive the 32-byte key shared with the holder of `peer` for one purpose, from another shared `secret` too.

        `labels` and `before` as those of `hkdf`.

        The other secret goes first, as NIST SP 800-56C rev. 2, section 2, has it for a hybrid of a standard and
        another secret; it always has the same length for one purpose.

        Raises:
            RecordError: `peer` is no usable public key (wrong length, or of small order, so that the shared secret
                would be zero), or after `erase`.
        """
        if self._key is None:
            raise RecordError("the key was erased; its epoch is over")
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError as error:
            raise RecordError("a public key is not a usable X25519 key") from error
        return hkdf(secret + shared, labels, before)

    def erase(self) -> None:
        """Forget the key."""
        self._key = None


def seal(key: bytes, plaintext: bytes, context: Labels, random: RandomBytes, before: bytes = b"") -> bytes:
    """Encrypt and authenticate `plaintext`, and authenticate `context` after `before`; `BOX_OVERHEAD` bytes longer."""
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, before + encode_labels(context))


def open_box(key: bytes, box: bytes, context: Labels, before: bytes = b"") -> bytes:
    """Return what was sealed.

    Raises:
        RecordError: box, key and context do not belong together.
    """
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], before + encode_labels(context))
    except (InvalidTag, ValueError) as error:
        raise RecordError("a sealed share does not open: altered, or for another holder or epoch") from error


@dataclass(frozen=True, kw_only=True)
class MaskContext:
    """What every mask of one sum is bound to: both sides must agree on all of it, or masks do not cancel.

    `setup` is the digest of the members' records and nonces, `model` the digest of the model (or empty).
    """

    protocol: str
    session: str
    setup: bytes
    epoch: int
    round: int
    upload: str
    model: bytes

    @cached_property
    def _place(self) -> Labels:
        return (self.protocol, self.session, self.setup, self.epoch, self.round, self.upload, self.model)

    def labels(self, purpose: str, *names: str | bytes) -> Labels:
        """The HKDF labels of one purpose, names and keys in the order given."""
        return ("masks 3", purpose, *self._place, *names)

    def pair_key(self, mine: AgreementKey, peer: bytes, first: str, second: str, secret: bytes | None) -> bytes:
        """The mask key of the pair; `first` comes before `second` in the plan and adds, `second` subtracts.

        `secret`: the 32 bytes that the two share beside X25519 (`crypto.protocols.masks.vault`); None for a pair that
        committed to different ones, of which one end is corrupt.
        """
        purpose = "disputed pair" if secret is None else "pair"
        labels: Labels = (first, second, *sorted((mine.public, peer)))
        return mine.agree(peer, labels, secret or b"", head("masks 3", purpose, *self._place))

    def self_key(self, seed: bytes, name: str) -> bytes:
        """The key of a client's own mask, from its 32-byte seed."""
        return hkdf(seed, self.labels("self", name))
