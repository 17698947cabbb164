"""Public features for the strategies that learn a covariance, and public variations of an example.

As with the `plain` ones, a row depends on its own example alone, has Euclidean norm at most 1, and every constant
can be argued without the data. Added: the level of motion down to the sensor's own noise, which tells a standing
person's sway from a sitting one's; digits set upright before their edges are described; and turned copies of a window,
because a phone at the waist is never worn twice in the same way.

What was chosen on the data of the tables: the weight of the faint levels on session 1 of HAPT, with six persons at a
time held out; the turned copies on its later sessions; that digits are set upright on MNIST itself. See
docs/strategies-calm.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from secure_fcl.features.norms import Features, unit_rows
from secure_fcl.features.plain import hapt_features, image_features
from secure_fcl.features.sensor import HAPT, Sensor

_TURNS_DEGREES = ((0, 30.0), (0, -30.0), (1, 15.0), (1, -15.0), (2, 15.0), (2, -15.0))
"""About which axis (0: upwards), by how much: a phone elsewhere on the belt, and one that tilts with clothes."""

_SENSOR_NOISE = np.array([0.004] * 3 + [0.01] * 3)  # g, rad/s: a phone on a table
_FAINT_CENTRE = 2.16  # ln(75) / 2: half way from the sensor's noise to a brisk gait (0.3 g)
_W_FAINT = 0.1  # against a unit vector of all other features
_RHYTHM_FLOOR = np.array([0.02] * 3 + [0.05] * 3 + [0.02, 0.05])  # g, rad/s: a trunk at rest
_RHYTHM_LAGS = (2, 8)  # 25ths of a second: 0.08 and 0.32 s, a jolt and half a step
_W_RHYTHM = 0.3  # against a unit vector of all other features
_IMAGES_AT_ONCE = 200


def refined_hapt_features(x: npt.NDArray[np.floating], sensor: Sensor = HAPT) -> Features:
    """Return `hapt_features` with six levels of faint motion after them.

    Args:
        x: (n, 6, 64) as for `hapt_features`. n may be 0.
        sensor: rate and units of x.

    Returns:
        float64 (n, 129), each row of norm at most 1.

    Raises:
        ValueError: another shape.
    """
    rows = hapt_features(x, sensor)
    variance = sensor.physical(x).var(axis=2)
    faint = _W_FAINT * (0.5 * np.log1p(variance / _SENSOR_NOISE**2) - _FAINT_CENTRE)
    return unit_rows(np.concatenate([rows, faint], axis=1))


def rhythmic_hapt_features(x: npt.NDArray[np.floating], sensor: Sensor = HAPT) -> Features:
    """Return `refined_hapt_features` with each signal's own rhythm after them.

    Eight signals: the six channels, and the lengths of acceleration and of rotation. Each is put in units of its own
    deviation, down to that of a trunk at rest; its autocorrelations at two lags tell steps from sway, where the spectra
    tell how strong both are.

    Args:
        x: (n, 6, 64) as for `hapt_features`. n may be 0.
        sensor: rate and units of x.

    Returns:
        float64 (n, 145), each row of norm at most 1.

    Raises:
        ValueError: another shape.
    """
    rows = refined_hapt_features(x, sensor)
    moved = sensor.physical(x)
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in (moved[:, :3], moved[:, 3:])]
    signals = np.concatenate([moved, *lengths], axis=1)
    swing = signals - signals.mean(axis=2, keepdims=True)
    swing /= np.sqrt(swing.var(axis=2, keepdims=True) + _RHYTHM_FLOOR[:, None] ** 2)
    lags = [min(x.shape[2] - 1, sensor.samples(lag)) for lag in _RHYTHM_LAGS]
    lagged = [(swing[:, :, lag:] * swing[:, :, :-lag]).mean(axis=2) for lag in lags]
    return unit_rows(np.concatenate([rows, _W_RHYTHM * unit_rows(np.concatenate(lagged, axis=1))], axis=1))


def refined_image_features(x: npt.NDArray[np.floating]) -> Features:
    """Return `image_features` of images that were centred on their ink and set upright.

    Upright: a horizontal shear after which the ink's second moments no longer lean (as LeCun et al. 1998, section
    III.C, deslant digits), at most one pixel per row. The moments are the image's own.

    Raises:
        ValueError: a shape that `image_features` refuses.
    """
    if x.ndim != 4 or x.shape[1] != 1:
        return image_features(x)
    parts = [
        image_features(_upright(np.asarray(x[start : start + _IMAGES_AT_ONCE, 0], dtype=np.float64))[:, None])
        for start in range(0, max(len(x), 1), _IMAGES_AT_ONCE)
    ]
    return np.concatenate(parts)


def variations(x: npt.NDArray[np.floating]) -> Iterator[npt.NDArray[np.floating]]:
    """Yield copies of examples as they might have been: windows (n, 6, 64) turned about three axes; others once.

    A strategy that averages over them counts an example once, so its sensitivity stays what it was.
    """
    yield x
    if x.ndim != 3 or x.shape[1:] != (6, 64):
        return
    for axis, degrees in _TURNS_DEGREES:
        turn = _rotation(axis, degrees)
        yield np.einsum("ij,nsjt->nsit", turn, x.reshape(len(x), 2, 3, x.shape[2])).reshape(x.shape)


def _rotation(axis: int, degrees: float) -> Features:
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    out = np.eye(3)
    out[first, first] = out[second, second] = cosine
    out[first, second], out[second, first] = -sine, sine
    return out


def _upright(x: Features) -> Features:
    ink = np.clip(np.nan_to_num(x, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    height, width = ink.shape[1:]
    rows, columns = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    mass = np.maximum(ink.sum(axis=(1, 2)), 1e-9)
    down = np.einsum("nij,i->n", ink, rows) / mass
    right = np.einsum("nij,j->n", ink, columns) / mass
    dy, dx = rows - down[:, None], columns - right[:, None]
    spread = np.einsum("nij,ni->n", ink, dy**2)
    lean = np.clip(np.einsum("nij,ni,nj->n", ink, dy, dx) / np.maximum(spread, 1e-9), -1.0, 1.0)
    source_row = np.broadcast_to((rows + down[:, None])[:, :, None], ink.shape) + (height - 1) / 2
    source_column = columns + right[:, None, None] + (lean[:, None] * rows)[:, :, None] + (width - 1) / 2
    return _sample(ink, source_row, source_column)


def _sample(image: Features, row: Features, column: Features) -> Features:
    """Read images (n, h, w) at fractional positions (n, h, w), linearly; outside lies 0."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down, right = row - top, column - left
    number = np.arange(len(image))[:, None, None]

    def at(i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]) -> Features:
        found: Features = padded[number, np.clip(i + 1, 0, height + 1), np.clip(j + 1, 0, width + 1)]
        return found

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    out: Features = above * (1 - down) + below * down
    return out
