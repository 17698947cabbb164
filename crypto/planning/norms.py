"""How the L2 norm of a shared integer vector is checked modulo 2^64 without being fooled by wrapping.

The sum of squares of a vector x of length d is computed modulo 2^64, so entries can be chosen that make it small
by wrapping. Before it is believed, random projections <x, z> with z in {-1, 0, 0, 1}^d, drawn after the shares
are committed, must be short, in the manner of PINE (Rothblum, Omri, Chen, Talwar, "PINE: Efficient Norm-Bound
Verification for Secret-Shared Vectors", 2024).

With E = `projection_bound`: *Soundness*: if some |x_i| > 2E, each projection passes with probability at most 1/2,
whatever the other entries are, as s, s + x_i and s - x_i cannot all lie in [-E, E], and if s does not, at most
both others do. So all of them pass with probability at most 2^-REPETITIONS. Else the sum of squares is at most
4 d E^2 < 2^63 (the plan refuses longer bounds) and does not wrap. *Completeness*: z_i is sub-Gaussian with
variance proxy 1/2, since (1 + cosh t)/2 <= exp(t^2/4); a vector of norm at most C passes except with probability
2 REPETITIONS exp(-(E/C)^2) <= 2^-50.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from crypto.keys.randomness import KeyedStream, derive_key

REPETITIONS = 48
LOG2_FALSE_REFUSAL = -50
_SLACK = math.sqrt(math.log(2 * REPETITIONS) - LOG2_FALSE_REFUSAL * math.log(2))
Ints = npt.NDArray[np.int64]


def projection_bound(norm_bound: int) -> int:
    """The largest |<x, z>| that passes, about 6.4 times the norm's bound."""
    return math.ceil(norm_bound * _SLACK)


def largest_norm(length: int) -> int:
    """The largest norm bound that can be checked for vectors of this length."""
    return int(math.isqrt((1 << 63) // (4 * length)) / _SLACK) - 1


def exact_norm_square(vector: Ints) -> int:
    """The sum of squares without wrapping, for int64 vectors of any length."""
    if vector.size == 0:
        return 0
    if max(int(vector.max()), -int(vector.min())) >= 1 << 24:
        return sum(map(_square, vector.tolist()))
    # Up to 2^14 squares below 2^48 fit 63 bits.
    return sum(int((part * part).sum()) for part in np.array_split(vector, 1 + (vector.size >> 14)))


def _square(value: int) -> int:
    return value * value


def directions(seed: bytes, length: int) -> Ints:
    """`REPETITIONS` rows z of this length, entries -1, 0, 0, 1 with probability 1/4 each (AES-CTR)."""
    stream = KeyedStream(derive_key(seed, "norm check directions 1"))
    bits = np.unpackbits(np.frombuffer(stream(2 * -(-REPETITIONS * length // 8)), dtype=np.uint8))
    both = bits[: 2 * REPETITIONS * length].reshape(2, REPETITIONS, length).astype(np.int64)
    drawn: Ints = both[0] - both[1]
    return drawn


def project(shares: Ints, seed: bytes) -> Ints:
    """Each row's projections modulo 2^64: shape (rows, REPETITIONS). Linear, so it is computed on shares."""
    rows, length = shares.shape
    total = np.zeros((rows, REPETITIONS), dtype=np.int64)
    piece = 1 << 13
    for first in range(0, length, piece):
        part = shares[:, first : first + piece]
        # A key per piece keeps the directions from ever being in memory whole.
        total += part @ directions(derive_key(seed, "piece", first), part.shape[1]).T
    return total
