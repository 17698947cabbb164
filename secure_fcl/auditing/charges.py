"""What the ledger charged for what a coin of a game decides about."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from attacks.bounds.gaussian import gaussian_epsilon
from privacy import Accountant, Event, Ledger, PldAccountant, RdpAccountant
from privacy.cohorts import undominated
from privacy.errors import UnsupportedEvent
from privacy.groups import group_epsilon
from privacy.statement import given_epsilon
from secure_fcl.auditing.world import AuditWorld, accounted
from secure_fcl.config.accountants import accountant_of
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.streams import NO_ITEM

#: Group privacy divides delta; beyond this power of ten, or this epsilon of the group, no bound is worth printing.
_SMALLEST_SHARE, _HOPELESS = 60, 200.0


#: Beyond this mu an epsilon says nothing, and is not sought.
_MOST_MU = 38.0


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return the epsilon of mu-GDP at delta, of mu 38 where it is larger."""
    return gaussian_epsilon(min(mu, _MOST_MU), delta)


def cost(history: Mapping[Event, int], size: int, delta: float, given: Accountant | None = None) -> float:
    """Return what a history costs a group of `size` examples: tightly where that is known, else by group privacy.

    `given`: an accountant of the user's own; where it claims less, its claim is what attacks are held against.

    Group privacy (Vadhan 2017, lemma 2.2): k examples of an (epsilon, d)-private mechanism have k epsilon at
    d (e^(k epsilon) - 1) / (e^epsilon - 1). The largest d of a grid that suffices is taken; inf if none does.
    """
    try:
        own = group_epsilon(history, size, delta)
    except UnsupportedEvent:
        own = min(_by_group_privacy(ours, history, size, delta) for ours in (RdpAccountant(), PldAccountant()))
    return own if given is None else min(own, _by_group_privacy(given, history, size, delta))


def _by_group_privacy(accountant: Accountant, history: Mapping[Event, int], size: int, delta: float) -> float:
    for power in range(_SMALLEST_SHARE):
        share = delta * 10.0**-power
        one = given_epsilon(accountant, history, share)
        if size * one > _HOPELESS:
            return math.inf
        if size == 1 or one == 0.0 or share * math.expm1(size * one) <= delta * math.expm1(one):
            return size * one
    return math.inf


def _worst(histories: list[Mapping[Event, int]], size: int, plan: RowPlan) -> float | None:
    given = accountant_of(plan.config.privacy.accountant)
    return max((cost(history, size, accounted(plan), given) for history in undominated(histories)), default=None)


def _item_size(world: AuditWorld) -> int:
    """Return how many examples one hold-out coin decides about: an item and its straddlers."""
    units = world.plan.scenario.units
    return units.largest_item + (2 if (units.item == NO_ITEM).any() else 0)


def spent_by_item(world: AuditWorld) -> float | None:
    """Return what the ledger charged everything that one hold-out coin decides about, in the worst cohort."""
    with Ledger(world.folder.ledger_path(world.plan.name)) as ledger:
        histories = list(ledger.spent().values())
    return _worst([*histories], _item_size(world), world.plan)


def spent_by_slot(world: AuditWorld) -> dict[int, float | None]:
    """Return the same for items that arrive in one slot; an item that reaches into another takes the worse of both."""
    scenario, slot_of = world.plan.scenario, world.slot_of
    tasks: dict[int, set[tuple[str, int]]] = {slot: set() for slot in range(scenario.slots)}
    for client, group in enumerate(scenario.groups):
        for slot in tasks:
            tasks[slot] |= {(group, task) for task in scenario.released(client, slot)}
    own = world.pool()
    touched = {slot: {slot} for slot in tasks}
    pairs = np.unique(np.stack([scenario.units.item[own], slot_of[own]], axis=1), axis=0)
    for item in np.unique(pairs[:, 0][:-1][np.diff(pairs[:, 0]) == 0]):
        slots = {int(slot) for slot in pairs[pairs[:, 0] == item, 1]}
        for slot in slots:
            touched[slot] |= slots
    with Ledger(world.folder.ledger_path(world.plan.name)) as ledger:
        spent = ledger.spent()
    found = {}
    for slot, slots in touched.items():
        cohorts = set().union(*(tasks[s] for s in slots))
        histories: list[Mapping[Event, int]] = [h for c, h in spent.items() if (c.group, c.arrival) in cohorts]
        found[slot] = _worst(histories, _item_size(world), world.plan)
    return found


def spent_in_memory(world: AuditWorld, since: int = 0) -> float:
    """Return what the memory steps alone cost an item that arrived in slot `since`: the most that being kept can show.

    The coin of a memory decides about an item that stays in it (kept) or was never sampled from it (discarded).
    """
    plan = world.plan
    rounds = plan.training_rounds * (plan.scenario.slots - 1 - since)
    history = {event: count * rounds for event, count in plan.events("memory").items()}
    return (_worst([history], plan.scenario.units.largest_item, plan) or 0.0) if rounds else 0.0


def spent_by_fate(world: AuditWorld, fate: str) -> dict[Event, int] | None:
    """Return what the ledger charged one example that arrived in the first slot and was then kept or discarded.

    None if no group of clients meets a task in the first slot, or nobody had that fate.
    """
    scenario, plan = world.plan.scenario, world.plan
    for client, group in enumerate(scenario.groups):
        for task in scenario.released(client, 0):
            with Ledger(world.folder.ledger_path(plan.name)) as ledger:
                spent = ledger.spent()
            histories = [
                dict(history)
                for cohort, history in spent.items()
                if (cohort.group, cohort.arrival, cohort.chunk, cohort.fate) == (group, task, 0, fate)
            ]
            return histories[0] if histories else None
    return None
