"""Drift: inputs that change over time by a public schedule, the same for everyone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secure_fcl.config.streams import Drift

Floats = NDArray[np.float32]
Times = NDArray[np.float64]

#: Images are turned in steps of this many per run, so that few of them are computed one by one.
STEPS = 32


def amount(drift: Drift, time: Times) -> Times:
    """Return how far the input has changed, in the section's unit, at times from 0 (start) to 1 (end of the run)."""
    match drift.course:
        case "gradual":
            return drift.amount * np.round(time * STEPS) / STEPS
        case "abrupt":
            return np.where(time >= drift.start, drift.amount, 0.0)
        case "none":
            return np.zeros_like(time)


def drifted(x: Floats, time: Times, drift: Drift) -> Floats:
    """Return inputs as they look at their times.

    rotation turns an image in its plane and a phone's signal (6 channels) about its third axis; other signals are
    mixed between neighbouring channels by the same angle. gain scales a signal; an image's contrast changes about
    its own mean, and stays within the range it had.

    Args:
        x: float32 (n, 1, height, width) or (n, channels, time).
        time: of each example, float64 (n,), from 0 to 1.
        drift: the configuration's section.
    """
    change = amount(drift, time)
    if not change.any():
        return x
    if drift.kind == "gain":
        return _gain(x, (1.0 + change / 100.0).astype(np.float32))
    out = x.copy()
    for degrees in np.unique(change[change != 0.0]).tolist():
        out[change == degrees] = turned(x[change == degrees], degrees)
    return out


def _gain(x: Floats, factor: Floats) -> Floats:
    wide = factor.reshape(-1, *([1] * (x.ndim - 1)))
    if x.ndim == 3:
        return np.asarray(x * wide, dtype=np.float32)
    axes = tuple(range(1, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    low, high = x.min(axis=axes, keepdims=True), x.max(axis=axes, keepdims=True)
    return np.asarray(np.clip(mean + (x - mean) * wide, low, high), dtype=np.float32)


def turned(x: Floats, degrees: float) -> Floats:
    """Return inputs (n, ...) turned by an angle; see `drifted`."""
    if x.ndim == 4:
        from scipy.ndimage import rotate

        return np.ascontiguousarray(rotate(x, degrees, axes=(2, 3), reshape=False, order=1), dtype=np.float32)
    angle = np.deg2rad(degrees)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    out = x.copy()
    pairs = (0, 3) if x.shape[1] == 6 else range(0, x.shape[1] - 1, 2)
    for first in pairs:
        out[:, first] = cos * x[:, first] - sin * x[:, first + 1]
        out[:, first + 1] = sin * x[:, first] + cos * x[:, first + 1]
    return out
