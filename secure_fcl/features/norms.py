"""Norms of public features: at most 1, so that an example weighs at most 1 in a sum of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float64]
_SHRINK = 1.0 - 2.0**-40  # keeps the norm at most 1 after rounding


def unit_rows(rows: Features) -> Features:
    """Scale every row (n, d) to norm 1 less rounding; a zero row stays zero."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Features = rows / np.where(norm > 0, norm, 1.0) * _SHRINK
    return unit


def at_most_unit(rows: Features) -> Features:
    """Shorten rows longer than 1 to norm 1 less rounding, and leave the others as they are."""
    # Divided by the largest entry first: the square of a huge one would overflow.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=1.0)
    norm = np.linalg.norm(rows / largest, axis=1, keepdims=True) * largest
    short: Features = rows / np.maximum(norm, 1.0) * np.where(norm > 1.0 - 2.0**-40, _SHRINK, 1.0)
    return short
