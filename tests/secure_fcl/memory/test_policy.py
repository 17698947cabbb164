import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from secure_fcl.errors import ConfigInvalid
from secure_fcl.memory import (
    OVERFLOW_PROBABILITY,
    EverythingMemory,
    Held,
    HerdingMemory,
    MemoryPolicy,
    ThresholdMemory,
    threshold_memory,
)
from secure_fcl.memory.policy import herd, largest_threshold

SEEDS = st.integers(0, 2**32 - 1)


def stream(seed: int, tasks: int = 3, items: int = 12, item_size: int = 3) -> tuple[list[Held], np.ndarray, np.ndarray]:
    """Arrivals of each task (items of 1 to item_size examples), x and y of all examples."""
    rng = np.random.default_rng(seed)
    arrivals, start = [], 0
    for task in range(tasks):
        item = np.repeat(np.arange(items) + task * items, rng.integers(1, item_size + 1, size=items))
        index = np.arange(start, start + len(item))
        start += len(item)
        arrivals.append(Held(index, item, np.full(len(item), task)))
    y = np.concatenate([np.full(len(a), 2 * t) + a.item % 2 for t, a in enumerate(arrivals)])
    return arrivals, rng.normal(size=(start, 2)).astype(np.float32), y


def lifetime(
    policy: MemoryPolicy, arrivals: list[Held], keys: np.ndarray, x: np.ndarray, y: np.ndarray
) -> list[set[int]]:
    held, seen = Held.nothing(), []
    for task, arrived in enumerate(arrivals):
        held = policy.close(task, held, arrived, keys, x, y)
        seen.append(set(held.index.tolist()))
    return seen


def without(arrivals: list[Held], example: int) -> list[Held]:
    return [a.where(a.index != example) for a in arrivals]


@given(SEEDS, st.lists(st.floats(0.05, 0.9), min_size=3, max_size=3))
def test_an_item_is_held_while_its_own_key_is_below_the_threshold(seed: int, drawn: list[float]) -> None:
    thresholds = tuple(sorted(drawn, reverse=True))
    arrivals, x, y = stream(seed)
    keys = np.random.default_rng(seed + 1).random(36)
    seen = lifetime(ThresholdMemory(thresholds, 10**6), arrivals, keys, x, y)
    for task, held in enumerate(seen):
        expected = {
            int(i)
            for a in arrivals[: task + 1]
            for i, m in zip(a.index, a.item, strict=True)
            if keys[m] < thresholds[task]
        }
        assert held == expected


@given(SEEDS, st.integers(0, 35))
def test_one_example_never_moves_another_out_of_a_threshold_memory(seed: int, chosen: int) -> None:
    arrivals, x, y = stream(seed)
    keys = np.random.default_rng(seed + 1).random(36)
    policy = ThresholdMemory((0.6, 0.5, 0.4), 10**6)
    assert not policy.displaces_others
    assert policy.private
    before = lifetime(policy, arrivals, keys, x, y)
    after = lifetime(policy, without(arrivals, chosen), keys, x, y)
    assert [held - {chosen} for held in before] == after


def test_one_example_does_move_others_out_of_a_herding_memory() -> None:
    policy = HerdingMemory(12)
    assert policy.displaces_others
    assert not policy.private
    moved = 0
    for seed in range(5):
        arrivals, x, y = stream(seed)
        before = lifetime(policy, arrivals, np.ones(36), x, y)[0]
        for example in arrivals[0].index.tolist():
            after = lifetime(policy, without(arrivals, example), np.ones(36), x, y)[0]
            moved += before - {example} != after - {example}
    assert moved > 10


@given(SEEDS, st.integers(0, 20))
def test_on_overflow_the_closing_task_keeps_nothing(seed: int, capacity: int) -> None:
    arrivals, x, y = stream(seed)
    keys = np.random.default_rng(seed + 1).random(36)
    policy = ThresholdMemory((0.6, 0.5, 0.4), capacity)
    free = ThresholdMemory((0.6, 0.5, 0.4), 10**6)
    held = Held.nothing()
    for task, arrived in enumerate(arrivals):
        wanted = free.close(task, held, arrived, keys, x, y)
        got = policy.close(task, held, arrived, keys, x, y)
        assert len(got) <= capacity
        if len(wanted) <= capacity:
            assert got.index.tolist() == wanted.index.tolist()
        else:
            assert not (got.arrival == task).any()
            assert got.index.tolist() == wanted.index[wanted.arrival < task].tolist()
        held = got


