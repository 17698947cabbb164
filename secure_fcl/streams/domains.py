"""Domain-incremental tasks: the same classes under public transformations of the input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def transform(x: Floats, domain: int, domains: int) -> Floats:
    """Return x (n, ...) as domain number `domain` of `domains` shows it; domain 0 is the identity.

    Images (n, 1, h, w) are rotated by domain * 180 / domains degrees (rotated MNIST, Lopez-Paz and Ranzato 2017,
    section 4). Signals (n, 6, time) of a phone are turned about its third axis by domain * 360 / domains degrees:
    the phone worn another way round. Other signals have their channels rolled.
    """
    if domain == 0 or len(x) == 0:
        return x
    if x.ndim == 4:
        from scipy.ndimage import rotate

        turned = rotate(x, 180.0 * domain / domains, axes=(2, 3), reshape=False, order=1)
        return np.ascontiguousarray(turned, dtype=np.float32)
    if x.shape[1] != 6:
        return np.roll(x, domain, axis=1)
    angle = 2.0 * np.pi * domain / domains
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    out = x.copy()
    for first in (0, 3):
        out[:, first] = cos * x[:, first] - sin * x[:, first + 1]
        out[:, first + 1] = sin * x[:, first] + cos * x[:, first + 1]
    return out
