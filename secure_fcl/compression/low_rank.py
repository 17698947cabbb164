"""Low-rank updates: every layer's matrix times a public random basis, so that low-rank updates still add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from secure_fcl.strategies.contribution import Values

Basis = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRank:
    """U^T W for every layer's matrix W (outputs, rest) with its own U (outputs, r), orthonormal and public.

    "Structured updates" of Konecny et al. 2016 (arXiv 1610.05492, section 2) with the random factor on the left.
    Factors that clients find themselves (PowerSGD, Vogels et al. 2019) do not add up in one round; a public basis is
    linear. Vectors (biases) and layers with r = outputs are sent whole. U is uniform among orthonormal bases, so the
    mean of U U^T is (r / outputs) I: `unbiased` divides by that.

    Attributes:
        shapes: of the parameters, in the order of the flat vector.
        fraction: of a layer's outputs, rounded up.
    """

    seed: int
    shapes: tuple[tuple[int, ...], ...]
    fraction: float
    unbiased: bool

    @property
    def source(self) -> int:
        """See `Compression.source`."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def target(self) -> int:
        """See `Compression.target`."""
        return low_rank_length(self.shapes, self.fraction)

    @cached_property
    def _bases(self) -> list[Basis | None]:
        rng = np.random.default_rng(self.seed)
        ranks = [_rank(shape, self.fraction) for shape in self.shapes]
        return [
            None if rank is None else np.linalg.qr(rng.standard_normal((shape[0], rank)))[0]
            for shape, rank in zip(self.shapes, ranks, strict=True)
        ]

    def compress(self, vector: Values) -> Values:
        """See `Compression.compress`."""
        pieces = _split(vector, [math.prod(shape) for shape in self.shapes])
        return np.concatenate(
            [
                piece if basis is None else (basis.T @ piece.reshape(len(basis), -1)).ravel()
                for basis, piece in zip(self._bases, pieces, strict=True)
            ]
        )

    def expand(self, total: Values) -> Values:
        """See `Compression.expand`."""
        return np.concatenate(
            [
                piece if basis is None else self._factor(basis) * (basis @ piece.reshape(basis.shape[1], -1)).ravel()
                for basis, piece in zip(self._bases, _split(total, _lengths(self.shapes, self.fraction)), strict=True)
            ]
        )

    def _factor(self, basis: Basis) -> float:
        return basis.shape[0] / basis.shape[1] if self.unbiased else 1.0


def low_rank_length(shapes: Sequence[tuple[int, ...]], fraction: float) -> int:
    """Return how many numbers are sent of parameters of these shapes."""
    return sum(_lengths(shapes, fraction))


def _lengths(shapes: Sequence[tuple[int, ...]], fraction: float) -> list[int]:
    ranks = [_rank(shape, fraction) for shape in shapes]
    return [math.prod(s) if r is None else r * math.prod(s[1:]) for s, r in zip(shapes, ranks, strict=True)]


def _rank(shape: tuple[int, ...], fraction: float) -> int | None:
    """Return the number of basis vectors of a parameter; None: it is sent whole."""
    if len(shape) < 2:
        return None
    rank = math.ceil(fraction * shape[0])
    return rank if rank < shape[0] else None


def _split(vector: Values, sizes: Sequence[int]) -> list[Values]:
    return np.split(vector, list(accumulate(sizes))[:-1])
