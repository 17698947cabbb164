"""Public unlabelled inputs: made up from a seed, or of the user's own code; never examples of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from crypto.errors import CodeNotFound
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_generator
from secure_fcl.references import load_code, names_code
from secure_fcl.strategies.base import Floats

GENERATED = "generated"
"""Name of inputs that are made up."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PublicInputs:
    """Inputs that everybody holds.

    Attributes:
        raw: float32 (n, *shape), as examples of the data set.
        x: the same as networks are shown them: public features, where the run trains on those.
        held: whether a device has to keep them; made-up ones follow from the seed.
    """

    raw: Floats
    x: Floats
    held: bool

    @property
    def kept_bytes(self) -> int:
        """Bytes on a device."""
        return self.x.nbytes if self.held else 0


@lru_cache(maxsize=8)
def made_up(shape: tuple[int, ...], seed: int, count: int = 128) -> PublicInputs:
    """Return made-up inputs of a shape: strokes for images, waves on an offset for signals, normal vectors else.

    They know the shape and nothing of any data set, so a teacher's answers on them are far from those on real inputs.
    """
    rng = public_generator(seed, "public inputs")
    match shape:
        case (channels, time):
            found = np.stack([_waves(rng, channels, time) for _ in range(count)])
        case (colours, height, width):
            found = np.stack([_strokes(rng, colours, height, width) for _ in range(count)])
        case _:
            found = rng.standard_normal((count, *shape)) / math.sqrt(max(math.prod(shape), 1))
    x = found.astype(np.float32)
    return PublicInputs(raw=x, x=x, held=False)


def _waves(rng: np.random.Generator, channels: int, time: int) -> np.ndarray:
    """Return an offset a channel, a few common rhythms of one loudness from still to strong, and a little noise."""
    loud, moments = 10.0 ** rng.uniform(-2.0, 0.0), np.arange(time) / time
    rhythms = 10.0 ** rng.uniform(0.0, math.log10(max(time / 4.0, 1.0)), size=3)
    phases, sizes = rng.uniform(0.0, 2.0 * math.pi, (channels, 3, 1)), rng.standard_normal((channels, 3, 1))
    waves = (sizes * np.sin(2.0 * math.pi * rhythms[:, None] * moments + phases)).sum(axis=1)
    offset, noise = 0.5 * rng.standard_normal((channels, 1)), 0.1 * rng.standard_normal((channels, time))
    return np.asarray(offset + loud * (waves / math.sqrt(3.0) + noise))


def _strokes(rng: np.random.Generator, colours: int, height: int, width: int) -> np.ndarray:
    """Return one to three curved strokes from 0 (no ink) to 1, as wide as a tenth of the image, in one colour."""
    rows, columns = np.mgrid[0:height, 0:width]
    along = np.linspace(0.0, 1.0, 2 * max(height, width))[:, None]
    image, pen = np.zeros((height, width)), max(0.6, 0.05 * max(height, width))
    for _ in range(int(rng.integers(1, 4))):
        start, bend, end = rng.uniform(0.1, 0.9, (3, 2)) * (height - 1, width - 1)
        points = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
        apart = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
        image = np.maximum(image, np.exp(-apart.min(axis=-1) / (2.0 * pen**2)))
    return np.asarray(image * rng.uniform(0.5, 1.0, (colours, 1, 1)))


def public_inputs(key: str, reference: str, shape: tuple[int, ...], seed: int, count: int) -> PublicInputs:
    """Return the inputs that a configuration's `key` names, before they are described by features.

    `module:function` is imported and called with the shape of one example; it returns an array (n, *shape).

    Raises:
        ConfigInvalid: no such code, or what it returns are no finite inputs of this shape, or no others twice.
    """
    if not names_code(reference):
        return made_up(shape, seed, count)
    try:
        function: Any = load_code(reference)
        first, second = (np.asarray(function(shape), dtype=np.float32) for _ in range(2))
    except CodeNotFound as error:
        raise ConfigInvalid(f"{key} = {error}") from error
    except Exception as error:
        raise ConfigInvalid(
            f"{key} = {reference!r} fails for examples of shape {shape} with {type(error).__name__}: {error}; it takes "
            "the shape and returns an array (n, *shape)"
        ) from error
    if first.ndim != len(shape) + 1 or first.shape[1:] != shape or not len(first) or not np.isfinite(first).all():
        raise ConfigInvalid(
            f"{key} = {reference!r} returns an array {first.shape}; return finite numbers (n, "
            f"{', '.join(map(str, shape))}), n at least 1"
        )
    if not np.array_equal(first, second):
        raise ConfigInvalid(f"{key} = {reference!r} returns other inputs when asked again; draw them from a fixed seed")
    return PublicInputs(raw=first, x=first, held=True)


def refuse_overlap(key: str, public: PublicInputs, x: Floats, windows_per_reading: int) -> None:
    """Raise ConfigInvalid if a public input is an example, or shares a reading with one where windows overlap.

    Examples that were changed before (scaled, cut, with noise) are not recognised.

    Args:
        key: of the configuration.
        public: the inputs.
        x: all examples, training and test, (n, *shape).
        windows_per_reading: of the data set; above 1, moments of a signal (its last axis) are compared one by one.
    """
    ours, theirs = _pieces(public.raw, windows_per_reading), _pieces(x, windows_per_reading)
    common = int(np.isin(ours, theirs).sum())
    if common:
        what = "readings" if windows_per_reading > 1 else "inputs"
        raise ConfigInvalid(
            f"{key}: {common} of {len(ours)} public {what} are those of training or test examples; whoever gives them "
            "away is not protected, so give inputs from outside the data set"
        )


def _pieces(x: Floats, windows_per_reading: int) -> np.ndarray:
    """Return each input, or each moment of it, as one comparable value; zero has one sign."""
    split = np.moveaxis(x, -1, 1).reshape(-1, *x.shape[1:-1]) if windows_per_reading > 1 else x
    rows = np.ascontiguousarray(split.reshape(len(split), -1) + np.float32(0.0))
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
