"""The privacy losses of one sampled Gaussian step on a grid, each mass a proven upper bound.

Doroshenko et al. 2022, "Connect the dots", section 4: the outcomes whose loss lies between two grid points are replaced
by one atom at each, so that both their probabilities, with the example and without, are kept; the result dominates.
Done here and not by dp_accounting, whose differences of differences carry round-off of 1e-16 / interval whatever the
mass: beside a delta of 1e-12 that decides. Here every mass is raised by a bound of its own error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

#: Unit round-off of float64.
UNIT = 2.0**-53
#: Outcomes further than this many standard deviations from both means (probability 2e-33) count as infinite losses.
REACH = 12.0
#: Exponents of moments and of Chernoff's bound, per grid step. For any deviation from 30 to 10^7 steps one of them is
#: within 1.25 times of the best.
EXPONENTS: Floats = np.concatenate([-np.geomspace(0.3, 1e-6, 16), np.geomspace(1e-6, 3.0, 40)])


@dataclass(frozen=True, eq=False, kw_only=True)
class LossMasses:
    """Masses at the losses (first + i) * interval + shift, one direction, and the mass of infinite losses.

    Neither end is zero. `shift` (nats) bounds what rounding may have moved a loss.
    """

    first: int
    masses: Floats
    infinite: float
    shift: float

    @property
    def last(self) -> int:
        """Grid point of the largest finite loss."""
        return self.first + len(self.masses) - 1

    @cached_property
    def moments(self) -> Floats:
        """Logarithm of the moment generating function at `EXPONENTS`, losses counted in grid steps."""
        steps = np.arange(self.first, self.last + 1, dtype=np.float64)
        found = np.empty(len(EXPONENTS))
        for i, e in enumerate(EXPONENTS):
            # The end that weighs most is not zero, so what underflows beside it is less than its share.
            shift = e * (self.last if e > 0 else self.first)
            found[i] = shift + math.log(self.masses @ np.exp(e * steps - shift))
        return found


@lru_cache(maxsize=256)
def one_step(q: float, sigma: float, interval: float) -> tuple[LossMasses, LossMasses]:
    """Return the masses of removing and of adding an example (one object where they are alike: q = 1).

    The loss of outcome x is log(1 - q + q exp((x - 1/2) / sigma^2)) and rises with x, so that outcomes between grid
    points k and k + 1 are an interval. With P = (1 - q) N(0) + q N(1), Q = N(0) and their probabilities p and w of that
    interval, the atom at k + 1 gets (p - w e^(kh)) / (1 - e^-h), the atom at k gets (w e^((k+1)h) - p) / (e^h - 1).
    Adding an example has the atoms of Q and the losses with the opposite sign.

    *Guarantee*: termwise at least the masses of a pair that dominates the step, losses at most `shift` above the grid.
    The proof: ends of intervals are taken as rounded, which moves a loss by at most `shift` (counted operation by
    operation; d loss / dx <= 1 / sigma^2), so atoms stand at most that far below grid point + shift. Each tail of the
    normal distribution is known to `_relative_error`, so each numerator to the sum of the four errors it is made of;
    that sum is added, and the quotient raised by what moved ends change in the denominators.
    `sigma` is at least 0.05, `interval` at most 1.
    """
    k = _grid(q, sigma, interval)
    losses = k * interval
    # g = exp(loss) - (1 - q), each form where it does not cancel beside exp(loss).
    g = np.exp(losses) - (1.0 - q) if q >= 0.5 else q + np.expm1(losses)
    there = g > 0.0
    y = np.full(len(g), -np.inf)
    y[there] = np.log(g[there] / q)
    x = 0.5 + sigma * sigma * y
    sizes = 4.0 * np.abs(y[there]).max() + 8.0 * np.abs(x[there]).max() / sigma / sigma + 8.0 * np.abs(losses).max()
    shift = UNIT * (32.0 + float(sizes))

    (q0, e0), (q1, e1) = _between(x / sigma), _between((x - 1.0) / sigma)
    moved = shift * ((1.0 - q) * (q0 + e0) + q * (q1 + e1))
    upper, lower = q * q1 - g[:-1] * q0, g[1:] * q0 - q * q1
    upper_error = q * (e1 + 4.0 * UNIT * q1) + np.abs(g[:-1]) * (e0 + 4.0 * UNIT * q0) + moved
    lower_error = q * (e1 + 4.0 * UNIT * q1) + np.abs(g[1:]) * (e0 + 4.0 * UNIT * q0) + 3.0 * moved
    raised = 1.0 + 4.0 * shift / interval + 8.0 * UNIT
    masses = np.zeros(len(k))
    masses[1:] += (np.maximum(upper, 0.0) + upper_error) * (raised / -math.expm1(-interval))
    masses[:-1] += (np.maximum(lower, 0.0) + lower_error) * (raised / math.expm1(interval))

    below, above = _tails(float(x[0]), float(x[-1]), sigma)
    added = (masses * np.exp(-losses) * (1.0 + 2.0 * shift + 8.0 * UNIT))[::-1]
    added[0] += above[0]
    masses[0] += (1.0 - q) * below[0] + q * below[1]
    first = int(k[0])
    remove = _trimmed(first, masses, (1.0 - q) * above[0] + q * above[1], shift)
    return remove, remove if q == 1.0 else _trimmed(-int(k[-1]), added, below[0], shift)


def _grid(q: float, sigma: float, interval: float) -> Floats:
    """Return grid points that span the losses of all outcomes within REACH, at least two."""
    ends = []
    for x in (-REACH * sigma, 1.0 + REACH * sigma):
        rest = math.log1p(-q) if q < 1.0 else -math.inf
        ends.append(float(np.logaddexp(rest, math.log(q) + (x - 0.5) / sigma / sigma)) / interval)
    return np.arange(math.floor(ends[0]), math.ceil(ends[1]) + 1.0)


def _relative_error(z: Floats) -> Floats:
    """Return a bound of the relative error of ndtr(-|z|): of z itself (two roundings) and of scipy's function.

    By Mills' ratio a relative error of 2u in z changes the tail by 2u (z^2 + 1); the rest is what a test against
    arbitrary precision finds, with room.
    """
    return UNIT * (16.0 + 8.0 * z * z)


def _between(z: Floats) -> tuple[Floats, Floats]:
    """Return the normal probabilities between neighbouring points of rising z, shape (n - 1,), and their error."""
    z = np.clip(z, -40.0, 40.0)
    tails = ndtr(-np.abs(z))
    errors = _relative_error(z) * tails
    left, right = tails[:-1], tails[1:]
    around = (z[:-1] < 0.0) & (z[1:] > 0.0)
    found = np.where(around, 1.0 - left - right, np.abs(left - right))
    return found, errors[:-1] + errors[1:] + np.where(around, 4.0 * UNIT, UNIT * found)


def _tails(low: float, high: float, sigma: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return upper bounds of the probabilities below `low` and above `high`, each for N(0) and N(1)."""
    z = np.array([low / sigma, (low - 1.0) / sigma, -high / sigma, (1.0 - high) / sigma])
    z = np.clip(z, -40.0, 40.0)
    found = [float(v) for v in ndtr(z) * (1.0 + _relative_error(z))]
    return (found[0], found[1]), (found[2], found[3])


def _trimmed(first: int, masses: Floats, infinite: float, shift: float) -> LossMasses:
    there = np.flatnonzero(masses)
    low, high = int(there[0]), int(there[-1])
    return LossMasses(first=first + low, masses=masses[low : high + 1].copy(), infinite=infinite, shift=shift)
