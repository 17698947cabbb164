from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.errors import ShadowsInvalid
from attacks.shadows.schedules import balanced_coins, epochs, fixed_batches, joined, kept_exactly, poisson_batches


@given(st.integers(2, 20), st.integers(1, 40), st.integers(0, 5))
def test_every_example_is_in_half_of_the_models(models: int, examples: int, seed: int) -> None:
    coins = balanced_coins(models, examples, seed)
    assert (coins.sum(axis=0) == models // 2).all()
    assert np.array_equal(coins, balanced_coins(models, examples, seed))


def test_coins_of_one_model_are_near_one_half() -> None:
    # Standard deviation .5 / sqrt(4000) = .008: five of them.
    assert abs(balanced_coins(1, 4000, 0).mean() - 0.5) < 0.04
    assert abs(balanced_coins(9, 4000, 0)[0].mean() - 4 / 9) < 0.04


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 3))
def test_epochs_use_members_alone_and_all_alike(steps: int, batch: int, seed: int) -> None:
    members = np.random.default_rng(seed).random((4, 15)) < 0.5
    members[:, 0] = True
    schedule = epochs(members, batch=batch, steps=steps, seed=seed)
    assert schedule.shape == (4, steps, batch)
    for own, rows in zip(members, schedule, strict=True):
        uses = np.bincount(rows.ravel(), minlength=15)
        assert (uses[~own] == 0).all()
        assert uses[own].max() - uses[own].min() <= 1


def test_fixed_batches_do_not_repeat_and_leave_slots_empty() -> None:
    members = np.zeros((2, 10), dtype=bool)
    members[0, :3] = True
    members[1, :8] = True
    schedule = fixed_batches(members, batch=5, steps=50, seed=0)
    assert (schedule[0] == -1).sum() == 50 * 2
    assert all(len(set(batch.tolist())) == 5 for batch in schedule[1])
    assert set(schedule[1].ravel().tolist()) == set(range(8))
    assert (fixed_batches(np.zeros((1, 4), dtype=bool), batch=2, steps=1, seed=0) == -1).all()


def test_poisson_batches_have_the_rate() -> None:
    members = np.ones((3, 50), dtype=bool)
    schedule = poisson_batches(members, rate=0.2, slots=40, steps=400, seed=0)
    sizes = (schedule >= 0).sum(axis=2)
    # 1200 batches of mean 10 and variance 8: six standard errors.
    assert abs(sizes.mean() - 10) < 6 * (8 / 1200) ** 0.5
    assert sizes.var() == pytest.approx(8, rel=0.25)
    with pytest.raises(ShadowsInvalid, match="raise slots"):
        poisson_batches(members, rate=0.9, slots=5, steps=10, seed=0)


@given(st.integers(0, 6), st.integers(0, 4))
def test_exactly_so_many_are_kept(size: int, seed: int) -> None:
    present = np.random.default_rng(seed).random((5, 30)) < 0.7
    kept = kept_exactly(present, size, seed)
    assert (kept.sum(axis=1) == size).all()
    assert not (kept & ~present).any()


def test_impossible_schedules_are_refused() -> None:
    none = np.zeros((2, 5), dtype=bool)
    with pytest.raises(ShadowsInvalid, match="member"):
        epochs(none, batch=2, steps=2, seed=0)
    with pytest.raises(ShadowsInvalid, match="kept"):
        kept_exactly(none, 1, 0)
    with pytest.raises(ShadowsInvalid, match="rate"):
        poisson_batches(none, rate=0.0, slots=1, steps=1, seed=0)
    with pytest.raises(ShadowsInvalid, match="positive"):
        fixed_batches(none, batch=0, steps=1, seed=0)
    assert joined(np.zeros((1, 2, 3)), np.ones((1, 2, 1))).shape == (1, 2, 4)
