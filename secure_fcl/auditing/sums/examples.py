"""Membership of examples in released sums: in the run itself, which is one world, and in worlds played anew.

In the run the coins are those of the hold-out, the noise is the run's own, and every score shares it: what is judged is
whether members stand out among the candidates. In a rehearsal the same sums get fresh coins and fresh noise, so that
thresholds can be fixed beforehand and scores follow the known law: that is what mu is measured in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.games.attack import Candidates
from attacks.games.judging import Coin, Terms
from attacks.games.play import MEMBERSHIP, Outcome, blind_baseline, judge
from attacks.games.views import SUMS_ONLY
from attacks.sums.likelihood import ALL_BUT_ASKED, ALL_OTHERS, POPULATION, joint_scores, population_scores, shift_scores
from attacks.sums.power import ShiftGame, shift_game
from secure_fcl.auditing.sums.items import Item
from secure_fcl.auditing.sums.view import Attacked, said
from secure_fcl.auditing.world import TOO_LITTLE, audit_delta
from secure_fcl.randomness import public_generator, public_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WORLDS = 400
"""Worlds of a rehearsal, each with an example in and out."""
_SINGLE, _ITEM_WORLDS, _OTHERS_OF_A_CLASS = 16, 60, 16


@dataclass(frozen=True, eq=False)
class Asked:
    """The items of one slot with what each adds, in the strategy's units, and others of the same classes.

    Attributes:
        items: that are asked about.
        added: (n, D), what each adds to all attacked releases of the slot.
        population: (m, D), what units of test examples would add, and `population_labels` (m,).
        total: (D,) what is in the run's releases but for their noise.
    """

    slot: int
    items: tuple[Item, ...]
    added: Floats
    population: Floats
    population_labels: Ints
    total: Floats

    @property
    def truth(self) -> Bools:
        """Who is in the run, (n,)."""
        return np.array([one.inside for one in self.items], dtype=np.bool_)

    @property
    def labels(self) -> Ints:
        """Classes of the items, (n,)."""
        return np.array([one.label for one in self.items], dtype=np.int64)


def asked_by_slot(attacked: Attacked, items: Sequence[Item]) -> tuple[Asked, ...]:
    """Return the items of every slot with what they add; items whose client sent nothing in their slot are left out."""
    found = []
    for slot in sorted({one.slot for one in items}):
        releases = attacked.of_slot(slot)
        sent = set.intersection(*({int(k) for k in one.clients} for one in releases))
        mine = tuple(one for one in items if one.slot == slot and one.client in sent)
        if not mine:
            continue
        added = np.stack([attacked.added(slot, one.moved) for one in mine])
        others, labels = _population(attacked, slot, attacked.row.plan.step(slot, 0).classes)
        total = np.concatenate([attacked.sums[one.number] for one in releases])
        made = np.stack([attacked.added(slot, one) for one in others]) if others else np.zeros((0, added.shape[1]))
        found.append(Asked(slot, mine, added, made, labels, total))
    return tuple(found)


def _population(attacked: Attacked, slot: int, classes: Sequence[int]) -> tuple[list[Ints], Ints]:
    """Return units of test examples of some classes, whole recordings apart from all that was trained on."""
    scenario = attacked.row.plan.scenario
    rng = public_generator(attacked.row.plan.config.seed, "population of sums", slot)
    units, labels = [], []
    for label in classes:
        mine = np.flatnonzero(scenario.data.test & (scenario.data.y == label))
        for unit in rng.permutation(np.unique(scenario.units.unit[mine]))[:_OTHERS_OF_A_CLASS]:
            units.append(mine[scenario.units.unit[mine] == unit])
            labels.append(label)
    return units, np.array(labels, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class RunGame:
    """A game on the run itself: what the adversary knew, whether the noise counted (see `said`), and its outcome."""

    known: str
    noise: str
    outcome: Outcome


def run_games(attacked: Attacked, asked: Sequence[Asked], epsilon: float | None) -> list[RunGame]:
    """Return membership of items in the run itself, for two adversaries, all classes and rare ones, noise and without.

    Args:
        attacked: the row.
        asked: its items.
        epsilon: what the ledger charged everything that one item's coin decides about; None without a guarantee.
    """
    share, games = attacked.row.plan.config.scenario.holdout, list[RunGame]()
    if not 0.0 < share < 1.0:
        return []
    for noisy in attacked.row.noises:
        scores = {name: [_run_scores(attacked, one, name, noisy, 1.0 - share) for one in asked] for name in _KNOWN}
        for rare in (False, True):
            chosen = [np.array([one.rare or not rare for one in part.items], dtype=np.bool_) for part in asked]
            for name in _KNOWN:
                found = _judged(attacked, asked, scores[name], chosen, (name, rare, noisy), epsilon)
                if found is not None:
                    games.append(RunGame(known=name, noise=said(noisy), outcome=found))
    return games


_KNOWN = (ALL_BUT_ASKED, POPULATION)


def _run_scores(attacked: Attacked, asked: Asked, known: str, noisy: bool, rate: float) -> Floats:
    noise = attacked.own_noise(asked.slot, noisy)
    directions = attacked.whitened(asked.slot, asked.added, noisy)
    if known == ALL_BUT_ASKED:
        return joint_scores(noise + directions[asked.truth].sum(axis=0), directions, rate)
    total = noise + attacked.whitened(asked.slot, asked.total, noisy)
    return _by_population(attacked, asked, total, directions, noisy)


def _by_population(attacked: Attacked, asked: Asked, total: Floats, directions: Floats, noisy: bool) -> Floats:
    """Return scores (..., n), NaN for items of classes of which the population has fewer than two units."""
    names, sizes = np.unique(asked.population_labels, return_counts=True)
    able = np.isin(asked.labels, names[sizes >= 2])
    scores = np.full((*total.shape[:-1], len(directions)), np.nan)
    if able.any():
        enough = np.isin(asked.population_labels, names[sizes >= 2])
        others = attacked.whitened(asked.slot, asked.population[enough], noisy)
        scores[..., able] = population_scores(
            total, directions[able], asked.labels[able], (others, asked.population_labels[enough])
        )
    return scores


def _judged(
    attacked: Attacked,
    asked: Sequence[Asked],
    scores: Sequence[Floats],
    chosen: Sequence[Bools],
    named: tuple[str, bool, bool],
    epsilon: float | None,
) -> Outcome | None:
    """Return one outcome over all slots, None with too few candidates of either truth."""
    (known, rare, noisy), plan = named, attacked.row.plan
    kept = [mask & ~np.isnan(score) for mask, score in zip(chosen, scores, strict=True)]
    items = [part.items[k] for part, mask in zip(asked, kept, strict=True) for k in np.flatnonzero(mask)]
    if not items:
        return None
    what = "items of rare classes" if rare else "items"
    target = f"{what} in the sums of {plan.name}, knowing {known}, noise {said(noisy)}"
    blocks = plan.scenario.units.largest_item > 1
    terms = Terms(
        target=target + (" (one coin per block of windows)" if blocks else ""),
        seed=public_seed(plan.config.seed, "judge", target), coin=Coin(1.0 - plan.config.scenario.holdout),
        delta=audit_delta(plan), ledger_epsilon=epsilon if noisy else None,
        control=None if noisy or not attacked.row.private else "without noise",
    )  # fmt: skip
    values = np.concatenate([score[mask] for score, mask in zip(scores, kept, strict=True)])
    truth = np.array([one.inside for one in items], dtype=np.bool_)
    index = np.array([one.moved[0] for one in items], dtype=np.int64)
    candidates = Candidates(
        plan.scenario.x[index], plan.scenario.data.y[index], np.array([one.number for one in items]),
        np.array([one.slot for one in items]),
    )  # fmt: skip
    try:
        blind = blind_baseline(candidates, truth, terms)
        return judge(MEMBERSHIP, ("likelihood ratio", SUMS_ONLY.name), values, candidates, truth, terms, blind)
    except TOO_LITTLE:
        return None


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A game in worlds played anew: what was asked of whom, and what it came to."""

    question: str
    known: str
    noise: str
    game: ShiftGame


