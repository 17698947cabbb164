"""Shamir's secret sharing over a prime field that holds 256-bit secrets.

Shamir, "How to share a secret", CACM 22(11), 1979. Python's integers, so not constant time: the secrets are
one-time seeds and the adversary measures over a network.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np

from crypto.keys.randomness import RandomBytes
from crypto.protocols.masks.errors import ShareError

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
# 384 random bits modulo a 257-bit prime are within 2^-127 of uniform.
_COEFFICIENT_BYTES = 48


def evaluate(coefficients: Sequence[int], points: Sequence[int], prime: int = PRIME) -> list[int]:
    """Return the polynomial's values modulo `prime` at `points`; `coefficients[0]` is the constant term.

    An empty list of coefficients is the zero polynomial.
    """
    values = []
    high_first = coefficients[::-1]
    for x in points:
        value = 0
        for coefficient in high_first:
            # The points are small, so reducing each product costs less than letting it grow.
            value = (value * x + coefficient) % prime
        values.append(value)
    return values


def split(secret: bytes, threshold: int, points: Sequence[int], random: RandomBytes) -> list[bytes]:
    """Share 32 bytes among `points`, the holders' x-coordinates; returns one share of 33 bytes for each.

    *Guarantee*: any `threshold` shares give the secret, fewer are independent of it (to within 2^-127).

    Raises:
        ShareError: the secret has not 32 bytes, 1 <= threshold <= number of points does not hold, or the points are not
            different whole numbers between 1 and 2^32.
    """
    if len(secret) != SECRET_BYTES:
        raise ShareError(f"the secret has {len(secret)} bytes; {SECRET_BYTES} are shared")
    if not 1 <= threshold <= len(points):
        raise ShareError(f"a threshold of {threshold} among {len(points)} holders; choose 1 to {len(points)}")
    _check_points(points)
    drawn = random(_COEFFICIENT_BYTES * (threshold - 1))
    starts = range(0, len(drawn), _COEFFICIENT_BYTES)
    coefficients = [int.from_bytes(secret, "little")]
    coefficients += [int.from_bytes(drawn[start : start + _COEFFICIENT_BYTES], "little") % PRIME for start in starts]
    return [value.to_bytes(SHARE_BYTES, "little") for value in evaluate(coefficients, points)]


def lagrange_weights(points: Sequence[int], prime: int = PRIME) -> list[int]:
    """Return the weights w with sum w_i f(x_i) = f(0) for every polynomial of lower degree than points.

    One set of weights serves every secret whose shares come from the same holders.

    Raises:
        ShareError: no points, equal points, or points outside 1 to 2^32.
    """
    _check_points(points)
    return _divide_by_all(math.prod(points) % prime, [x % prime for x in _products_of_differences(points)], prime)


def combine(weights: Sequence[int], values: Sequence[int], prime: int = PRIME) -> int:
    """Return the shared value from `lagrange_weights` and the shares in the same order.

    Raises:
        ShareError: another number of shares than of weights.
    """
    if len(weights) != len(values):
        raise ShareError(f"{len(values)} shares for {len(weights)} weights; give one share for each")
    total: int = sum(map(operator.mul, weights, values))
    return total % prime


def recover(weights: Sequence[int], shares: Sequence[bytes]) -> bytes | None:
    """Return the 32-byte secret of `shares`, in the order of `weights`; None if they share no such secret.

    Raises:
        ShareError: as `combine` says.
    """
    values = [int.from_bytes(share, "little") for share in shares]
    secret = combine(weights, values)
    return secret.to_bytes(SECRET_BYTES, "little") if secret < 1 << (8 * SECRET_BYTES) else None


def _check_points(points: Sequence[int]) -> None:
    if not points or len(set(points)) != len(points) or min(points) < 1 or max(points) > 1 << 32:
        raise ShareError(f"{len(points)} holders need as many different points between 1 and 2^32")


def _products_of_differences(points: Sequence[int]) -> list[int]:
    """For each point x the product of x and all (other - x): small numbers, so most of it is done in 64 bits."""
    columns = np.array(points, dtype=np.int64)
    differences = columns[None, :] - columns[:, None]
    differences.reshape(-1)[:: len(points) + 1] = columns
    # No point and no difference of two is longer than the largest point.
    together = 62 // max(points).bit_length()
    starts = np.arange(0, len(points), together)
    return [math.prod(row) for row in np.multiply.reduceat(differences, starts, axis=1).tolist()]


def _divide_by_all(number: int, values: Sequence[int], prime: int) -> list[int]:
    """Divide `number` by each of the values, with one inversion for all (Montgomery's trick)."""
    running, before = 1, []
    for value in values:
        before.append(running)
        running = running * value % prime
    left = number * pow(running, -1, prime) % prime
    quotients = []
    for value, product in zip(reversed(values), reversed(before), strict=True):
        quotients.append(left * product % prime)
        left = left * value % prime
    return quotients[::-1]
