"""Private statistics: bounded sums with a count, means, covariances, Fisher information, quantiles.

Every release clips first, so its sensitivity does not depend on the data, and names the event it charges. Neighbours
differ by one example added or removed. The noise is Gaussian from the caller's bytes; the same sums take integer noise
inside a secure sum (`privacy.noise_shares`), with `sensitivity` as the weight of one example.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidParameter
from privacy.events import SampledGaussian
from privacy.randomness import RandomBytes

Floats = NDArray[np.float64]


def clip_rows(x: Floats, bound: float) -> Floats:
    """Return the rows of x (n, d) scaled to an L2 norm of at most `bound`; rows that are not finite become zero."""
    # A row of 1e200 would overflow in its own norm.
    largest = np.abs(x).max(axis=1, initial=0.0, keepdims=True)
    finite = np.isfinite(largest)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(finite & (largest > 0.0), x / largest, 0.0)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    size = np.where(finite, largest, 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        length = np.minimum(size * norms, bound)
        return np.asarray(np.where(norms > 0.0, unit * (length / np.where(norms > 0.0, norms, 1.0)), 0.0))


@dataclass(frozen=True, kw_only=True)
class Moments:
    """The class-free moments of vectors clipped to `bound`: count, sum and Gram matrix, each if asked for.

    One vector x of the flat release (count, sum, upper triangle of the Gram matrix with off-diagonals times sqrt 2),
    so that its norm is sqrt(1 + |x|^2 + |x|^4) and all moments share one sensitivity and one event. The count is
    scaled by `count_weight`, which trades its noise against the rest's.

    *Guarantee*: `event` for one example added or removed.

    Raises:
        InvalidParameter: nothing is asked for, or a number is not positive and finite.
    """

    dimension: int
    bound: float
    noise_multiplier: float
    count: bool = True
    total: bool = True
    gram: bool = False
    count_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("dimension", "bound", "noise_multiplier", "count_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive and finite")
        if not (self.count or self.total or self.gram):
            raise InvalidParameter("no moment was asked for; set count, total or gram")

    @property
    def length(self) -> int:
        """Number of released entries."""
        triangle = self.dimension * (self.dimension + 1) // 2
        return self.count + self.total * self.dimension + self.gram * triangle

    @property
    def sensitivity(self) -> float:
        """Largest L2 norm of what one example adds: sqrt(w^2 + B^2 + B^4), terms not asked for left out."""
        b = self.bound
        return math.sqrt(self.count * self.count_weight**2 + self.total * b**2 + self.gram * b**4)

    @property
    def event(self) -> SampledGaussian:
        """What one release charges an example that takes part."""
        return SampledGaussian(q=1.0, noise_multiplier=self.noise_multiplier)

    def flat(self, x: Floats) -> Floats:
        """Return the exact moments of x (n, dimension), float64 (length,), without noise: not to be released.

        Raises:
            InvalidParameter: x has another width.
        """
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise InvalidParameter(f"examples of shape {x.shape} for dimension={self.dimension}")
        clipped = clip_rows(np.asarray(x, dtype=np.float64), self.bound)
        parts = []
        if self.count:
            parts.append(np.array([self.count_weight * len(x)]))
        if self.total:
            parts.append(clipped.sum(0))
        if self.gram:
            parts.append((clipped.T @ clipped)[self._triangle()] * self._weights())
        return np.concatenate(parts)

    def release(self, x: Floats, random: RandomBytes) -> MomentEstimate:
        """Return the moments of x (n, dimension) with noise; n may be 0, and is not revealed but for the noisy count.

        Raises:
            InvalidParameter: x has another width.
        """
        return self.read(self.flat(x) + _noise(self.noise_multiplier * self.sensitivity, self.length, random))

    def read(self, noisy: Floats) -> MomentEstimate:
        """Return a flat noisy release (length,), perhaps from a secure sum, as moments; post-processing."""
        count, at = (float(noisy[0]) / self.count_weight, 1) if self.count else (None, 0)
        total = noisy[at : at + self.dimension] if self.total else None
        gram = None
        if self.gram:
            gram = np.zeros((self.dimension, self.dimension))
            gram[self._triangle()] = noisy[at + self.total * self.dimension :] / self._weights()
            gram = gram + np.triu(gram, 1).T
        return MomentEstimate(count, total, gram)

    def _triangle(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        rows, columns = np.triu_indices(self.dimension)
        return rows, columns

    def _weights(self) -> Floats:
        rows, columns = self._triangle()
        return np.where(rows == columns, 1.0, math.sqrt(2.0))


@dataclass(frozen=True, eq=False)
class MomentEstimate:
    """Noisy count, sum (d,) and Gram matrix (d, d); None where not asked for."""

    count: float | None
    total: Floats | None
    gram: Floats | None

    def mean(self, least_count: float = 1.0) -> Floats:
        """Return the mean (d,): the sum over the noisy count, which counts as at least `least_count`.

        Raises:
            InvalidParameter: count or sum was not released.
        """
        if self.count is None or self.total is None:
            raise InvalidParameter("a mean needs the count and the sum; release both")
        return np.asarray(self.total / max(self.count, least_count))

    def covariance(self, least_count: float = 1.0, floor: float = 0.0) -> Floats:
        """Return the covariance (d, d), its eigenvalues raised to at least `floor` (noise may make some negative).

        Raises:
            InvalidParameter: count, sum or Gram matrix was not released.
        """
        if self.gram is None or self.count is None:
            raise InvalidParameter("a covariance needs the count, the sum and the Gram matrix; release all three")
        mean = self.mean(least_count)
        raw = self.gram / max(self.count, least_count) - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(raw)
        return np.asarray((vectors * np.maximum(values, floor)) @ vectors.T)


@dataclass(frozen=True, kw_only=True)
class FisherDiagonal:
    """Diagonal of the empirical Fisher information: the sum of squared per-example gradients clipped to `bound`.

    An example adds g * g with |g| <= bound, whose L2 norm is at most its L1 norm |g|^2: sensitivity bound^2. Negative
    noisy entries become 0, which is post-processing.

    Raises:
        InvalidParameter: a number is not positive and finite.
    """

    bound: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf or not 0 < self.noise_multiplier < math.inf:
            raise InvalidParameter(
                f"bound={self.bound} and noise_multiplier={self.noise_multiplier} must be positive and finite"
            )

    @property
    def sensitivity(self) -> float:
        """Largest L2 norm of what one example adds."""
        return self.bound**2

    @property
    def event(self) -> SampledGaussian:
        """What one release charges an example that takes part."""
        return SampledGaussian(q=1.0, noise_multiplier=self.noise_multiplier)

    def release(self, gradients: Floats, denominator: float, random: RandomBytes) -> Floats:
        """Return the diagonal (d,) over per-example gradients (n, d), divided by a public denominator.

        Raises:
            InvalidParameter: the denominator is not positive and finite, or the gradients are not a matrix.
        """
        if not 0 < denominator < math.inf or gradients.ndim != 2:
            raise InvalidParameter(f"denominator={denominator}, gradients of shape {gradients.shape}; give (n, d)")
        exact = np.square(clip_rows(np.asarray(gradients, dtype=np.float64), self.bound)).sum(0)
        noisy = exact + _noise(self.noise_multiplier * self.sensitivity, len(exact), random)
        return np.asarray(np.maximum(noisy, 0.0) / denominator)


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """A quantile of non-negative numbers (gradient or update norms) by a geometric search with noisy counts.

    Each of `rounds` steps releases sum over examples of (1 if value <= threshold else 0) - 1/2, of sensitivity 1/2
    under add or remove, divides it by a *public* expected count, and moves the threshold by
    exp(-rate (fraction - target)) (Andrew et al. 2021, arXiv 1905.03871, section 2; the centring by 1/2 halves the
    sensitivity only with a public count).

    Raises:
        InvalidParameter: a number is outside its range.
    """

    target: float
    start: float
    expected_count: float
    rounds: int
    noise_multiplier: float
    rate: float = 0.5

    def __post_init__(self) -> None:
        for name in ("start", "expected_count", "rounds", "noise_multiplier", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive and finite")
        if not 0.0 < self.target < 1.0:
            raise InvalidParameter(f"target={self.target} is outside (0, 1)")

    @property
    def sensitivity(self) -> float:
        """What one example adds to one count."""
        return 0.5

    @property
    def event(self) -> SampledGaussian:
        """What one round charges an example that takes part; a search charges `rounds` of them."""
        return SampledGaussian(q=1.0, noise_multiplier=self.noise_multiplier)

    def search(self, values: Floats, random: RandomBytes) -> float:
        """Return the estimate after all rounds; values (n,), NaN counts as above every threshold."""
        threshold = self.start
        for _ in range(self.rounds):
            centred = float(np.where(values <= threshold, 0.5, -0.5).sum())
            noisy = centred + float(_noise(self.noise_multiplier * self.sensitivity, 1, random)[0])
            fraction = min(1.0, max(0.0, noisy / self.expected_count + 0.5))
            threshold *= math.exp(-self.rate * (fraction - self.target))
        return threshold


def _noise(std: float, count: int, random: RandomBytes) -> Floats:
    from privacy.secure_gaussian import release_noise

    return np.asarray(release_noise(std, (count,), random).numpy(), dtype=np.float64)
