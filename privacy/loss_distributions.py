"""Privacy loss distributions of sampled Gaussians, composed in one pass over their Fourier transforms.

One step's distribution comes from dp_accounting (Doroshenko et al. 2022, "Connect the dots", pessimistic). A history
is the product of the transforms, each to the power of its count, on a window outside of which Chernoff's bound leaves
a mass of at most `TAIL`; that mass is added to the infinite losses (Koskela et al. 2020; Gopi et al. 2021, section 4).
Transforms depend on the event alone, so a query after one more round costs two of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from privacy.events import SampledGaussian

Floats = NDArray[np.float64]

#: Mass, in each direction, that may lie outside the window; charged as a loss without bound.
TAIL = 1e-15
#: More grid points than this would need gigabytes.
MOST_POINTS = 1 << 25
#: Exponents of Chernoff's bound, per grid step: for any deviation from 30 to 10^7 steps one of them is within 1.6 times
#: of the best, which widens the window by a tenth at most.
_EXPONENTS = np.concatenate([-np.geomspace(0.3, 1e-6, 16), np.geomspace(1e-6, 0.3, 16)])


@dataclass(frozen=True, eq=False, kw_only=True)
class LossMasses:
    """Masses at the losses (first + i) * interval, one direction, and the mass of infinite losses.

    Neither end is zero.
    """

    first: int
    masses: Floats
    infinite: float

    @property
    def last(self) -> int:
        """Grid point of the largest finite loss."""
        return self.first + len(self.masses) - 1

    @cached_property
    def moments(self) -> Floats:
        """Logarithm of the moment generating function at `_EXPONENTS`, losses counted in grid steps."""
        steps = np.arange(self.first, self.last + 1, dtype=np.float64)
        found = np.empty(len(_EXPONENTS))
        for i, e in enumerate(_EXPONENTS):
            # The end that weighs most is not zero, so what underflows beside it is less than its share.
            shift = e * (self.last if e > 0 else self.first)
            found[i] = shift + math.log(self.masses @ np.exp(e * steps - shift))
        return found


def composed_epsilon(history: Mapping[SampledGaussian, int], delta: float, interval: float) -> float:
    """Return the epsilon of a history at `delta`, the larger of both directions; inf if the window is too wide.

    Counts are positive. Losses are rounded up to multiples of `interval`, so the result is an upper bound.
    """
    parts = [(*_one_step(_computable(e.q), e.noise_multiplier, interval), n) for e, n in sorted(history.items())]
    if not parts:
        return 0.0
    removed = [(remove, n) for remove, _, n in parts]
    added = [(add, n) for _, add, n in parts]
    first = _direction(removed, delta, interval)
    alike = all(remove is add for remove, add, _ in parts)
    return first if alike or math.isinf(first) else max(first, _direction(added, delta, interval))


def _direction(parts: list[tuple[LossMasses, int]], delta: float, interval: float) -> float:
    start, stop = sum(n * p.first for p, n in parts), sum(n * p.last for p, n in parts)
    longest = max(len(p.masses) for p, _ in parts)
    low, high = start, stop
    if stop - start > 2 * longest:
        low, high = _window(np.sum([n * p.moments for p, n in parts], axis=0), start, stop)
    points = max(high - low + 1, longest)
    if points > MOST_POINTS:
        return math.inf
    size = next_fast_len(points, real=True)
    product = np.ones(size // 2 + 1, dtype=np.complex128)
    for part, count in parts:
        product = product * _transform(part, size) ** count
    # The transform wraps around: entry j stands for every loss that equals start + j modulo its size.
    whole = np.roll(irfft(product, size), -((low - start) % size))[: high - low + 1]
    infinite = TAIL - math.expm1(math.fsum(n * math.log1p(-p.infinite) for p, n in parts))
    # Round-off leaves some masses just below zero; raising them only adds.
    return epsilon_of(low, np.maximum(whole, 0.0), infinite, delta, interval)


def _window(moments: Floats, start: int, stop: int) -> tuple[int, int]:
    """Return the least and largest grid point outside of which at most TAIL lies."""
    bounds = (moments + math.log(2.0 / TAIL)) / _EXPONENTS
    low = max(start, math.floor(float(bounds[_EXPONENTS < 0].max())))
    high = min(stop, math.ceil(float(bounds[_EXPONENTS > 0].min())))
    return low, max(low, high)


def epsilon_of(first: int, masses: Floats, infinite: float, delta: float, interval: float) -> float:
    """Return the least epsilon >= 0 whose hockey-stick divergence is at most delta; inf if `infinite` exceeds delta.

    delta(epsilon) = infinite + sum over losses l > epsilon of mass(l) (1 - exp(epsilon - l)).
    """
    if infinite > delta:
        return math.inf
    skip = max(0, 1 - first)
    masses = masses[skip:]
    losses = np.arange(first + skip, first + skip + len(masses)) * interval
    above = np.append(np.cumsum(masses[::-1])[::-1], 0.0)
    with np.errstate(divide="ignore"):
        logs = np.log(masses) - losses
    weighed = np.append(np.logaddexp.accumulate(logs[::-1])[::-1], -math.inf) if len(logs) else np.array([-math.inf])
    with np.errstate(divide="ignore"):
        at_zero = infinite + above[0] - math.exp(weighed[0])
        if at_zero <= delta:
            return 0.0
        at = infinite + above[1:] - np.exp(losses + weighed[1:])
    # At the largest loss nothing is left above, so the divergence is `infinite` there: the search ends.
    k = int(np.argmax(at <= delta))
    return float(math.log(infinite + above[k] - delta) - weighed[k])


def _computable(q: float) -> float:
    """Return a rate not below `q` at which dp_accounting's logarithms do not cancel; a higher rate costs more."""
    return 1.0 if q > 1.0 - 1e-9 else max(q, 1e-12)


@lru_cache(maxsize=256)
def _one_step(q: float, sigma: float, interval: float) -> tuple[LossMasses, LossMasses]:
    """Return the masses of removing and of adding an example (one object where they are alike)."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    one = pld.from_gaussian_mechanism(
        standard_deviation=sigma,
        pessimistic_estimate=True,
        sampling_prob=q,
        value_discretization_interval=interval,
        neighboring_relation=pld.NeighborRel.ADD_OR_REMOVE_ONE,
    )
    # dp_accounting has no public way to a distribution's masses.
    remove = _masses(one._pmf_remove.to_dense_pmf())
    return remove, remove if one._pmf_add is one._pmf_remove else _masses(one._pmf_add.to_dense_pmf())


def _masses(pmf: object) -> LossMasses:
    masses = np.asarray(getattr(pmf, "_probs"), dtype=np.float64)  # noqa: B009
    first, infinite = int(getattr(pmf, "_lower_loss")), float(getattr(pmf, "_infinity_mass"))  # noqa: B009
    there = np.flatnonzero(masses)
    return LossMasses(first=first + int(there[0]), masses=masses[there[0] : there[-1] + 1], infinite=infinite)


# Keyed by the part's identity: a transform is as long as the window, and the windows of neighbouring rounds agree.
@lru_cache(maxsize=32)
def _transform(part: LossMasses, size: int) -> NDArray[np.complex128]:
    return np.asarray(rfft(part.masses, size), dtype=np.complex128)
