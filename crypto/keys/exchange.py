"""Keys that two parties agree on: X25519 (RFC 7748) and ML-KEM-768 (FIPS 203) together, and which bytes are such keys.

Whoever reads the wire today and owns a quantum computer later, or breaks lattices later, has one of two secrets. Both
go into one key derivation, with everything that both sides saw: the receiver's two public keys, the sender's ephemeral
key and ciphertext, and a context that names identities and purpose. That is what X-Wing does with SHA3-256
(Barbosa et al., "X-Wing: the hybrid KEM you've been looking for", 2024, section 3), with HKDF-SHA256 as NIST
SP 800-56C rev. 2, section 2, allows for a standard secret followed by another one.

Signatures are Ed25519 alone: who forges them needs a quantum computer while the session lasts.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import ExchangeError
from crypto.keys.randomness import KEY_BYTES, RandomBytes, encode_labels
from crypto.keys.secrecy import holds_secrets

Context = tuple[str | int | bytes, ...]
MLKEM_SEED_BYTES = 64
PUBLIC_BYTES = KEY_BYTES + 1184
CAPSULE_BYTES = KEY_BYTES + 1088
_FIELD = 2**255 - 19
# The u coordinates of order 1, 2, 4 and 8, on the curve and on its twist: any secret agrees on zero with them.
_SMALL_ORDER = frozenset(
    (
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)


def usable(public: bytes) -> bool:
    """Whether `public` is 32 bytes, written as RFC 7748 writes it, and not of small order.

    *Guarantee*: True for every key that the library makes; agreeing with such a key never fails. One key has one
    writing, so that equal keys are equal bytes.
    """
    number = int.from_bytes(public, "little")
    return len(public) == KEY_BYTES and number < _FIELD and number not in _SMALL_ORDER


def usable_hybrid(public: bytes) -> bool:
    """Whether `public` is the `public` of some `HybridKey`: both of its keys are usable (FIPS 203, section 7.2)."""
    if len(public) != PUBLIC_BYTES or not usable(public[:KEY_BYTES]):
        return False
    try:
        MLKEM768PublicKey.from_public_bytes(public[KEY_BYTES:])
    except ValueError:
        return False
    return True


def usable_capsule(capsule: bytes) -> bool:
    """Whether `HybridKey.open` takes `capsule`; what key comes out, only the sender can tell."""
    return len(capsule) == CAPSULE_BYTES and usable(capsule[:KEY_BYTES])


@holds_secrets
class HybridKey:
    """A private X25519 key and a private ML-KEM-768 key, to agree with whoever has `public` (1,216 bytes)."""

    def __init__(self, random: RandomBytes) -> None:
        """Make a fresh pair from 96 random bytes."""
        self._curve = X25519PrivateKey.from_private_bytes(random(KEY_BYTES))
        self._lattice = MLKEM768PrivateKey.from_seed_bytes(random(MLKEM_SEED_BYTES))
        self.public = self._curve.public_key().public_bytes_raw() + self._lattice.public_key().public_bytes_raw()

    def open(self, capsule: bytes, context: Context) -> bytes:
        """Return the 32-byte key that `agree` gave with this `capsule`, for the same `context`.

        *Guarantee*: another capsule, key or context gives another key, unrelated to the first; it is not refused.

        Raises:
            ExchangeError: the capsule has another length, or its X25519 key is of small order.
        """
        if not usable_capsule(capsule):
            raise ExchangeError(
                f"a capsule is {CAPSULE_BYTES} bytes with a usable X25519 key, this one ({len(capsule)} bytes) is not; "
                "make it with agree"
            )
        first = self._lattice.decapsulate(capsule[KEY_BYTES:])
        second = self._curve.exchange(X25519PublicKey.from_public_bytes(capsule[:KEY_BYTES]))
        return _derived(first, second, self.public, capsule, context)


@runtime_checkable
class Encapsulates(Protocol):
    """A source of random bytes that makes ML-KEM's ciphertexts too, for who must be able to make the same again.

    The library takes the bytes of an encapsulation from the operating system alone, so a session that is played again
    from its random bytes needs what was made as well.
    """

    def encapsulate(self, public: bytes, /) -> tuple[bytes, bytes]:
        """Return a secret (32 bytes) and its ciphertext (1,088 bytes) for a usable ML-KEM-768 key."""


def encapsulated(public: bytes, random: RandomBytes) -> tuple[bytes, bytes]:
    """Return a secret and its ciphertext for a usable ML-KEM-768 key.

    *Guarantee*: fresh, of the operating system's bytes, unless `random` is an `Encapsulates` and says otherwise.
    """
    if isinstance(random, Encapsulates):
        return random.encapsulate(public)
    return MLKEM768PublicKey.from_public_bytes(public).encapsulate()


def agree(public: bytes, context: Context, random: RandomBytes) -> tuple[bytes, bytes]:
    """Return a capsule (1,120 bytes) for the holder of `public`, and the 32-byte key that it opens to there.

    *Guarantee*: the key is pseudo-random to everybody but the holder as long as X25519 or ML-KEM-768 is secure. The
    sender is not authenticated, and `random` serves X25519 alone, but for `encapsulated`.

    Raises:
        ExchangeError: `public` is not a usable pair of keys.
    """
    if not usable_hybrid(public):
        raise ExchangeError(
            f"the receiver's key ({len(public)} bytes) is no usable pair of an X25519 and an ML-KEM-768 key; "
            f"it has {PUBLIC_BYTES} bytes"
        )
    ephemeral = X25519PrivateKey.from_private_bytes(random(KEY_BYTES))
    first, ciphertext = encapsulated(public[KEY_BYTES:], random)
    second = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[:KEY_BYTES]))
    capsule = ephemeral.public_key().public_bytes_raw() + ciphertext
    return capsule, _derived(first, second, public, capsule, context)


def _derived(first: bytes, second: bytes, public: bytes, capsule: bytes, context: Context) -> bytes:
    info = encode_labels(("hybrid key 1", public, capsule, *context))
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(first + second)
