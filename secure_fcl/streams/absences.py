"""Clients that are away from single rounds, by the public seed: dropouts that a simulation plays.

Joining and leaving is the calendar's. Whoever is away here belongs to its slot's sums, and the plan does without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from secure_fcl.config import Config
from secure_fcl.randomness import public_generator
from secure_fcl.streams.calendar import Calendar

AwayFrom = Literal["upload", "confirm", "unmask"]
"""The first thing of a round that a client misses: its upload, or what masked sums ask afterwards."""

Absent = Mapping[int, AwayFrom]
"""Who is away from one round, by number, and from what on."""

_STEPS: tuple[AwayFrom, ...] = get_args(AwayFrom)


def absent_of(share: float, clients: int) -> int:
    """Return how many of a slot's clients are away from every one of its rounds: the nearest whole number."""
    return int(share * clients + 0.5)


@dataclass(eq=False)
class Absences:
    """Who is away, round by round; same seed and calendar, same absences, in every row with as many rounds a slot.

    In each round `scenario.dropout` of the slot's clients are away, never more. Who went away after its upload is among
    them in the round after too, as far as the same clients are there: under masks it has no keys for that sum, and what
    protects a sum must not change who is in it.
    """

    config: Config
    dates: Calendar
    rounds_per_slot: int
    _known: list[tuple[NDArray[np.int32], NDArray[np.int8]]] = field(default_factory=list)

    def at(self, slot: int, round: int) -> Absent:
        """Return who is away from a round."""
        if self.config.scenario.dropout == 0.0:
            return {}
        number = slot * self.rounds_per_slot + round
        while len(self._known) <= number:
            self._known.append(self._drawn(len(self._known)))
        clients, steps = self._known[number]
        return {int(k): _STEPS[step] for k, step in zip(clients, steps, strict=True)}

    def _drawn(self, number: int) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        wanted, present = self.config.scenario, self.dates.present
        slot = number // self.rounds_per_slot
        there = np.flatnonzero(present[:, slot])
        still = np.empty(0, dtype=np.int32)
        if number and np.array_equal(present[:, slot], present[:, (number - 1) // self.rounds_per_slot]):
            clients, steps = self._known[number - 1]
            still = clients[steps > 0]
        rng = public_generator(self.config.seed, "dropout", number)
        order = rng.permutation(there)
        fresh = order[~np.isin(order, still)][: absent_of(wanted.dropout, len(there)) - len(still)]
        mixed = wanted.dropout_step == "mixed"
        drawn = (
            rng.integers(len(_STEPS), size=len(fresh)) if mixed else np.full(len(fresh), _place(wanted.dropout_step))
        )
        away = np.concatenate([still, fresh]).astype(np.int32)
        missed = np.concatenate([np.zeros(len(still)), drawn]).astype(np.int8)
        sort = np.argsort(away)
        return away[sort], missed[sort]


def _place(step: str) -> int:
    return next(place for place, known in enumerate(_STEPS) if known == step)
