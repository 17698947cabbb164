import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.anytime import Continual, anytime_accuracy
from evaluation.errors import MatrixError

# Two measurements a stage, three tasks. Task 0 dips to 0.3 at the start of stage 1 and recovers to 0.8.
CURVES = [
    [0.5, 0.0, 0.0],
    [0.9, 0.0, 0.0],  # end of task 0
    [0.3, 0.4, 0.0],
    [0.8, 0.7, 0.0],  # end of task 1
    [0.6, 0.2, 0.5],
    [0.6, 0.6, 1.0],  # end of task 2
]
HAND = Continual(np.array(CURVES), (1, 3, 5))

curves = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda size: st.tuples(
        hnp.arrays(np.float64, (size[0] * size[1], size[1]), elements=st.floats(0, 1, width=32)),
        st.just(tuple(size[0] * (task + 1) - 1 for task in range(size[1]))),
    )
)


def test_area_under_the_curve_by_hand() -> None:
    assert anytime_accuracy([10, 20, 40], [0.5, 1.0, 0.25]) == pytest.approx((10 * 0.5 + 10 * 1.0 + 20 * 0.25) / 40)
    assert anytime_accuracy([10, 20, 30], [0.2, 0.4, 0.9]) == pytest.approx(0.5)
    # A gap is bridged by the value after it; what follows the last value does not count.
    assert anytime_accuracy([10, 20, 30, 40], [0.2, np.nan, 0.8, np.nan]) == pytest.approx((10 * 0.2 + 20 * 0.8) / 30)
    # Nothing was new at the first and the third measurement.
    assert anytime_accuracy([0, 10, 10, 20], [1.0, 0.2, 1.0, 0.6]) == pytest.approx(0.4)
    assert math.isnan(anytime_accuracy([], []))
    assert math.isnan(anytime_accuracy([1, 2], [np.nan, np.nan]))


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 1)), min_size=1, max_size=8))
def test_area_lies_between_the_extremes_and_ignores_units(points: list[tuple[float, float]]) -> None:
    seen, shares = np.cumsum([step for step, _ in points]), [share for _, share in points]
    area = anytime_accuracy(seen, shares)
    assert min(shares) - 1e-9 <= area <= max(shares) + 1e-9
    assert anytime_accuracy(seen * 100, shares) == pytest.approx(area)
    assert anytime_accuracy(seen, [0.5] * len(shares)) == pytest.approx(0.5)


def test_area_rewards_learning_early() -> None:
    assert anytime_accuracy([1, 2, 3], [0.9, 0.9, 0.9]) > anytime_accuracy([1, 2, 3], [0.1, 0.1, 0.9])


@pytest.mark.parametrize("seen", [[2, 1], [0, 0], [-1, 1], [1, math.inf]])
def test_area_refuses_places_that_fall(seen: list[float]) -> None:
    with pytest.raises(MatrixError, match="never fall"):
        anytime_accuracy(seen, [0.1, 0.2])


def test_area_refuses_what_does_not_fit() -> None:
    with pytest.raises(MatrixError, match="one per measurement"):
        anytime_accuracy([1, 2], [0.5])
    with pytest.raises(MatrixError, match=r"\[0, 1\]"):
        anytime_accuracy([1, 2], [0.5, 50.0])


def test_worst_case_by_hand() -> None:
    # After its end task 0 is never below 0.3, task 1 never below 0.2.
    np.testing.assert_allclose(HAND.minimum_accuracies(), [0.3, 0.2, np.nan])
    assert HAND.minimum_accuracy() == pytest.approx(0.25)
    assert HAND.worst_case_accuracy() == pytest.approx(1.0 / 3 + 2 / 3 * 0.25)


def test_stability_gap_by_hand() -> None:
    # Stage 1, task 0: from 0.9 to 0.8 with 0.3 inside. Stage 2: task 0 only declines, task 1 from 0.7 to 0.6 by 0.2.
    assert HAND.stability_gap() == pytest.approx((0.5 + 0.0 + 0.4) / 3)


def test_measuring_at_task_ends_only_finds_no_gap() -> None:
    ends_only = Continual(HAND.values[[1, 3, 5]], (0, 1, 2))
    assert ends_only.stability_gap() == 0.0
    assert ends_only.worst_case_accuracy() > HAND.worst_case_accuracy()


def test_before_the_second_end_there_is_nothing_old() -> None:
    first = Continual(HAND.values[:3], (1,))
    assert first.worst_case_accuracy() == 0.9
    assert math.isnan(first.minimum_accuracy())
    assert math.isnan(first.stability_gap())
    assert math.isnan(Continual(HAND.values[:1], ()).worst_case_accuracy())


def test_a_task_without_test_examples_is_left_out() -> None:
    values = np.array(CURVES)
    values[:, 1] = np.nan
    blind = Continual(values, (1, 3, 5))
    assert blind.minimum_accuracy() == pytest.approx(0.3)
    assert blind.stability_gap() == pytest.approx((0.5 + 0.0) / 2)


@given(curves)
def test_laws(drawn: tuple[np.ndarray, tuple[int, ...]]) -> None:
    values, ends = drawn
    run = Continual(values, ends)
    final = float(values[-1].mean())
    assert run.worst_case_accuracy() <= final + 1e-9
    if run.learnt > 1:
        assert 0.0 <= run.stability_gap() <= 1.0
        assert run.minimum_accuracy() <= float(values[-1, :-1].mean()) + 1e-9


@given(curves)
def test_looking_more_often_never_makes_the_worst_case_better(drawn: tuple[np.ndarray, tuple[int, ...]]) -> None:
    values, ends = drawn
    seldom = Continual(values[list(ends)], tuple(range(len(ends))))
    assert Continual(values, ends).worst_case_accuracy() <= seldom.worst_case_accuracy() + 1e-9


@given(curves)
def test_accuracy_that_only_declines_has_no_gap(drawn: tuple[np.ndarray, tuple[int, ...]]) -> None:
    values, ends = drawn
    declining = Continual(np.sort(values, axis=0)[::-1], ends)
    assert math.isnan(declining.stability_gap()) or declining.stability_gap() == 0.0


@pytest.mark.parametrize("ends", [(1, 1), (3, 1), (6,), (0, 1, 2, 3), (-1,)])
def test_ends_must_increase_inside_the_run(ends: tuple[int, ...]) -> None:
    with pytest.raises(MatrixError, match="increasing places"):
        Continual(np.array(CURVES), ends)


def test_curves_refuse_what_does_not_fit() -> None:
    with pytest.raises(MatrixError, match="measurements, tasks"):
        Continual(np.zeros(3), (0,))
    with pytest.raises(MatrixError, match=r"\[0, 1\]"):
        Continual(np.array([[1.5]]), (0,))
    assert not HAND.values.flags.writeable
