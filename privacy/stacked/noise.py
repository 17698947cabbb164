"""Where the normals of stacked training come from: the draws of `DpSgdTrainer`, a cipher, or a fast stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.randomness import RandomBytes, seed64
from privacy.secure_gaussian import gaussian

#: Normals made at once: they stay in the cache.
_CHUNK = 1 << 15

#: Fills a client's next noise, one float view per parameter, with N(0, std^2).
Fill = Callable[[Sequence[torch.Tensor], float], None]


class NoiseSource(Protocol):
    """Makes one client's stream of normals for one visit, from the client's random bytes or a seed out of them."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """Return the stream of one client."""


class OpacusNoise:
    """The very draws of `DpSgdTrainer`: float64 normals of one torch generator, parameter by parameter."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """See `NoiseSource`."""
        generator = torch.Generator().manual_seed(seed64(random))

        def fill(parts: Sequence[torch.Tensor], std: float) -> None:
            for part in parts:
                part.copy_(torch.normal(0.0, std, part.shape, dtype=torch.float64, generator=generator))

        return fill


class SecureNoise:
    """Every normal from the client's random bytes (`privacy.secure_gaussian`): as strong as their source."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """See `NoiseSource`; draws nothing before the first fill."""

        def fill(parts: Sequence[torch.Tensor], std: float) -> None:
            for part in parts:
                part.copy_(gaussian(std, part.shape, random))

        return fill


class FastNoise:
    """Double-precision normals by inversion from numpy's SFC64, seeded with 192 random bits: research grade.

    Uniforms of 53 bits, so normals reach 8.3 standard deviations, about as `privacy.secure_gaussian`.
    """

    def __call__(self, random: RandomBytes, /) -> Fill:
        """See `NoiseSource`."""
        bits = np.random.Generator(np.random.SFC64(int.from_bytes(random(24), "little")))
        room = np.empty(_CHUNK)

        def fill(parts: Sequence[torch.Tensor], std: float) -> None:
            for part in parts:
                for piece in torch.split(part.view(-1), _CHUNK):
                    piece.copy_(normals_from_uniforms(bits.random(out=room[: piece.numel()]), std))

        return fill


def normals_from_uniforms(uniforms: NDArray[np.float64], std: float) -> torch.Tensor:
    """Return N(0, std^2) by inversion of multiples of 2^-53 in [0, 1), float64; overwrites them."""
    # Exact: the grid is moved by half a step, so it is symmetric about 1/2 and reaches neither end.
    centred = torch.from_numpy(uniforms).sub_(0.5 - 2.0**-54)
    return centred.mul_(2.0).erfinv_().mul_(math.sqrt(2.0) * std)
