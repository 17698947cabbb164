"""One row's releases as its attackers see them: whitened, less what an adversary knows, with the noise and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from secure_fcl.auditing.sums.released import Release, SumsRow
from secure_fcl.randomness import public_generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST = 500
"""Sums of exchanges after the first are attacked where they hold at most so many examples: their features take long."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """The releases of a row that are attacked, and what every client's examples add to each.

    Attributes:
        row: of the run.
        most: see `MOST`; None: all releases.
    """

    row: SumsRow
    most: int | None = MOST

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """All releases but large ones of exchanges after the first."""
        row = self.row
        return tuple(
            one
            for one in row.releases
            if row.plan.phase(one.in_slot) == "train"
            or self.most is None
            or sum(len(row.members(one, int(k))) for k in one.clients) <= self.most
        )

    @property
    def left_out(self) -> int:
        """Number of releases that are not attacked."""
        return len(self.row.releases) - len(self.releases)

    def of_slot(self, slot: int) -> tuple[Release, ...]:
        """Return the attacked releases of a slot."""
        return tuple(one for one in self.releases if one.slot == slot)

    @cached_property
    def parts(self) -> dict[int, Floats]:
        """By number of a first exchange: what each of its clients' examples add, (clients, D)."""
        return {
            one.number: np.stack([self.row.added(one, self.row.members(one, int(k))) for k in one.clients])
            for one in self.releases
            if self.row.plan.phase(one.in_slot) == "train"
        }

    @cached_property
    def sums(self) -> dict[int, Floats]:
        """By release number: what all its examples add together, (D,)."""
        found = {number: part.sum(axis=0) for number, part in self.parts.items()}
        for one in (one for one in self.releases if one.number not in found):
            everyone = np.concatenate([self.row.members(one, int(k)) for k in one.clients])
            found[one.number] = self.row.added(one, everyone)
        return found

    def deviation(self, release: Release, noisy: bool, known: int = 0) -> float:
        """Return by what a release is whitened: its noise as it is, or rounding alone where the noise is left out."""
        return release.deviation(known) if noisy else release.rounded

    def noise(self, release: Release, noisy: bool) -> Floats:
        """Return the run's own noise of a release, whitened: what is left of it without its examples.

        Without the noise, rounding is drawn anew: the run's integers of each client are nowhere written down.
        """
        if noisy or not self.row.private:
            return (release.total - self.sums[release.number]) / self.deviation(release, noisy)
        rng = public_generator(self.row.plan.config.seed, "rounding", self.row.plan.name, release.number)
        return rng.normal(size=len(release.total))

    def worlds(self, release: Release, noisy: bool, count: int, label: str) -> Floats:
        """Return fresh noise of a release, (count, D), whitened: differences of Poisson variables, as the shares are.

        From a public seed: nothing is hidden by it.
        """
        rng = public_generator(self.row.plan.config.seed, label, self.row.plan.name, release.number, int(noisy))
        size, scale = (count, len(release.total)), self.row.upload(release).scale
        variance = len(release.clients) * (release.share * scale) ** 2
        if not noisy or variance == 0.0 or variance > _LARGEST:
            return rng.normal(size=size)
        drawn = rng.poisson(variance / 2.0, size=size) - rng.poisson(variance / 2.0, size=size)
        rounded = rng.normal(size=size) * release.rounded
        return np.asarray(drawn / scale + rounded) / release.deviation()

    def directions(self, slot: int, groups: Sequence[Ints], noisy: bool) -> Floats:
        """Return what groups of examples add to all attacked releases of a slot, whitened, (groups, D)."""
        found = [self.added(slot, group) for group in groups]
        return self.whitened(slot, np.stack(found), noisy)

    def added(self, slot: int, group: Ints) -> Floats:
        """Return what a group of examples adds to all attacked releases of a slot, (D,), in the strategy's units."""
        return np.concatenate([self.row.added(one, group) for one in self.of_slot(slot)])

    def whitened(self, slot: int, vectors: Floats, noisy: bool) -> Floats:
        """Return vectors (..., D) over the releases of a slot, each part over its deviation."""
        scale = [np.full(len(one.total), self.deviation(one, noisy)) for one in self.of_slot(slot)]
        return np.asarray(vectors / np.concatenate(scale))

    def own_noise(self, slot: int, noisy: bool) -> Floats:
        """Return the run's own noise in a slot, whitened, (D,)."""
        return np.concatenate([self.noise(one, noisy) for one in self.of_slot(slot)])

    def fresh_noise(self, slot: int, noisy: bool, count: int, label: str) -> Floats:
        """Return fresh noise of a slot, whitened, (count, D)."""
        return np.concatenate([self.worlds(one, noisy, count, label) for one in self.of_slot(slot)], axis=1)


def said(noisy: bool) -> str:
    """Return how records call the noise of a game."""
    return "as ran" if noisy else "off"


#: Beyond it numpy draws no Poisson variables, and a normal law differs by less than a double shows.
_LARGEST = 1e18
