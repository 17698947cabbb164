"""Public features of examples of any shape: windows of any channels and length, images of any size, vectors.

As with the others, a row depends on its own example alone, has Euclidean norm at most 1, and every constant can be
argued without any data: units are declared such that an ordinary signal is of the order of 1, so a hundredth of that is
rest, and logarithms are centred half way. Nothing here was chosen by looking at a data set. Where the sensor is known
better, features of one's own are better.
"""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from secure_fcl.features.norms import Features, at_most_unit, unit_rows
from secure_fcl.features.plain import image_features

MOST = 512
"""Longest row; more values are folded into as many by public signs."""

_FLOOR = 0.01  # of a unit: a channel at rest
_CENTRE = 0.5 * math.log(1.0 / _FLOOR)  # half way from rest to one unit, on a logarithmic scale
_CEILING = 1e6  # units: beyond it a number stands for a broken sensor
_MOST_BANDS = 6  # octaves below half the sampling rate
_MOST_PAIRS = 15  # of channels, the nearest ones: as many as six channels have
_LAGS = (0, 4, -4, 8, -8)  # 64ths of a window
_W_MEAN, _W_LEVEL, _W_BAND, _W_CORRELATION, _W_CHANGE = 1.0, 0.5, 0.25, 0.5, 0.5
_GRID = 3  # places at which an image's colours are averaged, per side
_W_COLOUR = 0.5  # against a unit vector of edges
_LEAST_SIDE = 4  # of an image with edges


