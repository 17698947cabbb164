"""Where the normals of stacked training come from: a cipher as in `DpSgdTrainer`, torch's generator, a fast stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.randomness import RandomBytes, key_stream, seed64
from privacy.secure_gaussian import release_noise

#: Normals made at once: they stay in the cache.
_CHUNK = 1 << 15

#: Fills a client's next noise, one float view per parameter, with N(0, std^2).
Fill = Callable[[Sequence[torch.Tensor], float], None]


class NoiseSource(Protocol):
    """Makes one client's stream of normals for one visit, from the client's random bytes or a seed out of them."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """Return the stream of one client."""


class OpacusNoise:
    """Opacus's own way, in double precision: normals of one torch generator, parameter by parameter; research grade."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """See `NoiseSource`."""
        generator = torch.Generator().manual_seed(seed64(random))

        def fill(parts: Sequence[torch.Tensor], std: float) -> None:
            for part in parts:
                part.copy_(torch.normal(0.0, std, part.shape, dtype=torch.float64, generator=generator))

        return fill


class SecureNoise:
    """The very draws of `DpSgdTrainer`: a key stream out of the client's random bytes."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """See `NoiseSource`."""
        stream = key_stream(random)

        def fill(parts: Sequence[torch.Tensor], std: float) -> None:
            sizes = [part.numel() for part in parts]
            for part, own in zip(parts, torch.split(release_noise(std, (sum(sizes),), stream), sizes), strict=True):
                part.copy_(own.view(part.shape))

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
