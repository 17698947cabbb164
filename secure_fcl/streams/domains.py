"""Domain-incremental tasks: the same classes under public transformations of the input."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from secure_fcl.randomness import public_generator
from secure_fcl.streams.drift import turned

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
        return turned(x, 180.0 * domain / domains)
    if x.shape[1] != 6:
        return np.roll(x, domain, axis=1)
    return turned(x, 360.0 * domain / domains)


def permute(x: Floats, domain: int, seed: int) -> Floats:
    """Return x (n, ...) with its entries in the public order of a domain; domain 0 is the identity.

    Permuted MNIST (Goodfellow et al. 2013, section 3): one fixed permutation of the pixels per domain. Signals
    (n, channels, time) are permuted in time, all channels alike.
    """
    if domain == 0 or len(x) == 0:
        return x
    size = math.prod(x.shape[1:]) if x.ndim == 4 else x.shape[2]
    order = public_generator(seed, "permutation", domain).permutation(size)
    if x.ndim == 4:
        return np.ascontiguousarray(x.reshape(len(x), size)[:, order].reshape(x.shape))
    return np.ascontiguousarray(x[:, :, order])
