"""What sums of few examples give away: which classes are there, what their mean looks like, and the examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.sums.few import examples_from_moments, least_found, mean_likeness, rank_of, span_distances
from evaluation.roc import auc
from secure_fcl.auditing.sums.items import rare_classes
from secure_fcl.auditing.sums.released import Release
from secure_fcl.auditing.sums.view import Attacked, said
from secure_fcl.strategies.closed_form.class_rows import COUNT_WEIGHT, unfold
from secure_fcl.strategies.closed_form.moments import MomentSums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STRANGERS, _PAIR = 60, 2


def play_few(attacked: Attacked) -> dict[str, Any]:
    """Return class arrival, the likeness of rare classes' means, and examples out of products, as attacks.json has it.

    All on the run's own releases, with its noise and without.
    """
    noises = attacked.row.noises
    first = [one for one in attacked.releases if attacked.row.plan.phase(one.in_slot) == "train"]
    return {
        "arrival": [_arrival(attacked, first, noisy) for noisy in noises],
        "means": [one for noisy in noises for one in _means(attacked, first, noisy)],
        "products": [one for noisy in noises for one in _products(attacked, first, noisy)],
    }


def _of_class(attacked: Attacked, release: Release, label: int) -> Ints:
    y = attacked.row.plan.scenario.data.y
    index = np.concatenate([attacked.row.members(release, int(k)) for k in release.clients])
    return np.asarray(index[y[index] == label])


def _strangers(attacked: Attacked, label: int) -> Ints:
    scenario = attacked.row.plan.scenario
    return np.flatnonzero(scenario.data.test & (scenario.data.y == label))[:_STRANGERS]


def _own_entries(attacked: Attacked, release: Release, label: int) -> tuple[Floats, Floats] | None:
    """Return a class's own part of a release and what a typical example adds to it, in entries of no other class.

    None where no test example of the class shows which entries those are.
    """
    names = attacked.row.plan.step(release.slot, release.in_slot).classes
    typical = {name: _strangers(attacked, name) for name in names}
    if not len(typical[label]):
        return None
    shown = {name: attacked.row.added(release, index) for name, index in typical.items()}
    mine = shown[label] != 0.0
    for name in names:
        mine &= (shown[name] == 0.0) | (name == label)
    return mine, shown[label] / len(typical[label])


def _arrival(attacked: Attacked, releases: list[Release], noisy: bool) -> dict[str, Any]:
    """Return in how many announced classes the sums show that anybody has examples, and how few would show."""
    announced = shown = held = 0
    least = []
    for release in releases:
        scale = attacked.deviation(release, noisy)
        rest = attacked.sums[release.number] / scale + attacked.noise(release, noisy)
        for label in attacked.row.plan.step(release.slot, release.in_slot).classes:
            found = _own_entries(attacked, release, label)
            if found is None:
                continue
            mine, typical = found
            along = typical[mine] / scale
            length = float(np.linalg.norm(along))
            announced += 1
            held += len(_of_class(attacked, release, label)) > 0
            shown += float(rest[mine] @ along) > 1.645 * length
            least.append(least_found(length))
    return {"noise": said(noisy), "announced": announced, "there": held, "shown": shown,
            "least": max(least, default=None)}  # fmt: skip


def _means(attacked: Attacked, releases: list[Release], noisy: bool) -> list[dict[str, Any]]:
    """Return how like a rare class's released sum is to the true one, beyond what a typical example tells."""
    rare, found = rare_classes(attacked.row.plan.scenario).tolist(), []
    for release in releases:
        scale = attacked.deviation(release, noisy)
        noise = attacked.noise(release, noisy) * scale
        for label in attacked.row.plan.step(release.slot, release.in_slot).classes:
            index = _of_class(attacked, release, label) if label in rare else np.empty(0, dtype=np.int64)
            own = _own_entries(attacked, release, label) if len(index) else None
            if own is None:
                continue
            mine, typical = own
            truth = attacked.row.added(release, index)
            likeness = mean_likeness((truth + noise)[mine], truth[mine], typical[mine])
            found.append({"noise": said(noisy), "class": int(label), "examples": len(index), "likeness": likeness})
    return found


