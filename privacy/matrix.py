"""Correlated noise for streams without sampling (DP-FTRL): square-root Toeplitz and tree factors of the prefix sum.

A stream of T steps releases the prefix sums A g (A lower triangular ones) as B (C g + z) with A = B C: privacy is that
of one Gaussian mechanism on C g, also when g depends on earlier releases (Denisov et al. 2022, arXiv 2202.08312). The
noise of one step depends on that of others, so one device or one trusted curator must own it: inside a secure sum a
dropout would break the cancellation; there the tree's nodes carry fresh shares instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidParameter, PrivacyError
from privacy.events import SampledGaussian
from privacy.participation import ONCE, Participation
from privacy.randomness import RandomBytes

Floats = NDArray[np.float64]


class StreamEnded(PrivacyError):
    """A stream was asked for more steps than its sensitivity was computed for."""


class Factor(Protocol):
    """One factorisation of the prefix sums of `steps` steps."""

    @property
    def steps(self) -> int:
        """Length of the stream."""

    def sensitivity(self) -> float:
        """Largest column norm of C: what an example of norm 1 that takes part in one step changes in C g."""

    def repeated_sensitivity(self, times: int, separation: int) -> float:
        """Return a bound on what an example of norm 1 changes in C g that takes part as a `Participation` allows.

        The contributions of its steps may be any vectors g_i of norm at most 1: no two columns of C have a negative
        product, so |sum C_i g_i|^2 = sum <C_i, C_j> <g_i, g_j> is largest where all g_i are equal.

        Raises:
            InvalidParameter: times or separation is below 1.
        """

    def prefix_errors(self) -> Floats:
        """Return (steps,): standard deviation of each prefix sum's noise, for z of standard deviation 1."""

    def prefix_noise(self, seeds: Floats) -> Floats:
        """Return B z (steps, d), the noise of every prefix sum, for independent normals z (rows, d)."""


def toeplitz_root(steps: int) -> Floats:
    """Return the first column of the square root of the prefix-sum matrix: 1, 1/2, 3/8, 5/16, ... (steps,).

    c_k = c_(k-1) (2k - 1) / (2k) (Fichtenberger, Henzinger and Upadhyay 2022, arXiv 2202.11205).

    Raises:
        InvalidParameter: steps is below 1.
    """
    _check_steps(steps)
    k = np.arange(1, steps)
    return np.concatenate([[1.0], np.cumprod((2.0 * k - 1.0) / (2.0 * k))])


def toeplitz_root_inverse(steps: int) -> Floats:
    """Return the first column of the inverse of that square root: 1, -1/2, -1/8, -1/16, -5/128, ... (steps,).

    Raises:
        InvalidParameter: steps is below 1.
    """
    _check_steps(steps)
    k = np.arange(1, steps)
    return np.concatenate([[1.0], np.cumprod((2.0 * k - 3.0) / (2.0 * k))])


@dataclass(frozen=True)
class RootToeplitz:
    """B = C = A^(1/2): within a constant of the least possible largest error for streams used once.

    Raises:
        InvalidParameter: steps is below 1.
    """

    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def sensitivity(self) -> float:
        """See `Factor.sensitivity`."""
        return float(np.linalg.norm(toeplitz_root(self.steps)))

    def repeated_sensitivity(self, times: int, separation: int) -> float:
        """Return the sensitivity for an example that takes part at most `times` times, `separation` steps apart.

        Norm of the sum of the columns 0, b, 2b, ...: the worst pattern, since the coefficients fall and are positive
        (Kalinin and Lampert 2024, arXiv 2405.13763, Theorem 2).

        Raises:
            InvalidParameter: times or separation is below 1.
        """
        most = Participation(times=times, separation=separation).most(self.steps)
        column, total = toeplitz_root(self.steps), np.zeros(self.steps)
        for start in range(0, most * separation, separation):
            total[start:] += column[: self.steps - start]
        return float(np.linalg.norm(total))

    def prefix_errors(self) -> Floats:
        """See `Factor.prefix_errors`."""
        return np.sqrt(np.cumsum(toeplitz_root(self.steps) ** 2))

    def prefix_noise(self, seeds: Floats) -> Floats:
        """See `Factor.prefix_noise`; seeds (steps, d)."""
        if len(seeds) != self.steps:
            raise InvalidParameter(f"{len(seeds)} rows of normals for {self.steps} steps")
        from scipy.signal import fftconvolve  # more than a second, which runs without Toeplitz factors never need

        full = fftconvolve(seeds, toeplitz_root(self.steps)[:, None], axes=0)
        return np.asarray(full[: self.steps], dtype=np.float64)


