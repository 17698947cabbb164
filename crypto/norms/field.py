"""Integers modulo p = 2^64 - 2^32 + 1 ("Field64" of draft-irtf-cfrg-vdaf, section 6.1.2), as arrays of uint64 below p.

Numpy has no product of 128 bits, so products are put together from halves and reduced by 2^64 = 2^32 - 1 and
2^96 = -1 modulo p.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

P = (1 << 64) - (1 << 32) + 1
Elements = npt.NDArray[np.uint64]
#: A generator of the roots of unity of order 2^32.
_ROOT = pow(7, (1 << 32) - 1, P)
_P, _EPSILON, _LOW, _HALF = (np.uint64(each) for each in (P, (1 << 32) - 1, (1 << 32) - 1, 32))
#: Entries that are worked on at once, so that intermediate arrays stay in the cache.
_PIECE = 1 << 14


def to_field(values: npt.NDArray[np.int64]) -> Elements:
    """Return signed integers as elements."""
    found = values.astype(np.int64).view(np.uint64)
    return np.where(values < 0, found + _P, found)


def to_signed(elements: Elements) -> npt.NDArray[np.int64]:
    """Return elements as the integers of least size that they stand for, which must fit int64: all do."""
    return np.where(elements > np.uint64(P // 2), elements - _P, elements).view(np.int64)


def add(a: Elements, b: Elements) -> Elements:
    """Return a + b."""
    return _reduced_sum(a + b, a)


def _reduced_sum(wrapped: Elements, summand: Elements) -> Elements:
    """A sum modulo 2^64, below p: where it is below a summand it wrapped, which took away p + (2^32 - 1)."""
    found: Elements = np.where(wrapped < summand, wrapped + _EPSILON, wrapped)
    return np.where(found >= _P, found - _P, found)


def subtract(a: Elements, b: Elements) -> Elements:
    """Return a - b."""
    return np.where(a >= b, a - b, a - b + _P)


def multiply(a: Elements, b: Elements) -> Elements:
    """Return a b, broadcast."""
    if max(a.size, b.size) <= _PIECE or a.shape != b.shape:
        return _product(a, b)
    found = np.empty(a.shape, dtype=np.uint64)
    one, two, out = a.reshape(-1), b.reshape(-1), found.reshape(-1)
    for first in range(0, one.size, _PIECE):
        here = slice(first, first + _PIECE)
        out[here] = _product(one[here], two[here])
    return found


def _product(a: Elements, b: Elements) -> Elements:
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low, cross, other, high = a0 * b0, a0 * b1, a1 * b0, a1 * b1
    middle = (low >> _HALF) + (cross & _LOW) + (other & _LOW)
    low = (low & _LOW) | (middle << _HALF)
    high = high + (cross >> _HALF) + (other >> _HALF) + (middle >> _HALF)
    # low + 2^64 high_0 + 2^96 high_1 = low - high_1 + (2^32 - 1) high_0.
    top = high >> _HALF
    rest = low - top
    rest = np.where(low < top, rest - _EPSILON, rest)
    shifted = (high & _LOW) * _EPSILON
    return _reduced_sum(rest + shifted, shifted)


def total(elements: Elements, axis: int = -1) -> Elements:
    """Return the sum along an axis of at most 2^31 elements."""
    # Arrays, never numbers: numpy warns where a number wraps.
    low = (elements & _LOW).sum(axis=axis, dtype=np.uint64, keepdims=True)
    high = (elements >> _HALF).sum(axis=axis, dtype=np.uint64, keepdims=True)
    # 2^32 high, of which 2^64 (high >> 32) = (2^32 - 1) (high >> 32).
    shifted = add(_reduced((high & _LOW) << _HALF), _reduced((high >> _HALF) * _EPSILON))
    return np.squeeze(add(shifted, _reduced(low)), axis=axis)


def _reduced(values: Elements) -> Elements:
    return np.where(values >= _P, values - _P, values)


def dot(a: Elements, b: Elements) -> Elements:
    """Return the sum of a b along the last axis."""
    if a.shape == b.shape or a.size <= _PIECE:
        return total(multiply(*np.broadcast_arrays(a, b)))
    rows = max(1, _PIECE // a.shape[-1])
    return np.concatenate([total(_product(a[r : r + rows], b)) for r in range(0, len(a), rows)])


@cache
def powers(base: int, count: int) -> Elements:
    """Return base^0, ..., base^(count - 1). Kept: only for public bases."""
    return fresh_powers(base, count)


def fresh_powers(base: int, count: int) -> Elements:
    """Return base^0, ..., base^(count - 1)."""
    found = np.ones(1, dtype=np.uint64)
    while len(found) < count:
        step = np.full(1, pow(base, len(found), P), dtype=np.uint64)
        found = np.concatenate([found, multiply(found, np.broadcast_to(step, found.shape))])
    return found[:count]


def root(order: int) -> int:
    """Return a root of unity of this order, a power of two up to 2^32."""
    return pow(_ROOT, (1 << 32) // order, P)


def evaluate(coefficients: Elements, inverse: bool = False) -> Elements:
    """Return the values of polynomials (..., n) at the n-th roots of unity root(n)^k, n a power of two.

    `inverse`: the coefficients of polynomials with these values.
    """
    n = coefficients.shape[-1]
    base = pow(root(n), -1, P) if inverse else root(n)
    # Decimation in frequency (Stockham): each pass halves the length and doubles the number of interleaved parts.
    x, length, parts = coefficients.reshape(*coefficients.shape[:-1], n, 1), n, 1
    while length > 1:
        half = length // 2
        twiddles = powers(pow(base, n // length, P), half)[:, None]
        first, second = x[..., :half, :], x[..., half:, :]
        turned = _by_rows(subtract(first, second), twiddles)
        x = np.stack([add(first, second), turned], axis=-2).reshape(*x.shape[:-2], half, 2 * parts)
        length, parts = half, 2 * parts
    found = x.reshape(coefficients.shape)
    if inverse:
        found = multiply(found, np.broadcast_to(np.uint64(pow(n, -1, P)), found.shape))
    return found


def _by_rows(values: Elements, factors: Elements) -> Elements:
    return multiply(values, np.ascontiguousarray(np.broadcast_to(factors, values.shape)))


def value_at(coefficients: Elements, point: int) -> int:
    """Return the value of one polynomial at a secret point."""
    return int(dot(coefficients, fresh_powers(point, len(coefficients))))


def lagrange_at(order: int, point: int) -> Elements:
    """Return the weights (order,) that make values at the roots of unity of this order into the value at a point.

    The point must be none of these roots: w_k = r_k (point^n - 1) / (n (point - r_k)).
    """
    roots = powers(root(order), order)
    apart = subtract(np.broadcast_to(np.uint64(point), roots.shape), roots)
    scale = (pow(point, order, P) - 1) * pow(order, -1, P) % P
    return multiply(multiply(roots, inverses(apart)), np.broadcast_to(np.uint64(scale), roots.shape))


def inverses(elements: Elements) -> Elements:
    """Return 1 / a for every element, none of them 0."""
    return np.array([pow(element, -1, P) for element in elements.tolist()], dtype=np.uint64)