def window_features(x: npt.NDArray[np.floating]) -> Features:
    """Describe windows by mean, level, rhythm, how channels move together and how the mean changes.

    Groups: mean per channel, level of motion per channel, level in up to six octaves of frequency, autocorrelation and
    correlations of up to 15 pairs of neighbouring channels at five lags, last quarter less the first.

    Args:
        x: (n, channels, time), any numbers of both, in units of which an ordinary signal has a few. NaN counts as 0,
            infinities as the ends of the range. n may be 0.

    Returns:
        float64 (n, d), d at most `MOST`, of the shape alone; each row has norm 1 up to rounding, or is 0.

    Raises:
        ValueError: another number of axes.

    *Guarantee*: every row has Euclidean norm at most 1 whatever the input, and depends on its own window alone.
    """
    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}, not (n, channels, time); give windows")
    clean = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=_CEILING, neginf=-_CEILING).clip(-_CEILING, _CEILING)
    mean = clean.mean(axis=2)
    swing = clean - mean[:, :, None]
    variance = (swing**2).mean(axis=2)
    quarter = max(1, clean.shape[2] // 4)
    change = clean[:, :, -quarter:].mean(axis=2) - clean[:, :, :quarter].mean(axis=2)
    groups = [
        _W_MEAN * np.arcsinh(mean),
        _W_LEVEL * (0.5 * np.log1p(variance / _FLOOR**2) - _CENTRE),
        _W_BAND * _octaves(swing),
        _W_CORRELATION * _correlations(swing / np.sqrt(variance + _FLOOR**2)[:, :, None]),
        _W_CHANGE * np.arcsinh(change),
    ]
    return unit_rows(folded(np.concatenate(groups, axis=1)))


def any_image_features(x: npt.NDArray[np.floating]) -> Features:
    """Describe images of any size and colour: edges of the mean of their colours, and colours by place.

    A grey image of at least 4 by 4 pixels is described as by `image_features`, a smaller one after zeros were put
    around it. Of several colours each one's mean in 3 by 3 places follows, less one half.

    Args:
        x: (n, colours, h, w) with values in 0..1 (cut to it; NaN counts as 0). n may be 0.

    Returns:
        float64 (n, d), d at most `MOST`, of the shape alone; each row has norm 1 up to rounding, or is 0.

    Raises:
        ValueError: another number of axes.

    *Guarantee*: every row has Euclidean norm at most 1 whatever the input, and depends on its own image alone.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}, not (n, colours, h, w); give images")
    clean = np.clip(np.nan_to_num(x, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0).astype(np.float64)
    high, wide = (max(0, _LEAST_SIDE - side) for side in x.shape[2:])
    grey = np.pad(clean.mean(axis=1, keepdims=True), ((0, 0), (0, 0), (0, high), (0, wide)))
    edges = image_features(grey)
    if x.shape[1] == 1:
        return edges
    places = [
        part.mean(axis=(2, 3)) - 0.5
        for strip in np.array_split(clean, min(_GRID, x.shape[2]), axis=2)
        for part in np.array_split(strip, min(_GRID, x.shape[3]), axis=3)
    ]
    return unit_rows(folded(np.concatenate([edges, _W_COLOUR * np.concatenate(places, axis=1)], axis=1)))


def vector_features(x: npt.NDArray[np.floating]) -> Features:
    """Return vectors (n, d), as long as they are or shortened to norm 1; of more than `MOST` values a folded one.

    NaN counts as 0. *Guarantee*: as of `window_features`.
    """
    rows = folded(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=_CEILING, neginf=-_CEILING))
    return at_most_unit(rows)


def general_features(x: npt.NDArray[np.floating]) -> Features:
    """Apply the features of this module that fit the shape: vectors, windows or images.

    Raises:
        ValueError: a shape that is none of them.
    """
    if x.ndim == 2:
        return vector_features(x)
    return any_image_features(x) if x.ndim == 4 else window_features(x)


def folded(rows: Features) -> Features:
    """Return rows of at most `MOST` values: each further value is added to one of them, with a public sign.

    Place and sign follow from SHA-256 of the value's number (feature hashing; Weinberger et al. 2009, section 2).
    """
    width = rows.shape[1]
    if width <= MOST:
        return rows
    mixing = np.zeros((width, MOST))
    for value in range(width):
        digest = hashlib.sha256(f"secure-fcl fold 1|{value}".encode()).digest()
        mixing[value, int.from_bytes(digest[:4], "big") % MOST] = 1.0 if digest[4] & 1 else -1.0
    short: Features = rows @ mixing
    return short


def _octaves(swing: Features) -> Features:
    """(n, channels * bands): level in the octaves below half the rate; the last has all that is slower."""
    length = swing.shape[2]
    taper = np.hanning(length) if length > 4 else np.ones(length)
    power = np.abs(np.fft.rfft(swing * taper, axis=2)) ** 2 * 2.0 / (taper**2).sum() / length
    cycles = np.fft.rfftfreq(length)
    count = max(1, min(_MOST_BANDS, int(math.log2(max(2, length))) - 1))
    edges = [0.5 / 2**band for band in range(count)] + [0.0]
    energy = [power[:, :, (cycles <= high) & (cycles > low)].sum(axis=2) for high, low in pairwise(edges)]
    levels: Features = 0.5 * np.log1p(np.concatenate(energy, axis=1) / _FLOOR**2) - _CENTRE
    return levels


def _correlations(scaled: Features) -> Features:
    """Lagged products of channels with themselves and their neighbours, within -1..1 as mean squares are below 1."""
    channels, length = scaled.shape[1:]
    near = sorted((b - a, a, b) for a in range(channels) for b in range(a + 1, min(channels, a + 1 + _MOST_PAIRS)))
    pairs = [(a, b) for _, a, b in near[:_MOST_PAIRS]]
    columns = []
    for lag in sorted({round(share * length / 64) for share in _LAGS}):
        early, late = scaled[:, :, : length - abs(lag)], scaled[:, :, abs(lag) :]
        first, second = (late, early) if lag >= 0 else (early, late)
        if lag > 0:
            columns.append((first * second).sum(axis=2) / length)
        if pairs:
            left, right = [a for a, _ in pairs], [b for _, b in pairs]
            columns.append(np.einsum("npt,npt->np", first[:, left], second[:, right]) / length)
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(scaled), 0))
