"""What a sum of few examples gives away by linear algebra alone, without noise.

Features are at most 1 long and public functions of examples, so a Gram matrix F'F and a sum F'1 are all that is needed:
the matrix's rank counts the examples, its span holds each of them, and one or two come out whole. From three on, the
examples are known up to a rotation that keeps their sum: linear algebra goes no further.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attacks.errors import TranscriptInvalid

Floats = NDArray[np.float64]

#: Eigenvalues below this share of the largest are rounding.
_RELATIVE = 1e-6


def rank_of(gram: Floats, noise: float = 0.0) -> int:
    """Number of independent examples in a Gram matrix: eigenvalues above rounding and above what noise alone has."""
    values = np.linalg.eigvalsh(gram)
    return int((values > max(_RELATIVE * float(np.abs(values).max()), noise)).sum())


def examples_from_moments(total: Floats, gram: Floats, count: int) -> Floats | None:
    """The examples themselves, (count, d), in any order; None where linear algebra does not give them.

    One is its own sum. Of two, a + b = s and aa' + bb' = (ss' + dd') / 2 with d = a - b, so that 2 G - ss' = dd' shows
    d up to its sign, and a, b = (s +- d) / 2.

    Args:
        total: (d,), their sum.
        gram: (d, d), the sum of their products.
        count: how many there are, at least 1 (`rank_of`, or the trace where all have norm 1).

    Raises:
        TranscriptInvalid: shapes do not fit, or a count below 1.
    """
    if gram.shape != (len(total), len(total)) or count < 1:
        raise TranscriptInvalid(f"sum {total.shape}, products {gram.shape}, {count} examples: shapes do not fit")
    if count == 1:
        return total[None].copy()
    if count > 2:
        return None
    values, vectors = np.linalg.eigh(2.0 * gram - np.outer(total, total))
    apart = vectors[:, -1] * math.sqrt(max(float(values[-1]), 0.0))
    return np.stack([(total + apart) / 2.0, (total - apart) / 2.0])


def span_distances(gram: Floats, candidates: Floats, rank: int) -> Floats:
    """How far each candidate (n, d) lies outside the span of the examples, over its length: 0 for each of them."""
    basis = np.linalg.eigh(gram)[1][:, len(gram) - rank :]
    lengths = np.linalg.norm(candidates, axis=1)
    outside = np.linalg.norm(candidates - (candidates @ basis) @ basis.T, axis=1)
    return np.asarray(outside / np.where(lengths > 0.0, lengths, 1.0))


def mean_likeness(released: Floats, truth: Floats, blind: Floats) -> float:
    """Correlation of a released class sum with the true one, both less what is known without it; 0 is a blind guess.

    Args:
        released, truth: (d,), sums over the class's examples.
        blind: (d,), what a typical example adds; each sum loses as many of them as suit it best.
    """
    unit = blind / max(float(np.linalg.norm(blind)), 1e-300)
    left, right = (row - (row @ unit) * unit for row in (released, truth))
    lengths = [
        (float(np.linalg.norm(rest)), float(np.linalg.norm(row))) for rest, row in ((left, released), (right, truth))
    ]
    # What rounding left of a sum that is all typical says nothing.
    if any(rest <= _RELATIVE * row for rest, row in lengths):
        return 0.0
    return float(left @ right) / (lengths[0][0] * lengths[1][0])


def least_found(length: float, level: float = 0.05, power: float = 0.95) -> float:
    """Examples of a class whose arrival shows at a level with a power; each is `length` noise deviations long."""
    from scipy.special import ndtri

    return float(ndtri(power) - ndtri(level)) / length if length > 0.0 else math.inf
