import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.errors import MatrixError
from evaluation.matrix import AccuracyMatrix

N = None
# Three tasks, worked out by hand in the tests below. Task 0 peaks at stage 1, task 1 improves at the end.
HAND = AccuracyMatrix.from_rows([[0.8, 0.1, 0.3], [0.9, 0.6, 0.2], [0.5, 0.7, 0.4]])

matrices = (
    st.integers(1, 6)
    .flatmap(lambda tasks: hnp.arrays(np.float64, (tasks, tasks), elements=st.floats(0, 1, width=32)))
    .map(AccuracyMatrix)
)


def test_average_accuracy_by_hand() -> None:
    assert HAND.average_accuracy(0) == pytest.approx(0.8)
    assert HAND.average_accuracy(1) == pytest.approx(0.75)
    assert HAND.average_accuracy() == pytest.approx(1.6 / 3)
    assert HAND.average_incremental_accuracy() == pytest.approx((0.8 + 0.75 + 1.6 / 3) / 3)


def test_forgetting_and_transfer_by_hand() -> None:
    np.testing.assert_allclose(HAND.forgetting_per_task(), [0.4, -0.1, np.nan])
    assert HAND.forgetting() == pytest.approx(0.15)
    assert HAND.backward_transfer() == pytest.approx((-0.3 + 0.1) / 2)
    assert HAND.learning_accuracy() == pytest.approx((0.8 + 0.6 + 0.4) / 3)
    assert HAND.forward_transfer([0.0, 0.05, 0.1]) == pytest.approx((0.05 + 0.1) / 2)


def test_variants_of_other_code_bases_by_hand() -> None:
    assert HAND.forgetting_mfcl() == pytest.approx((0.3 - 0.1 + 0.0) / 3)
    assert HAND.forgetting_fed_mammoth() == HAND.forgetting_mfcl()
    # Best task at each stage 0.8, 0.9, 0.7, minus the last row 0.5, 0.7, 0.4.
    assert HAND.forgetting_lander() == pytest.approx((0.3 + 0.2 + 0.3) / 3)
    # Best stage of tasks 0 and 1 is 0.9 and 0.7 (the last stage itself), minus 0.5 and 0.7.
    assert HAND.forgetting_mammoth() == pytest.approx((0.4 + 0.0) / 2)


def test_all_variants_differ_on_the_hand_matrix() -> None:
    values = [HAND.forgetting(), HAND.forgetting_mfcl(), HAND.forgetting_lander(), HAND.forgetting_mammoth()]
    assert len({round(value, 9) for value in values}) == 4


def test_mammoth_agrees_with_its_own_code() -> None:
    results = HAND.values.tolist()
    maxx = np.max(np.array(results), axis=0)
    assert HAND.forgetting_mammoth() == pytest.approx(np.mean([maxx[i] - results[-1][i] for i in range(2)]))


def test_forgetting_ignores_accuracy_before_learning() -> None:
    lucky = AccuracyMatrix.from_rows([[0.5, 0.9], [0.5, 0.6]])
    assert lucky.forgetting() == 0.0
    early = AccuracyMatrix.from_rows([[0.5, 0.9, 0.0], [0.5, 0.6, 0.0], [0.5, 0.6, 0.1]])
    assert early.forgetting() == 0.0
    assert early.forgetting_mammoth() == pytest.approx(0.15)


def test_one_task_has_accuracy_but_no_forgetting() -> None:
    one = AccuracyMatrix.from_rows([[0.7]])
    assert one.average_accuracy() == 0.7
    for value in (
        one.forgetting(),
        one.backward_transfer(),
        one.forward_transfer([0.1]),
        one.forgetting_mammoth(),
    ):
        assert math.isnan(value)


def test_nothing_measured_is_nan_everywhere() -> None:
    empty = AccuracyMatrix.empty(3)
    assert empty.stages == 0
    for value in (empty.average_accuracy(), empty.average_incremental_accuracy(), empty.forgetting(),
                  empty.backward_transfer(), empty.learning_accuracy(), empty.forgetting_lander(),
                  empty.forgetting_mammoth(), empty.forgetting_mfcl(),
                  empty.forward_transfer([0, 0, 0])):  # fmt: skip
        assert math.isnan(value)


