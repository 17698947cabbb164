"""Whole persons in sums: found by other examples of theirs, by nobody from coins that were permuted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.errors import GameInvalid
from attacks.sums.persons import (
    PersonWorlds,
    counts_of_classes,
    knowing_others,
    knowing_population,
    person_auc,
)

PERSONS, WORLDS = 12, 40


def federation(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Parts, what other examples would add, coins, noise: persons differ from a common mean, and a little over time."""
    rng = np.random.default_rng(1)
    person = 5.0 * rng.normal(size=30) + rng.normal(size=(PERSONS, 30))
    parts, held = (person + 0.2 * rng.normal(size=person.shape) for _ in range(2))
    return parts / noise, held / noise, rng.random((WORLDS, PERSONS)) < 0.5, rng.normal(size=(WORLDS, 30))


@pytest.mark.parametrize("attack", [knowing_others, knowing_population])
def test_persons_are_found_without_noise_and_not_under_much(attack) -> None:  # type: ignore[no-untyped-def]
    clear, hidden = (person_auc(attack(*federation(noise)), seed=1) for noise in (0.01, 300.0))
    assert clear.low > 0.8
    assert clear.n == PERSONS
    assert hidden.low < 0.5 < hidden.high


def test_who_knows_the_others_finds_more_than_who_knows_the_population() -> None:
    made = federation(3.0)
    assert person_auc(knowing_others(*made), 1).value > person_auc(knowing_population(*made), 1).value


def test_permuted_coins_are_not_found() -> None:
    worlds = knowing_population(*federation(0.01))
    rng = np.random.default_rng(2)
    found = person_auc(PersonWorlds(scores=worlds.scores, truth=rng.permuted(worlds.truth, axis=0)), 1)
    assert found.low < 0.5 < found.high


@given(st.integers(0, 2**32 - 1))
def test_counts_of_typical_examples_come_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    typical, counts = rng.normal(size=(3, 9)), rng.integers(0, 20, size=3)
    assert np.allclose(counts_of_classes(counts @ typical, [*typical]), counts, atol=1e-6)


def test_too_few_persons_are_refused() -> None:
    parts, held, coins, noise = federation(1.0)
    with pytest.raises(GameInvalid, match="2 persons; a population needs"):
        knowing_population(parts[:2], held[:2], coins[:, :2], noise)
    with pytest.raises(GameInvalid, match="must be"):
        person_auc(PersonWorlds(scores=np.zeros((3, 2)), truth=np.zeros((2, 2), dtype=bool)), 1)
