"""Where random bytes come from: a Protocol that the caller fills; alone, the operating system."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_ZEROS = memoryview(bytes(1 << 18))


class RandomBytes(Protocol):
    """Returns `n` fresh random bytes at every call."""

    def __call__(self, n: int, /) -> bytes:
        """Return exactly `n` bytes."""


def system_bytes(n: int, /) -> bytes:
    """Return `n` bytes of the operating system's generator."""
    return os.urandom(n)


def key_stream(random: RandomBytes) -> RandomBytes:
    """Return the AES-256-CTR key stream of one 32-byte key out of `random`; equal keys give equal bytes, in order.

    *Guarantee*: as good as `random` for whoever cannot break the cipher (NIST SP 800-38A, CTR mode), at a third of the
    cost of the operating system's bytes. The counter starts at zero: the key serves this stream alone.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    stream = Cipher(algorithms.AES256(random(32)), modes.CTR(bytes(16))).encryptor()

    def draw(n: int, /) -> bytes:
        # Making zeros anew costs as much as encrypting them.
        return stream.update(_ZEROS[:n] if n <= len(_ZEROS) else bytes(n))

    return draw


def uniforms(random: RandomBytes, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return uniforms on the grid (k + 1/2) / 2^52, float64 of `shape`, so neither 0 nor 1 ever occurs.

    Draws 8 bytes for each; an empty shape such as (0,) draws none.
    """
    count = math.prod(shape)
    # 52 bits, not 53: k + 1/2 would round up to 1 for the largest k.
    bits = np.frombuffer(random(8 * count), dtype="<u8") >> np.uint64(12)
    return ((bits.astype(np.float64) + 0.5) * 2.0**-52).reshape(tuple(shape))


def seed64(random: RandomBytes) -> int:
    """Return a seed in [0, 2^63) for a library's own generator."""
    return int.from_bytes(random(8), "little") >> 1
