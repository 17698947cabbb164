"""What a client's update weighs in the mean: the same for all, or its noisy number of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from privacy import Event, NonPrivate, SampledGaussian
from privacy.secure_gaussian import release_noise
from secure_fcl.strategies.base import Stratum
from secure_fcl.strategies.contribution import Part, Values
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers


class Weights(Protocol):
    """Both ends of the weights of a mean."""

    def declare(self) -> tuple[Part, ...]:
        """Return the parts that tell the server the sum of the weights."""

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what a client's weight charges an example of a stratum."""

    def of(self, visit: Visit) -> float:
        """Return one client's weight, from 0 to 1."""

    def fill(self, weight: float) -> dict[str, Values]:
        """Return the declared parts."""

    def read(self, total: Mapping[str, Values], clients: int) -> float | None:
        """Return the sum of the weights; None if it is too small to divide by."""


@dataclass(frozen=True)
class EqualWeights:
    """Every client weighs 1: nothing is sent, nothing is charged, the server divides by the number of clients."""

    def declare(self) -> tuple[Part, ...]:
        """Return no part."""
        return ()

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return no event."""
        return {}

    def of(self, visit: Visit) -> float:
        """Return 1."""
        return 1.0

    def fill(self, weight: float) -> dict[str, Values]:
        """Return no part."""
        return {}

    def read(self, total: Mapping[str, Values], clients: int) -> float | None:
        """Return the number of clients."""
        return float(clients)


@dataclass(frozen=True, eq=False)
class CountWeights:
    """A client weighs its noisy number of current examples over the public bound; one release a round is charged.

    Sends the weight as a part of one entry, in the update's units so that all parts share one scale.
    """

    numbers: Numbers

    def declare(self) -> tuple[Part, ...]:
        """Return the part "weight"."""
        return (Part("weight", (1,), self.numbers.encoding.update_clip),)

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return one release of the number of examples; the memory is not counted."""
        if stratum == "memory":
            return {}
        noise = self.numbers.count_noise
        return {
            SampledGaussian(q=1.0, noise_multiplier=noise)
            if noise
            else NonPrivate("number of examples without noise"): 1
        }

    def of(self, visit: Visit) -> float:
        """Return the noisy number of current examples over its public bound, cut to 0 and 1."""
        count = float(len(visit.strata[0].y))
        if self.numbers.count_noise > 0.0:
            count += float(release_noise(self.numbers.count_noise, (1,), visit.coins)[0])
        return min(max(count / self.numbers.examples, 0.0), 1.0)

    def fill(self, weight: float) -> dict[str, Values]:
        """Return the weight in units of the update."""
        return {"weight": np.array([weight * self.numbers.encoding.update_clip])}

    def read(self, total: Mapping[str, Values], clients: int) -> float | None:
        """Return the sum of the weights; None below one example, since that says nothing but noise."""
        share = float(total["weight"][0]) / self.numbers.encoding.update_clip
        return None if share * self.numbers.examples < 1.0 else share
