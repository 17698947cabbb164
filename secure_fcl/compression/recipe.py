"""Which map a round uses: public choices, and a fresh public draw in every round."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from secure_fcl.compression.low_rank import LowRank, low_rank_length
from secure_fcl.compression.maps import Chain, Compression, Coordinates, Rotated, Unchanged, block_of
from secure_fcl.randomness import public_seed

Kind = Literal["none", "random_k", "low_rank"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the weights of a network are shortened, all of it public.

    Attributes:
        shapes: of the network's parameters, in the order of the flat vector.
        frozen: how many entries at the front are not trained, and so not sent.
        kind, fraction, unbiased: see `Coordinates` (of entries) and `LowRank` (of a layer's outputs).
        rotation: whether what is left is rotated.
        seed, row: name the draws; a round's map follows from them and its number alone.
    """

    shapes: tuple[tuple[int, ...], ...]
    frozen: int = 0
    kind: Kind = "none"
    fraction: float = 1.0
    unbiased: bool = True
    rotation: bool = False
    seed: int = 0
    row: str = ""

    @property
    def source(self) -> int:
        """Length of the full vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def _trained(self) -> tuple[tuple[int, ...], ...]:
        left, found = self.frozen, []
        for shape in self.shapes:
            if left <= 0:
                found.append(shape)
            left -= math.prod(shape)
        return tuple(found)

    @property
    def shortened(self) -> int:
        """Length before it is rotated."""
        trained = self.source - self.frozen
        match self.kind:
            case "none":
                return trained
            case "random_k":
                return math.ceil(self.fraction * trained)
            case "low_rank":
                return low_rank_length(self._trained, self.fraction)

    @property
    def block(self) -> int:
        """Entries over which a rotation spreads; 1 without one."""
        return block_of(self.shortened) if self.rotation else 1

    @property
    def target(self) -> int:
        """Length of the sent vector, the same in every round."""
        return -(-self.shortened // self.block) * self.block

    def draw(self, slot: int, round: int) -> Compression:
        """Return the map of one round."""
        found: Compression = Unchanged(self.source)
        if self.frozen:
            found = Coordinates(chosen=np.arange(self.frozen, self.source), source=self.source)
        labels = (self.row, slot, round)
        match self.kind:
            case "random_k":
                found = Chain(found, self._coordinates(public_seed(self.seed, "coordinates", *labels)))
            case "low_rank":
                seed = public_seed(self.seed, "bases", *labels)
                found = Chain(
                    found, LowRank(seed=seed, shapes=self._trained, fraction=self.fraction, unbiased=self.unbiased)
                )
            case "none":
                pass
        if self.rotation:
            text = "/".join(map(str, (self.seed, "rotation", *labels)))
            found = Chain(found, Rotated(hashlib.sha256(text.encode()).digest(), self.shortened))
        return found

    def _coordinates(self, seed: int) -> Coordinates:
        trained = self.source - self.frozen
        chosen = np.sort(np.random.default_rng(seed).permutation(trained)[: self.shortened])
        return Coordinates(chosen=chosen, source=trained, factor=trained / len(chosen) if self.unbiased else 1.0)

    def describe(self) -> str:
        """Return one sentence for the certificate."""
        found = []
        if self.frozen:
            found.append("the last layer only")
        if self.kind == "random_k":
            found.append(f"{self.fraction:g} of the coordinates, drawn anew each round from the public seed")
        if self.kind == "low_rank":
            found.append(f"a public random basis of {self.fraction:g} of each layer's outputs, anew each round")
        if self.rotation:
            found.append(f"a public random rotation in blocks of {self.block}")
        return ", then ".join(found) or "all coordinates as they are"
