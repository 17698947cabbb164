"""What a client sends: named arrays that the server may only see summed over clients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl.errors import ConfigInvalid

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One named array of an upload: its shape and the public bound on |entry|."""

    name: str
    shape: tuple[int, ...]
    bound: float

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class UploadSpec:
    """A declared upload: its parts in order, the integer steps per unit, and the unit of sensitivity.

    Laws: `split(flatten(a)) == a`, and flattening is linear, so the sum of flattened contributions splits into
    the sums of the parts. `sensitivity_l2` is what one example can change in the real-valued vector, before
    rounding; None where the guarantee is made before the upload (local noise, post-processing).
    """

    name: str
    parts: tuple[Part, ...]
    scale: float
    sensitivity_l2: float | None
    sensitivity_entries: int | None
    unit: str

    @property
    def length(self) -> int:
        """Number of entries in all."""
        return sum(part.size for part in self.parts)

    def flatten(self, arrays: Mapping[str, Values]) -> Values:
        """Return one float64 vector.

        Raises:
            ConfigInvalid: a part is missing, undeclared, or of another shape.
        """
        if set(arrays) != {part.name for part in self.parts}:
            raise ConfigInvalid(
                f"upload {self.name!r} declares {[p.name for p in self.parts]} but was given {sorted(arrays)}"
            )
        for part in self.parts:
            if arrays[part.name].shape != part.shape:
                raise ConfigInvalid(f"part {part.name!r} has shape {arrays[part.name].shape}, declared {part.shape}")
        return np.concatenate([np.asarray(arrays[p.name], dtype=np.float64).ravel() for p in self.parts])

    def split(self, vector: Values) -> dict[str, Values]:
        """Return the parts of a flat vector; the inverse of `flatten`."""
        ends = np.cumsum([part.size for part in self.parts])[:-1]
        return {
            part.name: piece.reshape(part.shape) for part, piece in zip(self.parts, np.split(vector, ends), strict=True)
        }

    def clip(self, vector: Values) -> tuple[Values, int]:
        """Return the vector clipped to the declared bounds, and how many entries were beyond them."""
        clipped, beyond, start = np.empty_like(vector), 0, 0
        # Part by part: a vector of bounds, and others made of it, would each be as large as the upload.
        for part in self.parts:
            own, start = slice(start, start + part.size), start + part.size
            np.clip(vector[own], -part.bound, part.bound, out=clipped[own])
            beyond += int(np.count_nonzero(vector[own] > part.bound) + np.count_nonzero(vector[own] < -part.bound))
        return clipped, beyond

    @property
    def largest_bound(self) -> float:
        """Largest declared bound of an entry."""
        return max(part.bound for part in self.parts)
