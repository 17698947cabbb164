"""Gradient worlds: the same targets seen in one client's gradient or in a sum, without noise or with it.

Every per-example gradient is clipped to the clip norm C first, as DP-SGD does. The adversary's input is then

    one client:  clip(g_target)                     + noise of the client's own release
    sum of n:    clip(g_target) + sum of n-1 others + noise of the sum

All four worlds share targets, companions and noise directions, so that they differ in nothing but the
protection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.modules.functions import GradientOf

if TYPE_CHECKING:
    import torch

_CHUNK = 256


@dataclass(frozen=True)
class GradientWorld:
    """What the adversary of one world holds.

    Attributes:
        world: "one client" or "sum of n".
        noise: "off" or "as ran".
        gradients: (m, d), one observed gradient per target.
        clients: number of clients in what is observed; 1 for one client's own.
    """

    world: str
    noise: str
    gradients: torch.Tensor
    clients: int = field(default=1, kw_only=True)


def clip_rows(gradients: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """Each row g becomes g * min(1, C / |g|): norm at most C (up to rounding). A zero row stays zero.

    Raises:
        InversionInvalid: the clipping norm C is not a positive finite number, or a row is not finite.
    """
    if not (np.isfinite(clip_norm) and clip_norm > 0):
        raise InversionInvalid(f"clip norm is {clip_norm}; give a positive finite number")
    if not bool(gradients.isfinite().all()):
        raise InversionInvalid("a gradient is not finite; has the model diverged? use an earlier checkpoint")
    norms = gradients.norm(dim=1, keepdim=True)
    clipped: torch.Tensor = gradients * (clip_norm / norms.clamp_min(1e-30)).clamp_max(1.0)
    return clipped


def clipped_gradients(gradient_of: GradientOf, x: NDArray[Any], y: NDArray[Any], clip_norm: float) -> torch.Tensor:
    """Clipped gradients of examples (n, ...), n at least 1, one row each: (n, d).

    Raises:
        InversionInvalid: as `clip_rows`.
    """
    import torch

    parts = [
        gradient_of(
            torch.tensor(x[start : start + _CHUNK], dtype=torch.float32),
            torch.tensor(y[start : start + _CHUNK], dtype=torch.int64),
        ).detach()
        for start in range(0, len(x), _CHUNK)
    ]
    return clip_rows(torch.cat(parts), clip_norm)


def build_gradient_worlds(
    gradient_of: GradientOf,
    targets: tuple[NDArray[Any], NDArray[Any]],
    others: tuple[NDArray[Any], NDArray[Any]],
    *,
    clip_norm: float,
    n_clients: int,
    noise_one: float,
    noise_sum: float,
    seed: int,
) -> tuple[GradientWorld, ...]:
    """The four worlds (one client, sum of n) x (noise off, as ran) for the same targets.

    Args:
        gradient_of: per-example gradients at the attacked model, see `modules.GradientOf`.
        targets: (x (m, ...), y (m,)), the examples to reconstruct.
        others: pool (x, y) from which each target's n - 1 companions are drawn, with replacement.
        clip_norm: C, the norm every per-example gradient is clipped to.
        n_clients: n, at least 1 (then the sum holds the target alone).
        noise_one: standard deviation per coordinate of the noise on one client's release, in gradient units.
        noise_sum: standard deviation per coordinate of the noise on the sum.
        seed: public seed of companions and noise.

    Raises:
        InversionInvalid: no targets, an empty pool where companions are needed, or numbers out of range.
    """
    import torch

    x, y = targets
    bad_noise = not all(np.isfinite(noise) and noise >= 0 for noise in (noise_one, noise_sum))
    if len(x) == 0 or len(x) != len(y) or n_clients < 1 or bad_noise or (n_clients > 1 and len(others[0]) == 0):
        raise InversionInvalid(
            f"{len(x)} targets with {len(y)} labels, {n_clients} clients, noise {noise_one} and {noise_sum}, "
            f"{len(others[0])} others; at least one target and one client, finite noise of at least 0, "
            "and others to fill the sum are needed"
        )
    alone = clipped_gradients(gradient_of, x, y, clip_norm)
    summed = alone.clone()
    if n_clients > 1:
        draw = np.random.default_rng(seed).integers(0, len(others[0]), size=(len(x), n_clients - 1))
        pool, position = np.unique(draw, return_inverse=True)
        rows = clipped_gradients(gradient_of, others[0][pool], others[1][pool], clip_norm)
        summed += rows[torch.from_numpy(position.reshape(draw.shape))].sum(dim=1)
    noise = torch.randn(alone.shape, generator=torch.Generator().manual_seed(seed))
    total = f"sum of {n_clients}"
    return (
        GradientWorld("one client", "off", alone),
        GradientWorld("one client", "as ran", alone + noise_one * noise),
        GradientWorld(total, "off", summed, clients=n_clients),
        GradientWorld(total, "as ran", summed + noise_sum * noise, clients=n_clients),
    )
