"""The public calendar: who meets which task in which slot, who is there at all, and who is charged together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl.config import Config
from secure_fcl.randomness import public_generator

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

IDLE = -1
#: Longest calendar that is spelt out in the name of a group.
SPELT_OUT = 24


@dataclass(frozen=True, eq=False)
class Calendar:
    """Drawn from the public seed before the run.

    Attributes:
        met: task that each client meets in each slot, IDLE for none, int64 (clients, slots).
        present: whether a client takes part in a slot, bool (clients, slots); it joins once and leaves once.
    """

    met: Ints
    present: Bools


def make_calendar(config: Config, tasks: int) -> Calendar:
    """Return the calendar of a configuration for `tasks` tasks (segments, of an online stream)."""
    wanted = config.scenario
    order = np.tile(np.arange(tasks, dtype=np.int64), (wanted.clients, 1))
    if wanted.order == "shuffle":
        order = public_generator(config.seed, "order").permuted(order, axis=1)
    met = order
    if wanted.arrival == "asynchronous":
        delay = public_generator(config.seed, "arrival").integers(0, wanted.max_delay + 1, size=wanted.clients)
        met = np.full((wanted.clients, tasks + wanted.max_delay), IDLE, dtype=np.int64)
        np.put_along_axis(met, delay[:, None] + np.arange(tasks), order, axis=1)
    present = _presence(config, met.shape[1])
    return Calendar(np.where(present, met, IDLE), present)


def _presence(config: Config, slots: int) -> Bools:
    """Who joins or leaves is drawn per client: it joins in a uniform later slot, and leaves in one after that."""
    wanted, rng = config.scenario, public_generator(config.seed, "presence")
    clients = wanted.clients
    joins = np.where(rng.random(clients) < wanted.joining, rng.integers(1, max(slots, 2), size=clients), 0)
    joins = np.minimum(joins, slots - 1)
    leaves = joins + 1 + np.floor(rng.random(clients) * np.maximum(slots - 1 - joins, 0)).astype(np.int64)
    leaves = np.where((rng.random(clients) < wanted.leaving) & (joins < slots - 1), leaves, slots)
    slot = np.arange(slots)
    return np.asarray((slot >= joins[:, None]) & (slot < leaves[:, None]))


def group_names(calendar: Calendar, release: Ints) -> tuple[str, ...]:
    """Return a name for each client's history; clients of one name are charged for the same rounds.

    Args:
        calendar: of all clients.
        release: slot in which each client's task enters, int64 (clients, tasks).
    """
    slots = calendar.met.shape[1]
    tasks = np.arange(release.shape[1])
    usual = bool((calendar.met == tasks[: calendar.met.shape[1]]).all()) if slots == len(tasks) else False
    return tuple(
        "all clients" if usual and (release[k] == tasks).all() else _name(calendar.met[k], release[k])
        for k in range(len(release))
    )


def _name(met: Ints, release: Ints) -> str:
    spelt = ",".join("-" if t == IDLE else str(t) for t in met.tolist())
    late = [f"{t} in slot {release[t]}" if release[t] >= 0 else f"{t} never" for t in _held(met, release)]
    if len(met) + 4 * len(late) > SPELT_OUT:
        digest = hashlib.sha256(np.concatenate([met, release]).tobytes()).hexdigest()
        return f"calendar {digest[:12]}"
    delay = int(np.flatnonzero(met != IDLE)[0]) if (met != IDLE).any() else 0
    plain = np.array_equal(met[met != IDLE], np.arange(len(release)))
    start = f"clients {delay} tasks late" if plain else f"clients who meet {spelt}"
    return f"{start}, released {', '.join(late)}" if late else start


def _held(met: Ints, release: Ints) -> list[int]:
    """Return the tasks that were met in one slot and released in another, or never."""
    return [int(t) for slot, t in enumerate(met.tolist()) if t != IDLE and release[t] != slot]
