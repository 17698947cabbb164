"""Real vectors to integers and back: clip, scale, unbiased stochastic rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crypto.errors import EncodingError
from crypto.keys.randomness import KEY_BYTES, KeyedStream, RandomBytes, uniform53

MAX_SCALED = 2.0**52
# Entries encoded at a time: few enough to stay in cache, which is several times faster for long vectors.
_PIECE = 1 << 14
# Up to here, a scaled entry and a coin of 32 bits fit the 53 bits of a float64 together.
_FINE_BOUND, _FINE_SCALE, _COIN = 1 << 20, 2.0**64, 2.0**32
_Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded vector: int64 `values` of the input's shape, and how many entries were clipped
    (`saturated`).

    `saturated` is a function of the private input: do not publish it unprotected.
    """

    values: npt.NDArray[np.int64]
    saturated: int


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """Fixed-point encoding: entries clipped to [-clip, clip], `scale` integer steps for each unit.

    *Guarantee*: encoding is unbiased given the clipped value, up to float64 rounding and to 2^-32 of a step, a coin
    being of 32 bits (53 bits if `bound` is 2^20 or more); |decode(encode(x)) - clip(x)| < 1/scale in every entry (up
    to float64 rounding), and every |value| <= `bound`. Values add: the sum of encodings decodes to an unbiased
    estimate of the sum of the clipped vectors.

    Sensitivity: encode x and x' with the same random bytes and let c = ||clip(x) - clip(x')||_2 over d
    entries; then ||values - values'||_2 <= scale * c + sqrt(d), always, as an entry becomes floor(s + u), or
    ceil(s - u), for its scaled value s and its coin u in [0, 1). A privacy analysis may use this coupling: the
    mechanism is a mixture over u. (Bounds that hold with high probability are smaller: Kairouz, Liu, Steinke,
    "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation", 2021.)
    """

    scale: float
    clip: float

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            EncodingError: one is not positive, or clip * scale exceeds 2^52.
        """
        for name, value in (("scale", self.scale), ("clip", self.clip)):
            if not (math.isfinite(value) and value > 0):
                raise EncodingError(f"the {name} is {value}; give a positive finite number")
        product = self.scale * self.clip
        if not product <= MAX_SCALED:
            raise EncodingError(
                f"clip * scale is {product:g}, beyond 2^52, where float64 has no fractions; lower the scale"
            )

    @property
    def bound(self) -> int:
        """The public bound on |entry| of one encoded vector: ceil(clip * scale)."""
        return math.ceil(self.clip * self.scale)

    def encode(self, x: npt.ArrayLike, random: RandomBytes) -> Encoded:
        """Encode real `x` of any shape, also empty; draws the 32-byte key of an AES-256-CTR stream of coins.

        Raises:
            EncodingError: an entry is NaN or infinite: an infinity is a sign of divergence and is not clipped.
        """
        values = np.asarray(x)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        flat, coins = values.reshape(-1), KeyedStream(random(KEY_BYTES))
        fine = self.bound < _FINE_BOUND and self.scale < _FINE_SCALE
        encoded, saturated = np.empty(flat.size, dtype=np.int64), 0
        room = np.empty((2, min(_PIECE, flat.size)))
        for start in range(0, flat.size, _PIECE):
            piece, out = flat[start : start + _PIECE], encoded[start : start + _PIECE]
            part = room[:, : piece.size]
            # Minimum and maximum carry NaN and infinities, and show whether there is anything to clip.
            lowest, highest = float(piece.min()), float(piece.max())
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                bad = int(flat.size - np.isfinite(flat).sum())
                raise EncodingError(f"{bad} of {flat.size} entries are NaN or infinite; check the training step")
            part[0] = piece
            if lowest < -self.clip or highest > self.clip:
                np.clip(part[0], -self.clip, self.clip, out=part[1])
                saturated += int(np.count_nonzero(part[0] != part[1]))
                part[0] = part[1]
            (self._round_fine if fine else self._round_wide)(part, coins, out)
        return Encoded(encoded.reshape(values.shape), saturated)

    def _round_fine(self, room: _Floats, coins: KeyedStream, out: npt.NDArray[np.int64]) -> None:
        """Scale the first row, add coins of 32 bits and round down: exact below 2^20 steps, in the fewest passes."""
        scaled, uniform = room
        scaled *= self.scale * _COIN
        uniform[:] = np.frombuffer(coins(4 * out.size), dtype="<u4")
        scaled += uniform
        scaled *= 1 / _COIN
        np.floor(scaled, out=scaled)
        # By way of 32 bits, as processors turn floats into 64 bits slowly.
        out[:] = scaled.astype(np.int32)

    def _round_wide(self, room: _Floats, coins: KeyedStream, out: npt.NDArray[np.int64]) -> None:
        """The same with coins of 53 bits, each held against the fraction of its scaled entry."""
        scaled, floor = room
        scaled *= self.scale
        np.floor(scaled, out=floor)
        fraction = np.subtract(scaled, floor, out=scaled)
        out[:] = floor
        out += (uniform53(coins, out.size) < fraction).view(np.int8)

    def decode(self, total: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Turn an integer sum into real numbers (divide by the scale); exact for |total| <= 2^53 before
        dividing.

        Raises:
            EncodingError: `total` is not of an integer type.
        """
        if not np.issubdtype(total.dtype, np.integer):
            raise EncodingError(f"a total is an integer array, not {total.dtype}; decode what the sum returned")
        return np.asarray(total, dtype=np.float64) / self.scale
