"""Masks: key streams added to or taken off a vector of ring elements in place, in pieces that stay in cache.

A mask is the key stream that AES-256-GCM (NIST SP 800-38D) lays over a message, nonce zero: counter mode from block 2
on. A key serves this one vector only. Nothing is authenticated with it; it is GCM's for speed: on processors that have
AES for whole vectors, OpenSSL uses that in GCM but not in plain counter mode, which gives the same bytes. Arithmetic
is modulo 2^16, 2^32 or 2^64; a ring of 2^b with fewer bits is a quotient of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from crypto.errors import RandomnessError
from crypto.keys.randomness import KEY_BYTES

Ring = npt.NDArray[np.unsignedinteger]
PIECE_BYTES = 3 << 15
_MOST_STREAMS = 64
_ZEROS = bytes(PIECE_BYTES)


def ring_dtype(bits: int) -> np.dtype[np.unsignedinteger]:
    """The smallest of uint16, uint32 and uint64 that holds `bits` bits (1 to 64)."""
    if bits <= 16:
        return np.dtype(np.uint16)
    return np.dtype(np.uint32) if bits <= 32 else np.dtype(np.uint64)


def apply_masks(vector: Ring, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
    """Add the streams of the keys `add` to `vector` and take off those of `subtract`, in place.

    `vector` is flat and contiguous. No keys, or no entries, change nothing.

    Raises:
        RandomnessError: a key that has not 32 bytes.
    """
    signed = [(key, np.add) for key in add] + [(key, np.subtract) for key in subtract]
    if any(len(key) != KEY_BYTES for key, _ in signed):
        raise RandomnessError(f"a mask key has {KEY_BYTES} bytes; derive it with HKDF")
    for start in range(0, len(signed), _MOST_STREAMS):
        _apply(vector, signed[start : start + _MOST_STREAMS])


def by_gcm(key: bytes) -> CipherContext:
    """The key stream, as what GCM lays over zeros; the tag is never asked for."""
    return Cipher(algorithms.AES256(key), modes.GCM(bytes(12))).encryptor()


def by_counter(key: bytes) -> CipherContext:
    """The same key stream by plain counter mode."""
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(15) + b"\x02")).encryptor()


@cache
def _fastest() -> Callable[[bytes], CipherContext]:
    """Whichever of the two is faster on this processor, tried once for under a millisecond."""
    room, spent = bytearray(PIECE_BYTES), {by_gcm: float("inf"), by_counter: float("inf")}
    for _ in range(3):
        for make in spent:
            stream = make(bytes(KEY_BYTES))
            begun = time.perf_counter()
            stream.update_into(_ZEROS, room)
            spent[make] = min(spent[make], time.perf_counter() - begun)
    return min(spent, key=lambda make: spent[make])


def _apply(vector: Ring, signed: Sequence[tuple[bytes, np.ufunc]]) -> None:
    open_stream = _fastest()
    streams = [(open_stream(key).update_into, act) for key, act in signed]
    step = PIECE_BYTES // vector.dtype.itemsize
    buffer, zeros = bytearray(PIECE_BYTES), memoryview(_ZEROS)
    stream = np.frombuffer(buffer, dtype=vector.dtype.newbyteorder("<"))
    for start in range(0, vector.size, step):
        piece = vector[start : start + step]
        plain, drawn = zeros[: piece.nbytes], stream[: piece.size]
        for draw, act in streams:
            draw(plain, buffer)
            act(piece, drawn, out=piece)
