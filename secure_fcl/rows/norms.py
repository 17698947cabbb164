"""Bounds on the norm of what one client sends: which upload has one, and how large a client's share of noise may be."""

from __future__ import annotations

from collections.abc import Mapping

from privacy.skellam import skellam_norm_bound
from secure_fcl.compression import Wire, as_declared, with_norm
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.noise import SumNoise
from secure_fcl.strategies import Phase, UploadSpec


def bounded(
    config: Config, name: str, uploads: Mapping[Phase, UploadSpec], training: tuple[Wire, ...] = ()
) -> dict[Phase, tuple[Wire, ...]]:
    """Return the ways of a row's uploads under the bounds of its section; `training`: that of training, if shortened.

    Raises:
        ConfigInvalid: a bound for an upload that there is not.
    """
    wires = as_declared(uploads) | ({"train": training} if training else {})
    bounds = config.section(name).norm_bounds
    if bounds["close"] and "close" not in wires:
        raise ConfigInvalid(
            f"{name}.close_norm_bound = {bounds['close']:g}: {name} sends nothing when a task closes; set it to 0"
        )
    return {phase: tuple(with_norm(wire, bounds[phase]) for wire in found) for phase, found in wires.items()}


def noise_norm_bound(noise: SumNoise, entries: int, probability: float) -> int:
    """Return what the norm of one client's share of noise exceeds with at most `probability` over all clients."""
    return skellam_norm_bound(noise.share_variance, entries, probability / noise.parties)
