"""Masks: key streams added to or taken off a vector of ring elements in place, in pieces that stay in cache.

A mask is the AES-256-CTR key stream (NIST SP 800-38A) of a key that serves this one vector only, so the
counter starts at zero. Arithmetic is modulo 2^16, 2^32 or 2^64; a ring of 2^b with fewer bits is a quotient
of it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from crypto.errors import RandomnessError
from crypto.randomness import KEY_BYTES

Ring = npt.NDArray[np.unsignedinteger]
PIECE_BYTES = 1 << 17
_MOST_STREAMS = 64
_ZEROS = bytes(PIECE_BYTES)


def ring_dtype(bits: int) -> np.dtype[np.unsignedinteger]:
    """The smallest of uint16, uint32 and uint64 that holds `bits` bits (1 to 64)."""
    if bits <= 16:
        return np.dtype(np.uint16)
    return np.dtype(np.uint32) if bits <= 32 else np.dtype(np.uint64)


def apply_masks(vector: Ring, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
    """Add the streams of the keys `add` to `vector` and take off those of `subtract`, in place.

    `vector` is flat and contiguous. No keys, or no entries, change nothing. Raises RandomnessError for a key
    that has not 32 bytes.
    """
    signed = [(key, np.add) for key in add] + [(key, np.subtract) for key in subtract]
    if any(len(key) != KEY_BYTES for key, _ in signed):
        raise RandomnessError(f"A mask key has {KEY_BYTES} bytes; derive it with HKDF.")
    for start in range(0, len(signed), _MOST_STREAMS):
        _apply(vector, signed[start : start + _MOST_STREAMS])


def _apply(vector: Ring, signed: Sequence[tuple[bytes, np.ufunc]]) -> None:
    streams = [(Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor(), act) for key, act in signed]
    width = vector.dtype.itemsize
    step = PIECE_BYTES // width
    buffer = bytearray(PIECE_BYTES)
    stream = np.frombuffer(buffer, dtype=vector.dtype.newbyteorder("<"))
    zeros = memoryview(_ZEROS)
    for start in range(0, vector.size, step):
        piece = vector[start : start + step]
        plain, drawn = zeros[: piece.nbytes], stream[: piece.size]
        for encryptor, act in streams:
            encryptor.update_into(plain, buffer)
            act(piece, drawn, out=piece)
