from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams import make_units
from secure_fcl.streams.partition import Partition, partition

RUNS = st.lists(st.integers(1, 12), min_size=1, max_size=30)
KINDS = st.sampled_from(["iid", "dirichlet", "pathological"])


@given(RUNS, KINDS, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_units_are_dealt_whole_to_known_clients(
    make_data: Callable[..., Dataset], runs: list[int], kind: Partition, clients: int, seed: int
) -> None:
    data = make_data(runs)
    unit = make_units(data).unit
    owner = partition(data, unit, kind, clients, np.random.default_rng(seed))
    assert owner.shape == (len(data),)
    assert owner.dtype == np.int64
    assert ((owner >= 0) & (owner < clients) | (owner == NO_CLIENT)).all()
    if kind != "pathological":
        assert (owner >= 0).all()
    for u in np.unique(unit):
        assert len(set(owner[unit == u])) == 1
    again = partition(data, unit, kind, clients, np.random.default_rng(seed))
    assert (owner == again).all()


@given(st.integers(1, 12), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_pathological_clients_hold_exactly_so_many_classes(
    digits: Dataset, clients: int, per_client: int, seed: int
) -> None:
    unit = np.arange(len(digits))
    owner = partition(digits, unit, "pathological", clients, np.random.default_rng(seed), classes_per_client=per_client)
    for k in range(clients):
        assert len(np.unique(digits.y[owner == k])) == per_client
    unowned = {int(c) for c in np.unique(digits.y[owner == NO_CLIENT])}
    assert len(unowned) == max(0, 10 - clients * per_client)


def test_iid_clients_are_alike(digits: Dataset) -> None:
    owner = partition(digits, np.arange(len(digits)), "iid", 4, np.random.default_rng(1))
    counts = np.bincount(owner)
    assert abs(counts - len(digits) / 4).max() < 5 * np.sqrt(len(digits) * 3 / 16)


def test_a_small_alpha_makes_clients_unlike(digits: Dataset) -> None:
    def largest_share(alpha: float) -> float:
        owner = partition(digits, np.arange(len(digits)), "dirichlet", 5, np.random.default_rng(1), alpha=alpha)
        return float(np.mean([np.bincount(owner[digits.y == c], minlength=5).max() for c in range(10)])) / 179.7

    assert largest_share(0.05) > 0.75
    assert largest_share(1000.0) < 0.3


def test_natural_clients_are_the_people(hapt: Dataset) -> None:
    unit = make_units(hapt).unit
    rng = np.random.default_rng(0)
    assert (partition(hapt, unit, "natural", 30, rng) == hapt.client).all()
    few = partition(hapt, unit, "natural", 3, rng)
    assert (few[hapt.client < 3] == hapt.client[hapt.client < 3]).all()
    assert (few[hapt.client >= 3] == NO_CLIENT).all()


def test_what_cannot_be_dealt(hapt: Dataset, digits: Dataset) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigInvalid, match="'digits' has no natural clients"):
        partition(digits, np.arange(len(digits)), "natural", 3, rng)
    with pytest.raises(ConfigInvalid, match=r"clients = 31: .* has 30"):
        partition(hapt, make_units(hapt).unit, "natural", 31, rng)
    with pytest.raises(ConfigInvalid, match="classes_per_client = 11 exceeds the 10"):
        partition(digits, np.arange(len(digits)), "pathological", 3, rng, classes_per_client=11)
