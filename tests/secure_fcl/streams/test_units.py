from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secure_fcl.data import Dataset
from secure_fcl.streams import NO_ITEM, held_out, make_units

RUNS = st.lists(st.integers(1, 23), min_size=1, max_size=12)


def readings(data: Dataset, examples: np.ndarray) -> set[tuple[int, int]]:
    """Half-windows of the runs that the examples cover: what two windows can share."""
    return {
        (int(data.run[i]), int(data.position[i]) + offset)
        for i in examples
        for offset in range(data.windows_per_reading)
    }


def test_on_hapt_no_reading_lies_in_two_items(hapt: Dataset) -> None:
    units = make_units(hapt)
    stride, window = 32, 64
    member = np.flatnonzero(units.item != NO_ITEM)
    order = member[np.lexsort((hapt.position[member], hapt.run[member]))]
    item, run = units.item[order], hapt.run[order]
    start, stop = hapt.position[order] * stride, hapt.position[order] * stride + window
    border = np.flatnonzero((np.diff(item) != 0) & (np.diff(run) == 0))
    assert len(border) > 1000
    assert (stop[border] <= start[border + 1]).all()
    # Negative control: inside an item neighbours do overlap.
    inside = np.flatnonzero(np.diff(item) == 0)
    assert (stop[inside] > start[inside + 1]).all()


def test_on_hapt_a_unit_is_four_windows_and_a_straddler(hapt: Dataset) -> None:
    units = make_units(hapt)
    assert (units.windows_per_unit, units.largest_item) == (5, 4)
    for column in (hapt.run, hapt.client, hapt.y, hapt.train, hapt.session):
        first = np.unique(units.unit, return_index=True)[1]
        assert (column == column[first][units.unit]).all()
    straddler = units.item == NO_ITEM
    assert (hapt.position[straddler] % 5 == 4).all()
    assert (units.item[~straddler] == units.unit[~straddler]).all()
    assert sorted(units.order) == list(range(len(hapt)))


def test_where_readings_are_not_shared_each_example_is_alone(digits: Dataset) -> None:
    units = make_units(digits)
    assert (units.windows_per_unit, units.largest_item) == (1, 1)
    assert (units.item == units.unit).all()
    assert len(np.unique(units.unit)) == len(digits)


@given(RUNS, st.integers(1, 3), st.floats(0, 0.9), st.integers(0, 2**32 - 1))
def test_nothing_held_out_shares_a_reading_with_what_is_used(
    make_data: Callable[..., Dataset], runs: list[int], overlap: int, share: float, seed: int
) -> None:
    data = make_data(runs, windows_per_reading=overlap)
    units = make_units(data)
    out = held_out(data, units, share, np.random.default_rng(seed))
    assert not out[data.test].any()
    secret = np.flatnonzero(out & (units.item != NO_ITEM))
    used = np.flatnonzero(data.train & ~out)
    assert not readings(data, secret) & readings(data, used)


@given(RUNS, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_items_leave_as_a_whole(make_data: Callable[..., Dataset], runs: list[int], overlap: int, seed: int) -> None:
    data = make_data(runs, windows_per_reading=overlap)
    units = make_units(data)
    out = held_out(data, units, 0.5, np.random.default_rng(seed))
    for item in np.unique(units.item[data.train & (units.item != NO_ITEM)]):
        assert len(set(out[units.item == item])) == 1


def test_on_hapt_straddlers_leave_beside_either_neighbour(hapt: Dataset) -> None:
    units = make_units(hapt)
    out = held_out(hapt, units, 0.1, np.random.default_rng(5))
    item_out = {(int(r), int(p)): bool(o) for r, p, o in zip(hapt.run, hapt.position, out, strict=True)}
    seen = {(before, after): 0 for before in (False, True) for after in (False, True)}
    for i in np.flatnonzero((units.item == NO_ITEM) & hapt.train):
        run, position = int(hapt.run[i]), int(hapt.position[i])
        before, after = item_out[run, position - 1], item_out.get((run, position + 1), False)
        assert out[i] == (before or after)
        seen[before, after] += 1
    assert min(seen.values()) > 0
    held = out[hapt.train & (units.item != NO_ITEM)].mean()
    assert 0.07 < held < 0.13  # 1,229 coins of 0.1: five standard deviations are 0.043


def test_the_share_is_that_of_the_coins(digits: Dataset) -> None:
    units = make_units(digits)
    rng = np.random.default_rng(0)
    assert not held_out(digits, units, 0.0, rng).any()
    drawn = [held_out(digits, units, 0.1, np.random.default_rng(seed))[digits.train].mean() for seed in range(20)]
    assert abs(float(np.mean(drawn)) - 0.1) < 5 * np.sqrt(0.09 / (20 * digits.train.sum()))
