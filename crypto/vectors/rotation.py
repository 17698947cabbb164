"""A public random rotation that spreads a vector evenly before it is clipped and rounded.

H D x / sqrt(n): random signs D, then the Walsh-Hadamard transform H, as in Suresh, Yu, Kumar, McMahan,
"Distributed Mean Estimation with Limited Communication", 2017. It is orthogonal: norms and inner products stay,
and an unbiased encoding of the rotated vector is an unbiased encoding of the vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.errors import EncodingError
from crypto.keys.randomness import KEY_BYTES, KeyedStream, derive_key

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of vectors of `length` entries that a public seed of 32 bytes names.

    *Guarantee*: `inverse(forward(x))` is x and both keep the L2 norm, up to float64 rounding; sums commute with
    both, so a sum of rotated vectors is turned back once. For a vector fixed before the seed is drawn, each rotated
    entry exceeds r * norm(x) / sqrt(`padded`) with probability at most 2 exp(-r^2 / 2) (Hoeffding). The seed hides
    nothing. Whoever knows the seed can choose a vector that is not spread: clip after rotating.
    """

    seed: bytes = field(repr=False)
    length: int

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            EncodingError: a seed of another size or a length below 1.
        """
        if len(self.seed) != KEY_BYTES or self.length < 1:
            raise EncodingError(f"a rotation takes {KEY_BYTES} bytes and a length of at least 1, not {self.length}")

    @property
    def padded(self) -> int:
        """The length of rotated vectors: the next power of two."""
        return 1 << (self.length - 1).bit_length()

    def forward(self, x: npt.ArrayLike) -> Reals:
        """Rotate a flat vector of `length` entries to `padded` entries.

        NaN and infinity spread to every entry: the encoding refuses them.

        Raises:
            EncodingError: another shape.
        """
        values = self._checked(x, self.length)
        wide = np.zeros(self.padded)
        wide[: self.length] = values
        return _hadamard(wide * self._signs())

    def inverse(self, y: npt.ArrayLike) -> Reals:
        """Turn a vector of `padded` entries back.

        Raises:
            EncodingError: another shape.
        """
        return (_hadamard(self._checked(y, self.padded).copy()) * self._signs())[: self.length]

    def _checked(self, x: npt.ArrayLike, size: int) -> Reals:
        values = np.asarray(x, dtype=np.float64)
        if values.shape != (size,):
            raise EncodingError(f"this rotation takes a flat vector of {size} entries here, not {values.shape}")
        return values

    def _signs(self) -> Reals:
        stream = KeyedStream(derive_key(self.seed, "rotation signs 1"))
        bits = np.unpackbits(np.frombuffer(stream(-(-self.padded // 8)), dtype=np.uint8))
        return 1.0 - 2.0 * bits[: self.padded].astype(np.float64)


def _hadamard(x: Reals) -> Reals:
    """The Walsh-Hadamard transform over sqrt(size), in place; the size is a power of two."""
    half = 1
    while half < x.size:
        pairs = x.reshape(-1, 2, half)
        low, high = pairs[:, 0].copy(), pairs[:, 1]
        pairs[:, 0] += high
        np.subtract(low, high, out=pairs[:, 1])
        half *= 2
    x *= x.size**-0.5
    return x