def rehearse_one_example(attacked: Attacked, asked: Sequence[Asked], worlds: int = WORLDS) -> list[Rehearsal]:
    """Return membership of one example for the adversary who knows all others: the law that the ledger is about.

    The examples are single windows of the slots all of whose exchanges are attacked, each in and out of worlds with
    noise of their own.
    """
    plan = attacked.row.plan
    phases = len(plan.strategy.uploads)
    whole = [part for part in asked if len(attacked.of_slot(part.slot)) >= phases] or [*asked]
    rng = public_generator(plan.config.seed, "single examples of sums", plan.name)
    windows = [(part.slot, int(w)) for part in whole for one in part.items for w in one.moved[:1]]
    if not windows:
        return []
    picked = [windows[int(k)] for k in rng.permutation(len(windows))[:_SINGLE]]
    found = []
    for noisy in attacked.row.noises:
        outside, inside = [], []
        for slot in sorted({slot for slot, _ in picked}):
            groups = [np.array([w], dtype=np.int64) for s, w in picked if s == slot]
            directions = attacked.directions(slot, groups, noisy)
            count = max(2, -(-worlds * len(groups) // len(picked)))
            noise = attacked.fresh_noise(slot, noisy, count, "one example")
            which = np.arange(count) % len(groups)
            outside.append(shift_scores(noise, directions[which]))
            inside.append(shift_scores(noise + directions[which], directions[which]))
        game = shift_game(np.concatenate(outside), np.concatenate(inside))
        found.append(Rehearsal(question="one example", known=ALL_OTHERS, noise=said(noisy), game=game))
    return found


def rehearse_rare_items(attacked: Attacked, asked: Sequence[Asked], worlds: int = _ITEM_WORLDS) -> list[Rehearsal]:
    """Return membership of items of rare classes, in worlds with fresh coins and noise, for three adversaries.

    All items of rare classes that are asked about get fair coins; the rest of the sums stays. Each world is asked about
    each item with it in and with it out.
    """
    found = []
    rare = [part for part in asked if any(one.rare for one in part.items)]
    for noisy in attacked.row.noises if rare else ():
        scores: dict[str, list[tuple[Floats, Floats]]] = {ALL_OTHERS: [], ALL_BUT_ASKED: [], POPULATION: []}
        for part in rare:
            for known, pair in _rare_worlds(attacked, part, noisy, worlds).items():
                scores[known].append(pair)
        for known, pairs in scores.items():
            outside, inside = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
            usable = ~np.isnan(outside)
            if usable.sum() < 2:
                continue
            game = shift_game(outside[usable], inside[usable], known_law=False)
            found.append(Rehearsal(question="item of a rare class", known=known, noise=said(noisy), game=game))
    return found


def _rare_worlds(attacked: Attacked, asked: Asked, noisy: bool, worlds: int) -> dict[str, tuple[Floats, Floats]]:
    """Return scores of items that are out and in, by what the adversary knows: one item of each world."""
    rare = np.array([one.rare for one in asked.items], dtype=np.bool_)
    directions = attacked.whitened(asked.slot, asked.added, noisy)
    rest = attacked.whitened(asked.slot, asked.total, noisy) - directions[rare & asked.truth].sum(axis=0)
    own = directions[rare]
    rng = public_generator(attacked.row.plan.config.seed, "coins of rare items", asked.slot)
    coins = (rng.random((worlds, len(own))) < 0.5).astype(np.float64)
    which, noise = np.arange(worlds) % len(own), attacked.fresh_noise(asked.slot, noisy, worlds, "rare items")
    here = Asked(
        asked.slot, tuple(one for one in asked.items if one.rare), asked.added[rare], asked.population,
        asked.population_labels, asked.total,
    )  # fmt: skip
    found: dict[str, list[Floats]] = {ALL_OTHERS: [], ALL_BUT_ASKED: [], POPULATION: []}
    for inside in (0.0, 1.0):
        coins[np.arange(worlds), which] = inside
        sums = noise + coins @ own
        found[ALL_OTHERS].append(shift_scores(noise + inside * own[which], own[which]))
        found[ALL_BUT_ASKED].append(joint_scores(sums, own, 0.5)[np.arange(worlds), which])
        by_population = _by_population(attacked, here, sums + rest, own, noisy)
        found[POPULATION].append(by_population[np.arange(worlds), which])
    return {known: (pair[0], pair[1]) for known, pair in found.items()}
