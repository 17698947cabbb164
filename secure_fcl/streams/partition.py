"""Who owns which unit: natural clients, IID, Dirichlet and pathological partitions."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Partition = Literal["natural", "iid", "dirichlet", "pathological"]


def partition(
    data: Dataset,
    unit: Ints,
    kind: Partition,
    clients: int,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    classes_per_client: int = 2,
    unseen: Ints | None = None,
) -> Ints:
    """Return the client of every example, int64 (n,), in 0..clients-1; a unit is never split.

    iid: each unit to a uniform client. dirichlet: per class, shares drawn from Dirichlet(alpha) (Hsu et al. 2019,
    section 3); a client may own nothing. pathological: each client holds `classes_per_client` classes (McMahan et
    al. 2017, section 3). Test examples are dealt by the same rule. What belongs to an `unseen` person is nobody's,
    NO_CLIENT; the others are dealt as they were without it, or under natural clients move up.

    Raises:
        ConfigInvalid: natural clients asked of a data set that has none, or more clients than it has.
    """
    absent = np.zeros(0, dtype=np.int64) if unseen is None else unseen
    if kind == "natural":
        return _natural(data, clients, absent)
    first = np.unique(unit, return_index=True)[1]
    label = data.y[first]
    match kind:
        case "iid":
            owner = rng.integers(0, clients, size=len(first))
        case "dirichlet":
            owner = np.empty(len(first), dtype=np.int64)
            for c in range(len(data.classes)):
                mine = np.flatnonzero(label == c)
                owner[mine] = rng.choice(clients, size=len(mine), p=rng.dirichlet(np.full(clients, alpha)))
        case "pathological":
            owner = _pathological(label, len(data.classes), clients, classes_per_client, rng)
    return np.where(np.isin(data.client, absent), NO_CLIENT, np.asarray(owner, dtype=np.int64)[unit])


def _natural(data: Dataset, clients: int, absent: Ints) -> Ints:
    if (data.client == NO_CLIENT).any():
        raise ConfigInvalid(
            f"scenario.partition = 'natural': data set {data.name!r} has no natural clients; "
            "choose iid, dirichlet or pathological"
        )
    names = [name for name in data.clients if name not in absent]
    if clients > len(names):
        more = f" beside {len(absent)} unseen persons" if len(absent) else ""
        raise ConfigInvalid(
            f"scenario.clients = {clients}: data set {data.name!r} has {len(names)} natural clients{more}; lower it"
        )
    # With fewer clients than people, the others' examples belong to nobody (NO_CLIENT) and are left out.
    place = {name: k for k, name in enumerate(names[:clients])}
    return np.array([place.get(int(c), NO_CLIENT) for c in data.client], dtype=np.int64)


def dealt_classes(kind: Partition, classes: int, clients: int, per_client: int, rng: np.random.Generator) -> Bools:
    """Return which classes a client may hold, bool (clients, classes): public, and drawn before any data is looked at.

    Only pathological partitions deal classes; `rng` must be in the state in which `partition` gets it.

    Raises:
        ConfigInvalid: more classes per client than there are.
    """
    found = np.full((clients, classes), kind != "pathological", dtype=np.bool_)
    if kind == "pathological":
        for c, holders in enumerate(_deal(classes, clients, per_client, rng)):
            found[holders, c] = True
    return found


def _deal(classes: int, clients: int, per_client: int, rng: np.random.Generator) -> list[list[int]]:
    """Return the clients that hold each class."""
    if per_client > classes:
        raise ConfigInvalid(
            f"scenario.classes_per_client = {per_client} exceeds the {classes} classes of the data set; lower it"
        )
    # Dealing shuffled copies of the class list like cards gives every class an owner as soon as there are enough hands.
    deck: list[int] = []
    while len(deck) < clients * per_client:
        # No hand gets a class twice: what the hand still open already holds goes to the end of the next copy.
        hand = deck[len(deck) - len(deck) % per_client :]
        deck += sorted(rng.permutation(classes).tolist(), key=lambda c: c in hand)
    holders: list[list[int]] = [[] for _ in range(classes)]
    for k in range(clients):
        for c in deck[k * per_client : (k + 1) * per_client]:
            holders[c].append(k)
    return holders


def _pathological(label: Ints, classes: int, clients: int, per_client: int, rng: np.random.Generator) -> Ints:
    holders = _deal(classes, clients, per_client, rng)
    owner = np.empty(len(label), dtype=np.int64)
    for c in range(classes):
        mine = np.flatnonzero(label == c)
        owner[mine] = rng.choice(holders[c], size=len(mine)) if holders[c] else NO_CLIENT
    return owner