def test_a_task_without_test_examples_is_left_out() -> None:
    full = AccuracyMatrix.from_rows([[0.8, 0.1], [0.6, 0.5]])
    gap = AccuracyMatrix.from_rows([[0.8, N, 0.1], [0.7, N, 0.2], [0.6, N, 0.5]])
    assert gap.average_accuracy() == pytest.approx(full.average_accuracy())
    assert gap.forgetting() == pytest.approx(full.forgetting())
    assert gap.learning_accuracy() == pytest.approx(full.learning_accuracy())
    assert not math.isnan(gap.forgetting_lander())
    assert not math.isnan(gap.forgetting_mammoth())


def test_a_run_in_progress_is_judged_at_its_last_stage() -> None:
    partial = HAND.with_row(2, [N, N, N])
    assert partial.stages == 2
    assert partial.average_accuracy() == HAND.average_accuracy(1)
    assert partial.forgetting() == pytest.approx(0.8 - 0.9)
    assert partial.backward_transfer() == pytest.approx(0.1)


def test_rows_of_any_length_are_filled() -> None:
    ragged = AccuracyMatrix.from_rows([[0.5], [0.4, 0.6]])
    np.testing.assert_array_equal(ragged.values, [[0.5, np.nan], [0.4, 0.6]])


def test_values_are_frozen_and_copied() -> None:
    source = np.full((2, 2), 0.5)
    matrix = AccuracyMatrix(source)
    source[0, 0] = 0.9
    assert matrix.values[0, 0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        matrix.values[0, 0] = 1.0


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros(4), np.zeros((0, 0)), [[1.2]], [[-0.1]], [[np.inf]]])
def test_impossible_matrices_are_refused(values: object) -> None:
    with pytest.raises(MatrixError):
        AccuracyMatrix(np.asarray(values, dtype=float))


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(MatrixError, match="3 tasks"):
        HAND.with_row(3, [0, 0, 0])
    with pytest.raises(MatrixError, match="3 tasks"):
        HAND.with_row(0, [0, 0])
    with pytest.raises(MatrixError, match="outside"):
        HAND.average_accuracy(3)
    with pytest.raises(MatrixError, match="baseline"):
        HAND.forward_transfer([0.1])


@given(matrices)
def test_laws(matrix: AccuracyMatrix) -> None:
    assert 0.0 <= matrix.average_accuracy() <= 1.0
    assert 0.0 <= matrix.average_incremental_accuracy() <= 1.0
    if matrix.tasks == 1:
        return
    # The best earlier stage is at least the diagonal, Mammoth's maximum at least the best earlier stage.
    assert -matrix.backward_transfer() <= matrix.forgetting() + 1e-9
    assert matrix.forgetting() <= matrix.forgetting_mammoth() + 1e-9
    assert matrix.forgetting_mammoth() >= 0.0
    tasks = matrix.tasks
    assert matrix.forgetting_mfcl() == pytest.approx(-matrix.backward_transfer() * (tasks - 1) / tasks)
    # The best task of a stage is at least its newest one.
    assert matrix.forgetting_lander() >= matrix.forgetting_mfcl() - 1e-9


@given(st.integers(2, 6), st.floats(0, 1))
def test_a_model_that_never_changes_forgets_nothing(tasks: int, share: float) -> None:
    matrix = AccuracyMatrix(np.full((tasks, tasks), share))
    for value in (matrix.forgetting(), matrix.backward_transfer(), matrix.forgetting_mfcl(),
                  matrix.forgetting_lander(), matrix.forgetting_mammoth()):  # fmt: skip
        assert value == 0.0
    assert matrix.average_incremental_accuracy() == pytest.approx(share)


@given(matrices, st.floats(0, 1))
def test_future_tasks_change_nothing_but_forward_transfer(matrix: AccuracyMatrix, filler: float) -> None:
    values = np.array(matrix.values)
    values[np.triu_indices(matrix.tasks, 1)] = filler
    other = AccuracyMatrix(values)
    for name in ("average_accuracy", "average_incremental_accuracy", "forgetting", "backward_transfer",
                 "learning_accuracy", "forgetting_lander", "forgetting_mfcl"):  # fmt: skip
        assert getattr(other, name)() == pytest.approx(getattr(matrix, name)(), nan_ok=True)
