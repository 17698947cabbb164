"""Public random Fourier features beside others: a kernel's reach for what sums a second moment without noise.

Under noise they cost: every further dimension is noise in every sum (docs/strategies-calm.md has the figures).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from secure_fcl.features.norms import Features, unit_rows

WAVES = 500
"""Random features beside the others."""

_WIDTH = 0.5  # of the Gaussian kernel, for rows of norm 1


@dataclass(frozen=True)
class WithFourier:
    """Features f and as many random cosines of them, both of about norm 1, together of norm at most 1.

    cos(w f + b) with w normal and b uniform (Rahimi and Recht 2007, algorithm 1), both public: they follow from
    SHAKE-256 of the number of features, so every device and the server draw the same.
    """

    inner: Callable[[npt.NDArray[np.floating]], Features]

    def __call__(self, x: npt.NDArray[np.floating]) -> Features:
        """Return float64 (n, d + `WAVES`)."""
        rows = self.inner(x)
        directions, phases = _drawn(rows.shape[1])
        waves = np.cos(rows @ directions + phases) * math.sqrt(2.0 / WAVES)
        return unit_rows(np.concatenate([rows, waves], axis=1))


@lru_cache(maxsize=4)
def _drawn(width: int) -> tuple[Features, Features]:
    count = width * WAVES
    stream = hashlib.shake_256(f"secure-fcl fourier 1|{width}".encode()).digest(8 * (2 * count + WAVES))
    uniform = (np.frombuffer(stream, dtype="<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:count]))
    normal = radius * np.cos(2.0 * math.pi * uniform[count : 2 * count])  # Box and Muller
    return normal.reshape(width, WAVES) / _WIDTH, 2.0 * math.pi * uniform[2 * count :]
