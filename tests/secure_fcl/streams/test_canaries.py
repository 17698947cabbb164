"""Declared canaries: where they stand in a stream, what they look like, and that coins move nothing else."""

from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams import NEVER, Scenario, build_scenario
from secure_fcl.streams.canaries import NOTHING


@pytest.fixture(scope="module")
def with_some(digits: Dataset, make_config: Callable[..., Config]) -> Scenario:
    return build_scenario(digits, make_config("attacks.canaries=45"))


def streams(scenario: Scenario) -> list[tuple[int, int]]:
    return [(int(k), int(t)) for k, t in np.argwhere(scenario.release != NEVER)]


def test_without_canaries_a_scenario_is_what_it_was(digits: Dataset, make_config: Callable[..., Config]) -> None:
    plain, none = (build_scenario(digits, make_config(*more)) for more in ((), ("attacks.canaries=0",)))
    assert none.canaries is None
    assert (none.digest, none.largest_place, len(none.data)) == (plain.digest, plain.largest_place, len(digits))


def test_canaries_are_dealt_evenly_and_declared_in_public(with_some: Scenario) -> None:
    canaries = with_some.canaries
    assert canaries is not None
    counts = [len(np.flatnonzero((canaries.client == k) & (canaries.task == t))) for k, t in streams(with_some)]
    assert sum(counts) == len(canaries) == 45
    assert max(counts) - min(counts) <= 1
    assert not with_some.data.train[canaries.index].any()
    assert not with_some.data.test[canaries.index].any()
    labels = with_some.data.y[canaries.index]
    assert all(y in with_some.task_classes[t] for y, t in zip(labels.tolist(), canaries.task.tolist(), strict=True))


def test_canaries_lie_within_the_bounds_of_the_data(with_some: Scenario) -> None:
    assert with_some.canaries is not None
    own, others = with_some.x[with_some.canaries.index], with_some.x[with_some.data.test]
    assert (own >= others.min(axis=0)).all()
    assert (own <= others.max(axis=0)).all()
    assert len(np.unique(own.reshape(len(own), -1), axis=0)) == len(own)


def test_no_coin_moves_another_example(with_some: Scenario, digits: Dataset, tiny_scenario: Scenario) -> None:
    assert with_some.canaries is not None
    everyone = with_some.canaries.index
    for client, task in streams(with_some):
        without, plain = with_some.experience(client, task), tiny_scenario.experience(client, task)
        np.testing.assert_array_equal(without.index, plain.index)
        for inside in (NOTHING, everyone[::2], everyone):
            found = with_some.experience(client, task, inside)
            place = dict(zip(found.index.tolist(), found.place.tolist(), strict=True))
            assert [place[i] for i in without.index.tolist()] == without.place.tolist()
            assert len(set(place.values())) == len(place)
            assert (np.diff(found.place) > 0).all()
            assert max(place.values(), default=0) < with_some.largest_place
            mine = set(with_some.canaries.of(client).tolist()) & set(inside.tolist())
            assert set(place) - set(plain.index.tolist()) <= mine


def test_canaries_stand_among_the_examples_and_not_behind_them(with_some: Scenario) -> None:
    assert with_some.canaries is not None
    before = 0
    for client, task in streams(with_some):
        found = with_some.experience(client, task, with_some.canaries.index).index
        canary = found >= with_some.canaries.index[0]
        before += sum(not canary[place:].all() for place in np.flatnonzero(canary))
    assert before > 10


def test_features_are_those_of_any_example(with_some: Scenario) -> None:
    assert with_some.canaries is not None
    described = with_some.described("plain")
    index = with_some.canaries.index
    assert (np.linalg.norm(described.x[index].reshape(len(index), -1), axis=1) <= 1 + 1e-5).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("engine=tls", "identities=x"), "set engine = 'local'"),
        (("privacy.unit=person",), "set privacy.unit = 'example'"),
        (("transcript=latest",), "set transcript = 'full'"),
    ],
)
def test_where_canaries_cannot_go_they_are_refused(
    make_config: Callable[..., Config], settings: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigInvalid, match=r"attacks\.canaries = 3 beside") as refused:
        make_config("attacks.canaries=3", *settings)
    assert says in str(refused.value)
