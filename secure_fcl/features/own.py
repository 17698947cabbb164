"""Features of one's own, by `module:function`: held to norm 1 on the device, one example at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto.errors import CodeNotFound
from crypto.protocols.outside import file_of, load_code
from secure_fcl.errors import ConfigInvalid, FeaturesRefused
from secure_fcl.features.norms import Features, at_most_unit


@dataclass(frozen=True, eq=False)
class OwnFeatures:
    """A user's function x (1, ...) -> (1, d) or (d,), called with one example at a time.

    Called so, what it makes of an example cannot depend on the others of a batch, whatever it computes. That it keeps
    nothing from call to call is the user's word, and is tried on made-up inputs.

    *Guarantee*: every row has Euclidean norm at most 1 and is finite, or nothing is returned.
    """

    reference: str
    function: Callable[[Any], Any]

    def __call__(self, x: npt.NDArray[np.floating]) -> Features:
        """Return float64 (n, d), each row shortened to norm 1 where it is longer.

        Raises:
            FeaturesRefused: the function fails, or gives NaN, an infinity or another number of values. The sentence
                says nothing of the example, which may be private.
        """
        width = self.width(x.shape[1:])
        rows = np.empty((len(x), width))
        for place in range(len(x)):
            try:
                row = _flat(self.function(x[place : place + 1]))
            except Exception as error:
                raise FeaturesRefused(
                    f"{self._named} fails on an example with {type(error).__name__}; let it take every input"
                ) from None
            if len(row) != width:
                raise FeaturesRefused(
                    f"{self._named} gives an example {len(row)} values, not {width}; give all as many"
                )
            if not np.isfinite(row).all():
                raise FeaturesRefused(
                    f"{self._named} gives an example NaN or an infinity, which no clipping bounds; give finite numbers"
                )
            rows[place] = row
        return at_most_unit(rows)

    def width(self, shape: tuple[int, ...]) -> int:
        """Return the number of values for examples of a shape, as the function gives them for made-up inputs.

        Raises:
            ConfigInvalid: it fails on all of them, or gives no vector.
        """
        return _width(self, shape)

    def doubts(self, shape: tuple[int, ...]) -> Iterator[str]:
        """Yield a sentence for everything odd about made-up inputs; what holds on the device is checked there."""
        for what, x in _made_up(shape):
            try:
                row, again = _flat(self.function(x.copy())), _flat(self.function(x.copy()))
            except Exception as error:
                yield f"{self._named} fails on {what} with {type(error).__name__}: {error}"
                continue
            if not np.isfinite(row).all():
                yield f"{self._named} gives {what} NaN or an infinity, and on a device that ends the run"
            elif np.linalg.norm(row) > 1.0:
                yield f"{self._named} gives {what} norm {np.linalg.norm(row):.3g}, which is clipped to 1"
            if not np.array_equal(row, again, equal_nan=True):
                yield f"{self._named} gives {what} other values the second time; a sum's bound needs one answer"

    @property
    def _named(self) -> str:
        return f"features = {self.reference!r}"


def own_features(reference: str) -> OwnFeatures:
    """Import a user's function, which runs its module's code.

    Raises:
        ConfigInvalid: it cannot be imported, or is no function.
    """
    try:
        found = load_code(reference)
    except CodeNotFound as error:
        raise ConfigInvalid(f"features = {error}") from error
    if not callable(found):
        raise ConfigInvalid(
            f"features = {reference!r} in {file_of(reference)} is of type {type(found).__name__}; name a function that "
            "takes x (1, ...) and returns (1, d)"
        )
    return _kept(reference, found)


@lru_cache(maxsize=8)
def _kept(reference: str, function: Callable[[Any], Any]) -> OwnFeatures:
    return OwnFeatures(reference, function)


@lru_cache(maxsize=64)
def _width(own: OwnFeatures, shape: tuple[int, ...]) -> int:
    said = ""
    for what, x in _made_up(shape):
        try:
            row = _flat(own.function(x))
        except Exception as error:
            said = said or f"fails on {what} with {type(error).__name__}: {error}"
            continue
        if len(row):
            return len(row)
        said = said or f"gives {what} no value"
    raise ConfigInvalid(
        f"features = {own.reference!r} in {file_of(own.reference)}: {said}; give (1, d) for x of shape {(1, *shape)}"
    )


def _made_up(shape: tuple[int, ...]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    noise = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    yield "noise", noise
    yield "zeros", np.zeros((1, *shape), dtype=np.float32)
    yield "ones", np.ones((1, *shape), dtype=np.float32)


def _flat(values: Any) -> Features:
    """One example's values, float64 (d,)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    row = np.asarray(values, dtype=np.float64)
    if row.ndim not in (1, 2) or (row.ndim == 2 and len(row) != 1):
        raise ValueError(f"it gives shape {row.shape}, not (1, d)")
    return row.reshape(-1)
