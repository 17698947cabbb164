"""Real vectors to integers and back: clip, scale, unbiased stochastic rounding."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crypto.errors import EncodingError
from crypto.randomness import RandomBytes, uniform53

MAX_SCALED = 2.0**52
# Entries encoded at a time: few enough to stay in cache, which is several times faster for long vectors.
_PIECE = 1 << 14


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded vector: int64 `values` of the input's shape, and how many entries were clipped
    (`saturated`).

    `saturated` is a function of the private input: do not publish it unprotected.
    """

    values: npt.NDArray[np.int64]
    saturated: int


@dataclass(frozen=True)
class FixedPoint:
    """Fixed-point encoding: entries clipped to [-clip, clip], `scale` integer steps for each unit.

    *Guarantee*: encoding is unbiased given the clipped value, |decode(encode(x)) - clip(x)| < 1/scale in
    every entry (up to float64 rounding), and every |value| <= `bound`. Values add: the sum of encodings
    decodes to an unbiased estimate of the sum of the clipped vectors.

    Sensitivity: encode x and x' with the same random bytes and let c = ||clip(x) - clip(x')||_2 over d
    entries; then ||values - values'||_2 <= scale * c + sqrt(d), always, as an entry becomes
    ceil(s - u) for its scaled value s and its uniform number u. A privacy analysis may use this coupling: the
    mechanism is a mixture over u. (Bounds that hold with high probability are smaller: Kairouz, Liu, Steinke,
    "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation", 2021.)
    """

    scale: float
    clip: float

    def __post_init__(self) -> None:
        """Check the parameters; raises EncodingError unless both are positive and clip * scale <= 2^52."""
        for name, value in (("scale", self.scale), ("clip", self.clip)):
            if not (math.isfinite(value) and value > 0):
                raise EncodingError(f"The {name} is {value}; give a positive finite number.")
        product = self.scale * self.clip
        if not product <= MAX_SCALED:
            raise EncodingError(
                f"clip * scale is {product:g}, beyond 2^52, where float64 has no fractions; lower the scale."
            )

    @property
    def bound(self) -> int:
        """The public bound on |entry| of one encoded vector: ceil(clip * scale)."""
        return math.ceil(self.clip * self.scale)

    def encode(self, x: npt.ArrayLike, random: RandomBytes) -> Encoded:
        """Encode real `x` of any shape, also empty; draws 8 random bytes for each entry.

        Raises EncodingError if an entry is NaN or infinite: an infinity is a sign of divergence and is not
        clipped.
        """
        values = np.asarray(x, dtype=np.float64)
        if not np.isfinite(values).all():
            bad = int(values.size - np.isfinite(values).sum())
            raise EncodingError(f"{bad} of {values.size} entries are NaN or infinite; check the training step.")
        flat, encoded, saturated = values.reshape(-1), np.empty(values.size, dtype=np.int64), 0
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            saturated += int(np.count_nonzero(np.abs(piece) > self.clip))
            scaled = np.clip(piece, -self.clip, self.clip) * self.scale
            floor = np.floor(scaled)
            encoded[start : start + _PIECE] = floor + (uniform53(random, piece.size) < scaled - floor)
        return Encoded(encoded.reshape(values.shape), saturated)

    def decode(self, total: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Turn an integer sum into real numbers (divide by the scale); exact for |total| <= 2^53 before
        dividing.

        Raises EncodingError if `total` is not of an integer type.
        """
        if not np.issubdtype(total.dtype, np.integer):
            raise EncodingError(f"A total is an integer array, not {total.dtype}; decode what the sum returned.")
        return np.asarray(total, dtype=np.float64) / self.scale