def test_nothing_arrived_is_a_task_like_any_other() -> None:
    arrivals, x, y = stream(0)
    policy = ThresholdMemory((0.9, 0.1), 100)
    keys = np.linspace(0.01, 0.99, 36)
    held = policy.close(0, Held.nothing(), arrivals[0], keys, x, y)
    later = policy.close(1, held, Held.nothing(), keys, x, y)
    assert set(later.item) == {i for i in held.item.tolist() if keys[i] < 0.1}
    assert len(policy.close(0, Held.nothing(), Held.nothing(), keys, x, y)) == 0


@pytest.mark.parametrize(
    ("items", "size", "capacity"), [(100, 4, 136), (19, 4, 136), (600, 1, 50), (1437, 1, 136), (10, 4, 8)]
)
def test_thresholds_against_exact_binomial_tails(items: int, size: int, capacity: int) -> None:
    bound = 1e-10
    threshold = largest_threshold(items, size, capacity, 0.2, bound)
    room = capacity // size
    tail = float(binom.sf(room, items, threshold))
    # The same tail summed term by term, the other way round.
    terms = [float(binom.pmf(k, items, threshold)) for k in range(room + 1, items + 1)]
    assert tail == pytest.approx(sum(sorted(terms)), rel=1e-6, abs=1e-300)
    assert tail <= bound
    if threshold < 0.2:
        assert binom.sf(room, items, threshold * (1 + 1e-6)) > bound * (1 - 1e-4)


def test_thresholds_fall_as_the_bound_on_arrivals_grows() -> None:
    policy = threshold_memory(0.2, 136, 60, 4, 6)
    assert policy.thresholds[0] == 0.2
    assert list(policy.thresholds) == sorted(policy.thresholds, reverse=True)
    assert policy.thresholds[-1] < policy.thresholds[0]
    tails = [binom.sf(136 // 4, 60 * (t + 1), p) for t, p in enumerate(policy.thresholds)]
    assert sum(tails) <= OVERFLOW_PROBABILITY


def test_a_memory_never_overflows_when_everything_fits() -> None:
    assert threshold_memory(1.0, 60, 5, 4, 3).thresholds == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("capacity", [0, 3])
def test_a_capacity_below_one_item_is_refused(capacity: int) -> None:
    with pytest.raises(ConfigInvalid, match=f"memory.capacity = {capacity} cannot hold"):
        threshold_memory(0.2, capacity, 60, 4, 6)


def test_herding_known_answer() -> None:
    # Mean 2.5. 3 is nearer than 1 and 0; then (3 + x) / 2 is nearest for 1; then (4 + x) / 3 for 6 (10/3) or 0 (4/3).
    points = np.array([[0.0], [1.0], [3.0], [6.0]], dtype=np.float32)
    assert herd(points, 1).tolist() == [2]
    assert herd(points, 2).tolist() == [2, 1]
    assert herd(points, 3).tolist() == [2, 1, 3]
    assert sorted(herd(points, 9).tolist()) == [0, 1, 2, 3]
    assert herd(points, 0).tolist() == []


def test_herding_is_balanced_and_bounded() -> None:
    arrivals, x, y = stream(3, items=20)
    held = Held.nothing()
    for task, arrived in enumerate(arrivals):
        held = HerdingMemory(12).close(task, held, arrived, np.ones(60), x, y)
        assert len(held) <= 12
        counts = np.bincount(y[held.index])
        assert set(counts[counts > 0]) == {12 // (2 * task + 2)}
    assert len(HerdingMemory(12).close(0, Held.nothing(), Held.nothing(), np.ones(1), x, y)) == 0
    assert len(HerdingMemory(0).close(0, Held.nothing(), arrivals[0], np.ones(60), x, y)) == 0


def test_everything_keeps_everything() -> None:
    arrivals, x, y = stream(1)
    seen = lifetime(EverythingMemory(1000), arrivals, np.ones(36), x, y)
    assert len(seen[-1]) == sum(map(len, arrivals))
