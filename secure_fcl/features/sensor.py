"""What a phone's windows are in: rate and units, as parameters of the features that know gravity and steps."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RANGE = np.array([4.0] * 3 + [8.0] * 3)  # g, rad/s: of a phone's sensors
_MOST_CUT = 0.01
_LAG_RATE_HZ = 25.0


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """Rate and units of windows (n, 6, time), three axes of acceleration and three of rotation.

    Public facts, declared and never read off data.

    Attributes:
        rate_hz: readings per second.
        acceleration_g: g in one unit of acceleration; 1 / 9.81 for m/s^2.
        rotation_rad_s: rad/s in one unit of rotation; pi / 180 for degrees per second.
    """

    rate_hz: float = 25.0
    acceleration_g: float = 1.0
    rotation_rad_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse numbers that are no rate and no unit."""
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} = {value} is not positive and finite; declare the sensor's own")

    def physical(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return windows in g and rad/s, cut to 4 g and 8 rad/s; NaN counts as 0, infinities as the range's ends."""
        moved = np.nan_to_num(x.astype(np.float64) * self._scale, nan=0.0, posinf=np.inf, neginf=-np.inf)
        return np.clip(moved, -_RANGE[:, None], _RANGE[:, None])

    @property
    def _scale(self) -> npt.NDArray[np.float64]:
        return np.array([self.acceleration_g] * 3 + [self.rotation_rad_s] * 3)[:, None]

    def cuts(self, x: npt.NDArray[np.floating]) -> bool:
        """Return whether more than 1 % of the values of windows (n, 6, time) are beyond 4 g or 8 rad/s."""
        moved = x.astype(np.float64) * self._scale
        return bool(np.count_nonzero(np.abs(moved) > _RANGE[:, None]) > _MOST_CUT * x.size)

    def warn_of_cuts(self, x: npt.NDArray[np.floating]) -> None:
        """Warn where more than 1 % of the values are cut: they are in other units than declared, most likely.

        The warning stays where the examples are, and says of them no more than that.
        """
        if self.cuts(x):
            warnings.warn(
                f"more than 1 % of the values are beyond 4 g or 8 rad/s and were cut; if the windows are not in units "
                f"of {self.acceleration_g:g} g and {self.rotation_rad_s:g} rad/s, convert them or declare a Sensor",
                stacklevel=3,
            )

    def samples(self, lag: int) -> int:
        """Return a lag of 25ths of a second in samples, at least 1 where it is not 0."""
        return int(math.copysign(max(1, round(abs(lag) * self.rate_hz / _LAG_RATE_HZ)), lag)) if lag else 0


HAPT = Sensor()
"""25 Hz, g and 2 rad/s: what `secure_fcl.data.load_hapt` gives."""
