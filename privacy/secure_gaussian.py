"""Gaussian noise from the caller's random bytes: continuous in double precision, or discrete on the integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidParameter
from privacy.randomness import RandomBytes, uniforms

if TYPE_CHECKING:
    import torch

#: Normals made at once: what they take stays in the second cache, and a draw costs more than calling for it.
_CHUNK = 1 << 15


def gaussian(std: float, shape: Sequence[int], random: RandomBytes) -> torch.Tensor:
    """Return independent N(0, std^2) variables, float64 of `shape`, by the inverse distribution function.

    Each uses 52 bits of its own, so no value lies beyond 8.2 standard deviations and the tail is right up to steps of
    2^-52. The values are doubles, not reals: the low bits of a release are not covered (Mironov 2012); the integer
    mechanisms are. std 0 gives zeros; an empty shape draws nothing.

    Raises:
        InvalidParameter: std is negative or not finite.
    """
    return _sum_of_normals(std, shape, random, 1)


def release_noise(std: float, shape: Sequence[int], random: RandomBytes) -> torch.Tensor:
    """Return independent N(0, std^2) variables, float64 of `shape`, each the sum of two of `gaussian`.

    One alone takes at most 2^52 values: beyond 6.4 standard deviations they lie further apart than float32 numbers, so
    that some results would be possible with an example and impossible without. Sums of two leave no such gaps, reach
    11.6 standard deviations, and make the search for the low bits as long as the second variable's 2^52 values
    (Holohan and Braghin 2021, arXiv 2107.10138; Mironov 2012). Draws 16 bytes each; std 0 gives zeros.

    Raises:
        InvalidParameter: std is negative or not finite.
    """
    return _sum_of_normals(std * math.sqrt(0.5), shape, random, 2)


def _sum_of_normals(std: float, shape: Sequence[int], random: RandomBytes, terms: int) -> torch.Tensor:
    """Return sums of `terms` of `gaussian`: first the bytes of all first terms are drawn, then those of the second."""
    import torch

    _check(std, "std")
    count, scale = math.prod(shape), math.sqrt(2.0) * std
    if std == 0.0:
        return torch.zeros(tuple(shape), dtype=torch.float64)
    out = torch.empty(count, dtype=torch.float64)
    room = np.empty(min(count, _CHUNK), dtype=np.uint64)
    for term in range(terms):
        for part in torch.split(out, _CHUNK) if count else ():
            centred = torch.from_numpy(_centred(random, room[: part.numel()]))
            if term == 0:
                torch.erfinv(centred, out=part).mul_(scale)
            else:
                part.add_(centred.erfinv_().mul_(scale))
    return out.view(tuple(shape))


def _centred(random: RandomBytes, room: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return 2u - 1 for `uniforms`, bit for bit, in the place of `room`, which it overwrites.

    The 52 bits become the fraction of a double in [2, 4): 2 + k 2^-51. Less 3, and half a step of the grid further,
    that is 2u - 1; both operations are exact, so both tails are alike.
    """
    words = np.frombuffer(random(8 * len(room)), dtype="<u8")
    np.bitwise_or(np.right_shift(words, np.uint64(12), out=room), np.uint64(0x4000000000000000), out=room)
    found = room.view(np.float64)
    found -= 3.0
    found += 2.0**-52
    return found


def discrete_gaussian(variance: float, count: int, random: RandomBytes) -> NDArray[np.int64]:
    """Return `count` discrete Gaussians N_Z(0, variance), int64 (count,): P(x) ~ exp(-x^2 / (2 variance)).

    Rejection from a discrete Laplace of scale t = floor(std) + 1 (Canonne, Kamath and Steinke 2020, algorithm 3), with
    every comparison made in double precision against 52 random bits: each probability is right to about 2^-50
    relatively; `exact_discrete_gaussian` has no such error. Variance 0 gives zeros.

    Raises:
        InvalidParameter: the variance is negative, not finite, or 2^80 and more.
    """
    _check(variance, "variance")
    if variance >= 2.0**80:
        raise InvalidParameter(f"variance={variance} is 2^80 or more; lower the scale of the integers")
    out = np.zeros(count, dtype=np.int64)
    if variance == 0.0:
        return out
    t = math.floor(math.sqrt(variance)) + 1
    filled = 0
    while filled < count:
        # 1.5: at least 0.72 of the proposals are accepted but for tiny variances, half of those with x = 0 refused.
        n = int(1.5 * (count - filled)) + 16
        u = uniforms(random, (3, n))
        # floor(-t log u) is geometric with ratio exp(-1/t), exactly what the discrete Laplace takes its size from.
        size = np.floor(-t * np.log(u[0]))
        negative = u[1] < 0.5
        keep = np.log(u[2]) <= -((size - variance / t) ** 2) / (2.0 * variance)
        keep &= ~(negative & (size == 0.0))
        good = np.where(negative, -size, size)[keep][: count - filled].astype(np.int64)
        out[filled : filled + good.size] = good
        filled += good.size
    return out


def exact_discrete_gaussian(variance: Fraction, random: RandomBytes) -> int:
    """Return one discrete Gaussian without any rounding: integers only (Canonne, Kamath and Steinke 2020, alg. 1-3).

    Slow (tens of microseconds each) and not constant in time; for small releases, and the reference of the fast one.

    Raises:
        InvalidParameter: the variance is not positive.
    """
    if variance <= 0:
        raise InvalidParameter(f"variance={variance} must be positive")
    # floor(sqrt(p/q)) == isqrt(p // q)
    t = math.isqrt(variance.numerator // variance.denominator) + 1
    while True:
        candidate = _discrete_laplace(t, random)
        excess = abs(candidate) - variance / t
        if _coin_exp(excess * excess / (2 * variance), random):
            return candidate


def _discrete_laplace(t: int, random: RandomBytes) -> int:
    while True:
        low = _below(t, random)
        if not _coin_exp(Fraction(low, t), random):
            continue
        high = 0
        while _coin_exp(Fraction(1), random):
            high += 1
        size = low + t * high
        if _below(2, random):
            return size
        if size:
            return -size


def _coin_exp(gamma: Fraction, random: RandomBytes) -> bool:
    """Return a coin of probability exp(-gamma), gamma >= 0 (algorithm 1)."""
    while gamma > 1:
        if not _coin_exp(Fraction(1), random):
            return False
        gamma -= 1
    k = 1
    while _below(gamma.denominator * k, random) < gamma.numerator:
        k += 1
    return k % 2 == 1


def _below(bound: int, random: RandomBytes) -> int:
    """Return a uniform integer in [0, bound), by rejection."""
    size = (bound.bit_length() + 7) // 8
    limit = (256**size // bound) * bound
    while True:
        value = int.from_bytes(random(size), "little")
        if value < limit:
            return value % bound


def _check(value: float, name: str) -> None:
    if not 0.0 <= value < math.inf:
        raise InvalidParameter(f"{name}={value} must be at least 0 and finite")
