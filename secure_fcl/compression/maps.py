"""Public linear maps that shorten what is summed: some coordinates, one map after the other, a rotation in blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crypto.keys.randomness import derive_key
from crypto.vectors.rotation import Rotation
from secure_fcl.strategies.contribution import Values

#: Bits of an entry in a sum, about: what half a bit less is weighed against.
_BITS = 12


class Compression(Protocol):
    """A public linear map of one round, the same for every client, so that the sum of what is sent means something.

    *Guarantee* asked of an implementation: both ways are linear, and `compress` never lengthens a vector, so what one
    example changes in the full vector bounds what it changes in the sent one. Where it says so, the mean of
    `expand(compress(x))` over the public draw is x.
    """

    @property
    def source(self) -> int:
        """Length of the full vector."""

    @property
    def target(self) -> int:
        """Length of the sent vector."""

    def compress(self, vector: Values) -> Values:
        """Return the sent vector (target,) of a full one (source,)."""

    def expand(self, total: Values) -> Values:
        """Return the full vector (source,) that a sum of sent ones stands for."""


@dataclass(frozen=True)
class Unchanged:
    """The identity."""

    source: int

    @property
    def target(self) -> int:
        """See `Compression.target`."""
        return self.source

    def compress(self, vector: Values) -> Values:
        """See `Compression.compress`."""
        return vector

    def expand(self, total: Values) -> Values:
        """See `Compression.expand`."""
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class Coordinates:
    """Some coordinates of the vector; those not sent count as zero.

    Random sparsification (Konecny et al. 2016, arXiv 1610.05492, section 3) with one public mask for all clients.
    With `factor` source / target and coordinates drawn uniformly it is unbiased; with 1 it is the orthogonal
    projection. Coordinates are all different.
    """

    chosen: NDArray[np.int64]
    source: int
    factor: float = 1.0

    @property
    def target(self) -> int:
        """See `Compression.target`."""
        return len(self.chosen)

    def compress(self, vector: Values) -> Values:
        """See `Compression.compress`."""
        return np.asarray(vector[self.chosen])

    def expand(self, total: Values) -> Values:
        """See `Compression.expand`."""
        full = np.zeros(self.source)
        full[self.chosen] = self.factor * total
        return full


@dataclass(frozen=True, eq=False)
class Chain:
    """One map after the other."""

    first: Compression
    second: Compression

    @property
    def source(self) -> int:
        """See `Compression.source`."""
        return self.first.source

    @property
    def target(self) -> int:
        """See `Compression.target`."""
        return self.second.target

    def compress(self, vector: Values) -> Values:
        """See `Compression.compress`."""
        return self.second.compress(self.first.compress(vector))

    def expand(self, total: Values) -> Values:
        """See `Compression.expand`."""
        return self.first.expand(self.second.expand(total))


def block_of(length: int) -> int:
    """Return the size of the rotated blocks of a vector, a power of two.

    Twice the block halves the square of the bound, which saves half a bit of every entry; but it fills up more. The
    size with the fewest bits in all is taken.
    """

    def bits(block: int) -> float:
        return -(-length // block) * block * (_BITS - 0.5 * math.log2(block))

    return min((1 << power for power in range((length - 1).bit_length(), -1, -1)), key=bits)


@dataclass(frozen=True, eq=False)
class Rotated:
    """Entries in random order, cut into blocks, each turned by `crypto.vectors.rotation.Rotation`.

    In blocks because a rotation needs a power of two: filling up the whole vector could double it. The order is drawn
    so that large entries that lie together, a layer's, are spread over the blocks.
    """

    seed: bytes
    source: int

    @property
    def block(self) -> int:
        """Entries of one block."""
        return block_of(self.source)

    @property
    def target(self) -> int:
        """See `Compression.target`."""
        return -(-self.source // self.block) * self.block

    @cached_property
    def _turns(self) -> list[Rotation]:
        count = self.target // self.block
        return [Rotation(derive_key(self.seed, "block", str(i)), self.block) for i in range(count)]

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.random.default_rng(np.frombuffer(self.seed, dtype=np.uint32)).permutation(self.source)

    def compress(self, vector: Values) -> Values:
        """See `Compression.compress`."""
        wide = np.zeros(self.target)
        wide[: self.source] = vector[self._order]
        pieces = zip(self._turns, wide.reshape(-1, self.block), strict=True)
        return np.concatenate([turn.forward(piece) for turn, piece in pieces])

    def expand(self, total: Values) -> Values:
        """See `Compression.expand`."""
        pieces = zip(self._turns, total.reshape(-1, self.block), strict=True)
        wide = np.concatenate([turn.inverse(piece) for turn, piece in pieces])
        full = np.empty(self.source)
        full[self._order] = wide[: self.source]
        return full
