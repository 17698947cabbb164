"""Persons who never train: who they are, that nothing of them is trained on, and what a model is tried on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.errors import ConfigInvalid
from secure_fcl.streams import build_scenario
from secure_fcl.streams.public import PublicCalendar, test_of
from secure_fcl.streams.unseen import unseen_persons

PERSONS = 12


@pytest.fixture
def people(digits: Dataset) -> Dataset:
    """Digits written by twelve persons, of whom every one has training and test examples."""
    return replace(digits, client=np.arange(len(digits)) % PERSONS, digest="")


@pytest.mark.parametrize("partition", ["natural", "iid", "dirichlet"])
def test_nothing_of_them_trains_and_they_are_tested_apart(
    people: Dataset, make_config: Callable[..., Config], partition: str
) -> None:
    config = make_config(f"scenario.partition={partition}", "scenario.clients=9", "data.unseen_persons=3")
    scenario = build_scenario(people, config)
    away = unseen_persons(people, 3, config.seed)
    assert len(set(away)) == 3
    trained = [i for k in range(9) for t in range(scenario.tasks) for i in scenario.experience(k, t).index]
    assert trained
    assert not np.isin(people.client[trained], away).any()
    unseen = scenario.unseen_indices()
    assert len(unseen)
    assert np.isin(people.client[unseen], away).all()
    assert people.test[unseen].all()
    assert not np.isin(people.client[scenario.test_indices()], away).any()
    assert (scenario.owner[unseen] == NO_CLIENT).all()
    # The planned number is of who trains.
    assert scenario.examples == int((people.train & ~np.isin(people.client, away)).sum())


def test_without_the_key_a_scenario_is_what_it_was(people: Dataset, make_config: Callable[..., Config]) -> None:
    scenario = build_scenario(people, make_config("scenario.partition=natural", "scenario.clients=12"))
    assert scenario.unseen is None
    assert not len(scenario.unseen_indices())
    assert set(scenario.owner) == set(range(PERSONS))


def test_who_they_are_follows_the_seed_and_not_who_has_examples(people: Dataset) -> None:
    drawn = {tuple(unseen_persons(people, 3, seed)) for seed in range(20)}
    assert len(drawn) > 10
    fewer = replace(people, train=people.train & (people.client != unseen_persons(people, 3, 1)[0]), digest="")
    assert (unseen_persons(fewer, 3, 1) == unseen_persons(people, 3, 1)).all()


def test_a_server_of_its_own_knows_them_too(people: Dataset, make_config: Callable[..., Config]) -> None:
    scenario = build_scenario(people, make_config("scenario.clients=9", "data.unseen_persons=3"))
    server = PublicCalendar.of(scenario).with_test(test_of(scenario))
    assert (server.x[server.unseen_indices()] == scenario.x[scenario.unseen_indices()]).all()
    assert (server.x[server.test_indices()] == scenario.x[scenario.test_indices()]).all()


@pytest.mark.parametrize(
    ("change", "count", "said"),
    [
        ({"client": NO_CLIENT}, 1, "does not say whose its examples are"),
        ({}, PERSONS, "leaves none of the 12 persons"),
        ({"test": False}, 2, "none of the persons drawn has a test example"),
    ],
)
def test_what_cannot_be_is_refused(people: Dataset, change: dict[str, object], count: int, said: str) -> None:
    other = {key: np.full_like(getattr(people, key), value) for key, value in change.items()}
    with pytest.raises(ConfigInvalid, match=said):
        unseen_persons(replace(people, digest="", **other), count, 1)


def test_natural_clients_are_counted_without_them(people: Dataset, make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match="9 natural clients beside 3 unseen persons; lower it"):
        build_scenario(
            people, make_config("scenario.partition=natural", "scenario.clients=10", "data.unseen_persons=3")
        )
