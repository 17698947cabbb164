"""Persons who never train: the public seed names them, and a model is tried on them beside those who trained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_generator

Ints = NDArray[np.int64]


def unseen_persons(data: Dataset, count: int, seed: int) -> Ints:
    """Return the persons (`Dataset.client`) who never train, int64 (count,) in ascending order.

    They are drawn from all persons that the data set names, by the public seed and whatever examples they have, so a
    neighbouring data set has the same ones.

    Raises:
        ConfigInvalid: examples belong to nobody, nobody would be left to train, or those drawn have no test example.
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    asked = f"data.unseen_persons = {count}"
    if (data.client == NO_CLIENT).any():
        raise ConfigInvalid(
            f"{asked}: data set {data.name!r} does not say whose its examples are; set it to 0, or declare clients"
        )
    if count >= len(data.clients):
        raise ConfigInvalid(
            f"{asked} leaves none of the {len(data.clients)} persons of data set {data.name!r} to train; lower it"
        )
    drawn = public_generator(seed, "unseen persons").choice(data.clients, size=count, replace=False)
    if not (data.test & np.isin(data.client, drawn)).any():
        raise ConfigInvalid(
            f"{asked}: none of the persons drawn has a test example; declare some of each person's recordings as test "
            "examples, or take another seed"
        )
    return np.sort(np.asarray(drawn, dtype=np.int64))
