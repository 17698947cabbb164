"""Random bytes: the operating system's, or a keyed stream for repeatable runs.

Everything in this package that needs randomness takes a `RandomBytes`, so a test can repeat a run exactly and
a real run takes its bytes from the operating system.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import RandomnessError
from crypto.keys.secrecy import holds_secrets

KEY_BYTES = 32
_LABEL_HEADER = 4


class RandomBytes(Protocol):
    """A source of random bytes."""

    def __call__(self, n: int, /) -> bytes:
        """Return `n` fresh bytes (`n` >= 0)."""
        ...


def system_random(n: int) -> bytes:
    """Return `n` bytes of the operating system's generator; `n` = 0 gives no bytes.

    Raises:
        RandomnessError: `n` < 0.
    """
    if n < 0:
        raise RandomnessError(f"{n} random bytes were asked for; ask for 0 or more")
    return os.urandom(n)


@holds_secrets
class KeyedStream:
    """AES-256-CTR key stream of one key: the same key gives the same bytes, in order.

    The counter starts at zero, so a key must serve one purpose only: derive one per purpose with
    `derive_key`. *Guarantee*: indistinguishable from random for whoever lacks the key, up to the block size's
    birthday bound (NIST SP 800-38A, CTR mode; about 2^64 blocks). The key is never shown, copied or pickled.
    """

    __slots__ = ("_stream",)

    def __init__(self, key: bytes) -> None:
        """Start the stream of a `key` of 32 bytes.

        Raises:
            RandomnessError: another length.
        """
        if len(key) != KEY_BYTES:
            raise RandomnessError(f"a stream key has {KEY_BYTES} bytes, this one {len(key)}; make one with derive_key")
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def __call__(self, n: int, /) -> bytes:
        """Return the next `n` bytes of the stream.

        Raises:
            RandomnessError: `n` < 0.
        """
        if n < 0:
            raise RandomnessError(f"{n} random bytes were asked for; ask for 0 or more")
        return self._stream.update(bytes(n))


def encode_labels(labels: tuple[str | int | bytes, ...]) -> bytes:
    """Join `labels` so that no two different lists give the same bytes (type, length, content of each).

    Raises:
        RandomnessError: a label of another type.
    """
    parts: list[bytes] = []
    # Clients do this two hundred times a masked sum: heads of short labels are at hand.
    for label in labels:
        if isinstance(label, str):
            heads, body = _TEXT, label.encode()
        elif isinstance(label, bytes):
            heads, body = _BYTES, label
        elif isinstance(label, int) and not isinstance(label, bool):
            heads, body = _WHOLE, b"%d" % label
        else:
            raise RandomnessError(f"a label is text, a whole number or bytes, not {type(label).__name__}")
        length = len(body)
        parts.append(heads[length] if length < _SHORT else _head(heads[0][:1], length))
        parts.append(body)
    return b"".join(parts)


def _head(kind: bytes, length: int) -> bytes:
    return kind + length.to_bytes(_LABEL_HEADER, "big")


_SHORT = 256
_TEXT, _BYTES, _WHOLE = ([_head(kind, length) for length in range(_SHORT)] for kind in (b"s", b"b", b"i"))


def derive_key(secret: bytes, *labels: str | int | bytes) -> bytes:
    """Derive 32 bytes from `secret` for the purpose that `labels` names (HKDF-SHA256, RFC 5869, empty salt).

    Different label lists give independent keys.

    Raises:
        RandomnessError: `secret` is shorter than 16 bytes, as less could be guessed.
    """
    if len(secret) < 16:
        raise RandomnessError(f"the secret has {len(secret)} bytes; give at least 16, better 32")
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=encode_labels(labels)).derive(secret)


def uniform64(random: RandomBytes, shape: int | tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """Draw independent uniform integers in [0, 2^64) of the given shape (read-only; 8 bytes drawn for
    each).
    """
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(random(8 * count), dtype="<u8").reshape(shape).astype(np.uint64, copy=False)


def uniform53(random: RandomBytes, shape: int | tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Draw independent uniform multiples of 2^-53 in [0, 1), never 1, of the given shape."""
    return (uniform64(random, shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53