def _products(attacked: Attacked, releases: list[Release], noisy: bool) -> list[dict[str, Any]]:
    """Return what rows that sum products give away of all examples of a slot, and of a client with one or two.

    Of the slot: who lies in the span of the products. Of the client, all others being known: the examples themselves.
    """
    if not isinstance(attacked.row.plan.strategy, MomentSums):
        return []
    found = []
    for release in releases:
        scale = attacked.deviation(release, noisy)
        noise = attacked.noise(release, noisy) * scale
        index = np.concatenate([attacked.row.members(release, int(k)) for k in release.clients])
        rank = rank_of(_gram(attacked, release, attacked.sums[release.number]))
        size = len(_gram(attacked, release, noise))
        record: dict[str, Any] = {"noise": said(noisy), "slot": release.slot, "examples": len(index), "rank": rank}
        # As many directions as examples, and room for others: else everybody lies in the span.
        if rank == len(index) < size:
            strangers = np.concatenate(
                [_strangers(attacked, int(c)) for c in attacked.row.plan.step(release.slot, release.in_slot).classes]
            )
            asked = [_features(attacked, release, int(k)) for k in (*index[:_STRANGERS], *strangers[:_STRANGERS])]
            gram = _gram(attacked, release, attacked.sums[release.number] + noise)
            distances = span_distances(gram, np.stack(asked), rank)
            inside = np.arange(len(asked)) < len(index[:_STRANGERS])
            if inside.any() and not inside.all():
                record |= {"span_auc": auc(-distances, inside)}
        found.append(record | _pair(attacked, release, noise))
    return found


def _pair(attacked: Attacked, release: Release, noise: Floats) -> dict[str, Any]:
    """Return how like rebuilt examples are to the true ones, for a client with one or two in the slot."""
    mine = [attacked.row.members(release, int(k)) for k in release.clients]
    few = [index for index in mine if 1 <= len(index) <= _PAIR]
    if not few:
        return {"rebuilt": None}
    index = max(few, key=len)
    truth = np.stack([_features(attacked, release, int(k)) for k in index])
    part = attacked.row.added(release, index) + noise
    made = examples_from_moments(_rows_sum(attacked, release, part), _gram(attacked, release, part), len(index))
    assert made is not None  # at most two
    likeness = _cosines(made, truth)
    # Which of two is which nobody can say.
    best = max(float(np.trace(likeness)), float(np.trace(likeness[::-1]))) / len(index)
    return {"rebuilt": len(index), "likeness": best}


def _cosines(left: Floats, right: Floats) -> Floats:
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)[None]
    return np.asarray(left @ right.T / np.where(lengths > 0.0, lengths, 1.0))


def _weights(attacked: Attacked) -> tuple[float, float]:
    """Return how a row of products scales its class rows and its products."""
    strategy = attacked.row.plan.strategy
    assert isinstance(strategy, MomentSums)  # no other row is asked
    return math.sqrt(1.0 - strategy.gram_share), math.sqrt(strategy.gram_share)


def _gram(attacked: Attacked, release: Release, vector: Floats) -> Floats:
    """Return the matrix of products in a release's vector, in the units of one example's features."""
    parts = attacked.row.upload(release).split(vector)
    return unfold(parts["gram"] / _weights(attacked)[1], parts["sums"].shape[1] - 1)


def _rows_sum(attacked: Attacked, release: Release, vector: Floats) -> Floats:
    """Return the sum of all examples' features in a release's vector; each row's first entry counts."""
    parts = attacked.row.upload(release).split(vector)
    weight = _weights(attacked)[0] * math.sqrt(1.0 - COUNT_WEIGHT**2)
    return np.asarray(parts["sums"][:, 1:].sum(axis=0) / weight)


def _features(attacked: Attacked, release: Release, example: int) -> Floats:
    """Return the features of one example, as its class row has them."""
    return _rows_sum(attacked, release, attacked.row.added(release, np.array([example], dtype=np.int64)))