@dataclass(frozen=True)
class BinaryTree:
    """C holds one row per node of a binary tree over the steps; a prefix adds up one node per bit of its length.

    Dwork et al. 2010; Chan, Shi and Song 2011; Kairouz et al. 2021 (arXiv 2103.00039). Each node is a sum of its own
    steps with fresh noise, so inside a secure sum it may be released with independent shares.

    Raises:
        InvalidParameter: steps is below 1.
    """

    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    @property
    def levels(self) -> int:
        """Nodes that hold one step, and the most a device keeps open at once: floor(log2 steps) + 1."""
        return self.steps.bit_length()

    def sensitivity(self) -> float:
        """See `Factor.sensitivity`: the square root of `levels`."""
        return math.sqrt(self.levels)

    def repeated_sensitivity(self, times: int, separation: int) -> float:
        """See `Factor.repeated_sensitivity`: a bound, exact where the separation is a power of 2 that divides steps.

        A node that an example is in h times changes by h, so the square is the sum of h^2 over nodes. A node of w steps
        is met at most ceil(w / separation) times, the nodes of one level together at most as often as the example takes
        part: of such numbers the sum of squares is largest where as many as possible are as large as possible.
        """
        plan, square = Participation(times=times, separation=separation), 0
        for level in range(self.levels):
            most = plan.most(1 << level)
            left = min(plan.most(self.steps), (self.steps >> level) * most)
            square += left // most * most**2 + (left % most) ** 2
        return math.sqrt(square)

    def prefix_errors(self) -> Floats:
        """See `Factor.prefix_errors`: the square root of the number of ones of the prefix's length."""
        return np.sqrt([float(t.bit_count()) for t in range(1, self.steps + 1)])

    def finished(self, step: int) -> tuple[tuple[int, int], ...]:
        """Return the nodes [start, stop) that end with step `step` (from 0): what is released after it.

        Raises:
            StreamEnded: the step lies outside the stream.
        """
        if not 0 <= step < self.steps:
            raise StreamEnded(f"step {step} of a stream of {self.steps} steps; plan a longer one before it starts")
        size, found = 1, []
        while (step + 1) % size == 0:
            found.append((step + 1 - size, step + 1))
            size *= 2
        return tuple(found)

    def last(self, step: int) -> tuple[int, int]:
        """Return the largest node [start, stop) that ends with step `step`: the only one of them in any prefix.

        The others are the right halves of nodes that end with them. To release the largest alone releases one node
        after each step, and no more of an example than to release them all.

        Raises:
            StreamEnded: the step lies outside the stream.
        """
        return self.finished(step)[-1]

    def nodes(self, prefix: int) -> tuple[tuple[int, int], ...]:
        """Return the nodes whose sum is the prefix of the first `prefix` steps; none for 0.

        Raises:
            StreamEnded: the prefix is longer than the stream, or negative.
        """
        if not 0 <= prefix <= self.steps:
            raise StreamEnded(f"a prefix of {prefix} steps of a stream of {self.steps}")
        start, found = 0, []
        for bit in reversed(range(prefix.bit_length())):
            if prefix >> bit & 1:
                found.append((start, start + (1 << bit)))
                start += 1 << bit
        return tuple(found)

    def prefix_noise(self, seeds: Floats) -> Floats:
        """See `Factor.prefix_noise`; seeds (2 steps, d), of which one row per released node is used."""
        rows = {node: i for i, node in enumerate(n for t in range(self.steps) for n in self.finished(t))}
        if len(seeds) < len(rows):
            raise InvalidParameter(f"{len(seeds)} rows of normals for {len(rows)} nodes")
        return np.stack([seeds[[rows[n] for n in self.nodes(t)]].sum(0) for t in range(1, self.steps + 1)])


@dataclass(frozen=True, eq=False, kw_only=True)
class PrefixStream:
    """Noisy prefix sums of one pass over a stream: mechanism and event made together.

    *Guarantee*: an example that adds at most `clipping_norm` (L2) to the sum of every step that it takes part in, added
    or removed, costs `event` for the whole stream, whatever order the data came in. It takes part as `participation`
    says; whoever feeds the stream holds examples to that (`privacy.participation.Attendance`; `FtrlTrainer` does).

    Raises:
        InvalidParameter: the clipping norm or the multiplier is not positive and finite.
    """

    factor: Factor
    clipping_norm: float
    noise_multiplier: float
    participation: Participation = ONCE

    def __post_init__(self) -> None:
        if not 0 < self.clipping_norm < math.inf or not 0 < self.noise_multiplier < math.inf:
            raise InvalidParameter(
                f"clipping_norm={self.clipping_norm} and noise_multiplier={self.noise_multiplier} "
                "must be positive and finite"
            )

    @property
    def event(self) -> SampledGaussian:
        """What the whole stream charges each of its examples: one Gaussian mechanism, not sampled."""
        return SampledGaussian(q=1.0, noise_multiplier=self.noise_multiplier)

    @property
    def std(self) -> float:
        """Standard deviation of the independent normals."""
        plan = self.participation
        return (
            self.noise_multiplier * self.clipping_norm * self.factor.repeated_sensitivity(plan.times, plan.separation)
        )

    def noise(self, dimension: int, random: RandomBytes) -> Floats:
        """Return the noise of every prefix sum, float64 (steps, dimension); drawn once, before the first step.

        Whoever holds it can remove the protection: it never leaves its owner, and counts as device storage.
        """
        from privacy.secure_gaussian import release_noise

        rows = 2 * self.factor.steps if isinstance(self.factor, BinaryTree) else self.factor.steps
        return self.factor.prefix_noise(release_noise(self.std, (rows, dimension), random).numpy())


def step_noise(prefix_noise: Floats) -> Floats:
    """Return what to add to each step's own sum, so that adding up the steps gives the noisy prefixes."""
    return np.diff(prefix_noise, axis=0, prepend=0.0)


def root_mean_square_error(factor: Factor) -> float:
    """Return the root mean square of all prefixes' noise at noise multiplier and clipping norm 1.

    Independent noise per step (each step its own Gaussian mechanism) has sqrt((steps + 1) / 2).
    """
    return float(factor.sensitivity() * math.sqrt(np.mean(factor.prefix_errors() ** 2)))


def compare(steps: Sequence[int]) -> list[tuple[int, float, float, float]]:
    """Return (steps, independent, tree, root Toeplitz) root mean square prefix errors for each stream length."""
    return [
        (t, math.sqrt((t + 1) / 2), root_mean_square_error(BinaryTree(t)), root_mean_square_error(RootToeplitz(t)))
        for t in steps
    ]


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InvalidParameter(f"steps={steps} must be at least 1")
