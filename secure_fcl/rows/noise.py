"""The noise inside a row's sums: of which mechanism, for how many clients, and what it charges."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from privacy import DistributedSum, Event, SkellamSum
from secure_fcl.compression import Wire
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Phase, Strategy
from secure_fcl.streams import Scenario

SumNoise = SkellamSum | DistributedSum
"""Noise inside the secure sum: of a sum over all examples, or over Poisson samples of them."""


def event_inside(noise: SumNoise, rate: float) -> Event:
    """Return what one round charges an example that joins the sum at a rate.

    Raises:
        ConfigInvalid: a mechanism for sums over all examples, over a sample.
    """
    match noise:
        case DistributedSum():
            return noise.event(rate)
        case SkellamSum() if rate == 1.0:
            return noise.event
        case _:
            raise ConfigInvalid(f"a sum over examples sampled at rate {rate} has no event; use DistributedSum")


def counted_inside(noise: SumNoise, rate: float, most: float) -> Event:
    """Return what one round charges for an entry that one client changes by at most `most`, where its coin says so.

    `most` is in units of what the rest of the vector changes by; the entry is one, and its coin its own.

    Raises:
        ConfigInvalid: a mechanism for sums over all examples.
    """
    if not isinstance(noise, DistributedSum):
        raise ConfigInvalid(f"a count sampled at rate {rate} has no event in a sum over all; use DistributedSum")
    return replace(noise, dimension=1).event(rate, most)


def distributed_noise(
    config: Config, scenario: Scenario, wires: tuple[Wire, ...], norm: float, multiplier: float
) -> DistributedSum:
    """Return the noise of sums of examples of the given norm, over Poisson samples; for all wires of a phase.

    Raises:
        ConfigInvalid: nobody is left who surely adds noise.
    """
    _refuse_without_honest_clients(config, scenario, wires[0].source.name)
    p = config.privacy
    # The rounding of one part bounds what an example changes there; each part is a release of its own. A map never
    # lengthens a vector, so the norm stands, and the most entries of any slot bound the rounding of all.
    return DistributedSum(
        parties=scenario.clients, max_dropouts=p.max_dropouts, colluders=p.colluders, clipping_norm=norm,
        noise_multiplier=multiplier, dimension=max(wire.dimension for wire in wires), scale=wires[0].sent.scale,
    )  # fmt: skip


def shared_noise(config: Config, scenario: Scenario, sums: Strategy, phase: Phase, multiplier: float) -> SkellamSum:
    """Return the noise of one sum over all examples.

    Raises:
        ConfigInvalid: the upload declares no sensitivity, or nobody is left who surely adds noise.
    """
    upload = sums.uploads[phase]
    placement: Literal["local", "shared"] = "shared" if config.section(sums.name).noise == "shared" else "local"
    if upload.sensitivity_l2 is None or upload.sensitivity_entries is None:
        raise ConfigInvalid(f"upload {upload.name!r} declares no sensitivity, so no noise can be shared in its sum")
    p = config.privacy
    # Clipping to a norm scales all entries: one example then moves the rounding of each.
    entries = upload.length if config.section(sums.name).norm_bounds[phase] else upload.sensitivity_entries
    if placement == "shared":
        _refuse_without_honest_clients(config, scenario, sums.name)
    dropouts = p.max_dropouts if placement == "shared" else 0
    # Local noise trusts nobody: each client's own share carries the whole guarantee.
    parties = scenario.clients if placement == "shared" else max(scenario.clients, 2)
    return SkellamSum(
        parties=parties, max_dropouts=dropouts, colluders=p.colluders if placement == "shared" else 1,
        l2=upload.sensitivity_l2 * upload.scale, dimension=entries,
        noise_multiplier=multiplier, placement=placement,
    )  # fmt: skip


def _refuse_without_honest_clients(config: Config, scenario: Scenario, row: str) -> None:
    p, fewest = config.privacy, int(scenario.dates.present.sum(axis=0).min())
    if fewest - p.max_dropouts - p.colluders < 1:
        raise ConfigInvalid(
            f"privacy.max_dropouts = {p.max_dropouts} and privacy.colluders = {p.colluders} leave none of "
            f"{fewest} clients that surely adds noise; lower them or set {row}.noise = 'local'"
        )
