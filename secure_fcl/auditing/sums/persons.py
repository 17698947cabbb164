"""The person behind a client: membership over all tasks, and what they did most, from a closed-form row's sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.bounds.gaussian import gaussian_epsilon
from attacks.sums.likelihood import ALL_OTHERS, POPULATION
from attacks.sums.persons import PersonWorlds, counts_of_classes, knowing_others, knowing_population, person_auc
from evaluation.intervals import clopper_pearson
from secure_fcl.auditing.sums.released import Release
from secure_fcl.auditing.sums.view import Attacked, said
from secure_fcl.randomness import public_generator, public_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WORLDS = 80
"""Worlds in each of which every person takes part by a fair coin."""
FEWEST = 6
"""Persons below which the games are not played."""
_TYPICAL, _HOPELESS = 60, 50.0


def play_persons(attacked: Attacked, worlds: int = WORLDS) -> dict[str, Any]:
    """Return what the sums tell of whole persons, as attacks.json has it; `missing` says why there is nothing.

    First exchanges of all slots are attacked: a person's part of the others takes long and tells little more. In the
    run everybody takes part, so membership is asked of worlds played anew, by exact subtraction of persons, with fresh
    noise; what each did most is asked of the run itself.
    """
    row = attacked.row
    releases = tuple(one for one in attacked.releases if row.plan.phase(one.in_slot) == "train")
    persons = [k for k in sorted({int(k) for one in releases for k in one.clients}) if _has_both(attacked, k)]
    if len(persons) < FEWEST:
        return {"missing": f"persons: {len(persons)} clients have examples in training and others beside, not {FEWEST}"}
    parts = {one.number: _parts(attacked, one, persons) for one in releases}
    held = {one.number: np.stack([_held(attacked, one, k) for k in persons]) for one in releases}
    games = [game for noisy in row.noises for game in _membership(attacked, releases, (parts, held), noisy, worlds)]
    return {
        "persons": len(persons), "worlds": worlds, "games": games, "group": _group(attacked, releases, persons),
        "activity": _activity(attacked, releases, persons, parts),
    }  # fmt: skip


def _has_both(attacked: Attacked, client: int) -> bool:
    scenario = attacked.row.plan.scenario
    mine = scenario.owner == client
    trained = mine & scenario.data.train & ~scenario.held_out
    return bool(trained.any()) and len(_others(attacked, client)) > 0


def _others(attacked: Attacked, client: int) -> Ints:
    scenario = attacked.row.plan.scenario
    return np.flatnonzero((scenario.owner == client) & scenario.data.test)


def _held(attacked: Attacked, release: Release, client: int) -> Floats:
    """Return what a person's other examples would add to a release."""
    index, names = _others(attacked, client), attacked.row.plan.step(release.slot, release.in_slot).classes
    return attacked.row.added(release, index[np.isin(attacked.row.plan.scenario.data.y[index], names)])


def _parts(attacked: Attacked, release: Release, persons: list[int]) -> Floats:
    """Return what persons add to a release, zeros for who sent nothing."""
    place = {int(k): number for number, k in enumerate(release.clients)}
    made = attacked.parts[release.number]
    nothing = np.zeros(made.shape[1])
    return np.stack([made[place[k]] if k in place else nothing for k in persons])


def _membership(
    attacked: Attacked,
    releases: tuple[Release, ...],
    both: tuple[dict[int, Floats], dict[int, Floats]],
    noisy: bool,
    worlds: int,
) -> list[dict[str, Any]]:
    seed = attacked.row.plan.config.seed
    noise = np.concatenate([attacked.worlds(one, noisy, worlds, "persons") for one in releases], axis=1)
    parts, held = (
        np.concatenate([made[one.number] / attacked.deviation(one, noisy) for one in releases], axis=1) for made in both
    )
    coins = public_generator(seed, "coins of persons").random((worlds, len(parts))) < 0.5
    played: tuple[tuple[str, PersonWorlds], ...] = (
        (ALL_OTHERS, knowing_others(parts, held, coins, noise)),
        (POPULATION, knowing_population(parts, held, coins, noise)),
    )
    found = []
    for known, scores in played:
        area = person_auc(scores, public_seed(seed, "persons", known))
        found.append(
            {"known": known, "noise": said(noisy), "auc": area.value, "low": area.low,
             "high": area.high, "confidence": area.confidence}
        )  # fmt: skip
    return found


def _group(attacked: Attacked, releases: tuple[Release, ...], persons: list[int]) -> dict[str, Any] | None:
    """Return what the ledger's mu allows about everything of the person with most examples, by group privacy.

    k examples in one release shift it k times as far at most, and an example is in one slot only: mu grows with the
    root of the sum of squares over slots.
    """
    row, mu = attacked.row, attacked.row.charged_mu
    if mu is None:
        return None
    counts = [[len(row.members(one, k)) for one in releases] for k in persons]
    grown = max(math.sqrt(sum(n * n for n in of_person)) for of_person in counts) * mu
    # Beyond this mu nothing is hidden, and the tail of a normal law underflows.
    epsilon = gaussian_epsilon(grown, row.plan.accounting_delta) if grown < _HOPELESS else math.inf
    says = epsilon < _HOPELESS
    return {
        "examples": max(sum(of_person) for of_person in counts), "mu": grown, "epsilon": epsilon if says else None,
        "says": "bounds what is told of a person" if says else f"above {_HOPELESS:g}: it bounds nothing",
    }  # fmt: skip


def _activity(
    attacked: Attacked, releases: tuple[Release, ...], persons: list[int], parts: dict[int, Floats]
) -> list[dict[str, Any]]:
    """Return how often the class that a person has most of is named right, everybody else's part being known."""
    row, scenario = attacked.row, attacked.row.plan.scenario
    classes = len(scenario.data.classes)
    counts = np.zeros((len(persons), classes))
    for place, client in enumerate(persons):
        index = np.concatenate([row.members(one, client) for one in releases])
        counts[place] = np.bincount(scenario.data.y[index], minlength=classes)
    truth, common = counts.argmax(axis=1), counts.sum(axis=0) - counts
    blind = int((common.argmax(axis=1) == truth).sum())
    found = []
    for noisy in row.noises:
        guessed = np.zeros((len(persons), classes))
        for one in releases:
            scale = attacked.deviation(one, noisy)
            residual = parts[one.number] / scale + attacked.noise(one, noisy)
            names = row.plan.step(one.slot, one.in_slot).classes
            typical = {label: _typical(attacked, one, label) / scale for label in names}
            known = [label for label in names if np.any(typical[label])]
            for place in range(len(persons)) if known else ():
                guessed[place, known] += counts_of_classes(residual[place], [typical[label] for label in known])
        right = int((guessed.argmax(axis=1) == truth).sum())
        interval = clopper_pearson(right, len(persons))
        found.append(
            {"noise": said(noisy), "right": right / len(persons), "low": interval.low,
             "high": interval.high, "persons": len(persons), "blind": blind / len(persons)}
        )  # fmt: skip
    return found


def _typical(attacked: Attacked, release: Release, label: int) -> Floats:
    """Return what a mean test example of a class adds to a release; zeros where there is none."""
    scenario = attacked.row.plan.scenario
    index = np.flatnonzero(scenario.data.test & (scenario.data.y == label))
    rng = public_generator(attacked.row.plan.config.seed, "typical examples", label)
    index = rng.permutation(index)[:_TYPICAL]
    return attacked.row.added(release, index) / max(len(index), 1)
