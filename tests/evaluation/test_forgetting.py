import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.errors import MatrixError
from evaluation.forgetting import (
    FORGETTING,
    class_client_change,
    forgetting_by_name,
    intransigence,
    relative_forgetting,
    spatial_forgetting,
    temporal_forgetting,
)
from evaluation.matrix import AccuracyMatrix

# Class-incremental: nothing is known of a task before it is learnt. Worked out by hand below.
#            task 0  1    2    3
CLASSES = AccuracyMatrix.from_rows([
    [0.90, 0.00, 0.00, 0.00],
    [0.60, 0.80, 0.00, 0.00],
    [0.70, 0.50, 0.95, 0.00],
    [0.40, 0.55, 0.45, 1.00],
])  # fmt: skip
# Domain-incremental: tasks are right by chance before they are learnt, and task 1 improves at the end.
DOMAINS = AccuracyMatrix.from_rows([[0.7, 0.5, 0.7], [0.9, 0.6, 0.4], [0.5, 0.7, 0.6]])

matrices = (
    st.integers(2, 6)
    .flatmap(lambda tasks: hnp.arrays(np.float64, (tasks, tasks), elements=st.floats(0, 1, width=32)))
    .map(AccuracyMatrix)
)
tables = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)), elements=st.floats(0, 1, width=32)
)


def test_the_usual_definition_and_the_variants_of_class_incremental_learning_by_hand() -> None:
    values = forgetting_by_name(CLASSES)
    # Best before the last stage 0.90, 0.80, 0.95; at the end 0.40, 0.55, 0.45.
    assert values["chaudhry"] == pytest.approx((0.50 + 0.25 + 0.50) / 3)
    # The diagonal 0.90, 0.80, 0.95, 1.00 is the best here, but the sum is divided by four.
    assert values["mfcl"] == values["fed_mammoth"] == pytest.approx((0.50 + 0.25 + 0.50 + 0.0) / 4)
    # Best task of each stage 0.90, 0.80, 0.95, 1.00, minus the last row.
    assert values["lander"] == pytest.approx((0.50 + 0.25 + 0.50 + 0.0) / 4)
    assert values["mammoth"] == pytest.approx((0.50 + 0.25 + 0.50) / 3)
    # Average accuracy 0.90 after the first stage, (0.40 + 0.55 + 0.45 + 1.00) / 4 = 0.60 after the last.
    assert values["multifcl"] == pytest.approx(0.90 - 0.60)


def test_the_variants_part_where_the_best_is_not_the_diagonal_by_hand() -> None:
    values = forgetting_by_name(DOMAINS)
    assert values["chaudhry"] == pytest.approx(((0.9 - 0.5) + (0.6 - 0.7)) / 2)
    assert values["mfcl"] == pytest.approx(((0.7 - 0.5) + (0.6 - 0.7) + 0.0) / 3)
    assert values["fed_mammoth"] == values["mfcl"]
    assert values["lander"] == pytest.approx(((0.7 - 0.5) + (0.9 - 0.7) + (0.7 - 0.6)) / 3)
    assert values["mammoth"] == pytest.approx(((0.9 - 0.5) + (0.7 - 0.7)) / 2)
    assert values["multifcl"] == pytest.approx(0.7 - (0.5 + 0.7 + 0.6) / 3)
    assert len({round(value, 9) for value in values.values()}) == 5


@given(matrices)
def test_the_variants_agree_with_the_operations_of_their_code_bases(matrix: AccuracyMatrix) -> None:
    a = np.tril(matrix.values)
    tasks, last = len(a), len(a) - 1
    named = forgetting_by_name(AccuracyMatrix(a))
    assert named["mfcl"] == pytest.approx(sum(a[i, i] - a[last, i] for i in range(tasks)) / tasks)
    assert named["lander"] == pytest.approx(np.mean(np.max(a, axis=1) - a[-1]))
    assert named["mammoth"] == pytest.approx(np.mean((np.max(a, axis=0) - a[-1])[:last]))


@given(matrices)
def test_order_of_the_definitions(matrix: AccuracyMatrix) -> None:
    values = forgetting_by_name(matrix)
    tasks = matrix.tasks
    assert values["mfcl"] * tasks / (tasks - 1) <= values["chaudhry"] + 1e-12
    assert values["chaudhry"] <= values["mammoth"] + 1e-12
    assert values["mammoth"] >= 0.0


@given(matrices)
def test_a_frozen_model_forgets_nothing(matrix: AccuracyMatrix) -> None:
    row = matrix.values[0]
    frozen = AccuracyMatrix(np.tile(row, (matrix.tasks, 1)))
    values = forgetting_by_name(frozen)
    assert {name for name, value in values.items() if abs(value) < 1e-12} >= {"chaudhry", "mfcl", "mammoth"}
    assert relative_forgetting(frozen) == pytest.approx(0.0) or not row[:-1].any()


def test_one_stage_has_no_forgetting_under_any_usual_name() -> None:
    values = forgetting_by_name(AccuracyMatrix.from_rows([[0.7]]))
    assert all(math.isnan(values[name]) for name in ("chaudhry", "mammoth", "multifcl"))
    # These two average over the task just learnt as well, whose drop is zero.
    assert values["mfcl"] == values["lander"] == 0.0
    assert set(values) == set(FORGETTING)


def test_relative_forgetting_by_hand() -> None:
    assert relative_forgetting(CLASSES) == pytest.approx((0.50 / 0.90 + 0.25 / 0.80 + 0.50 / 0.95) / 3)
    never_right = AccuracyMatrix.from_rows([[0.0, 0.0], [0.0, 0.9]])
    assert math.isnan(relative_forgetting(never_right))
    assert math.isnan(relative_forgetting(AccuracyMatrix.from_rows([[0.7]])))


@given(matrices, st.floats(0.25, 1.0))
def test_relative_forgetting_ignores_the_scale(matrix: AccuracyMatrix, scale: float) -> None:
    assume(matrix.values.min() > 0.01)
    smaller = AccuracyMatrix(matrix.values * scale)
    assert relative_forgetting(smaller) == pytest.approx(relative_forgetting(matrix))
    assert relative_forgetting(matrix) <= 1.0


def test_intransigence_by_hand() -> None:
    assert intransigence(CLASSES, [0.9, 0.9, 0.9, 0.9]) == pytest.approx((0.0 + 0.1 - 0.05 - 0.1) / 4)
    assert intransigence(CLASSES, [np.nan, 0.9, np.nan, np.nan]) == pytest.approx(0.1)
    running = AccuracyMatrix.from_rows([[0.6, None], [None, None]])
    assert intransigence(running, [0.8, 1.0]) == pytest.approx(0.2)


@given(matrices)
def test_intransigence_of_joint_accuracies_equal_to_the_diagonal_is_zero(matrix: AccuracyMatrix) -> None:
    diagonal = np.diagonal(matrix.values)
    assert intransigence(matrix, diagonal) == pytest.approx(0.0)
    assert intransigence(matrix, np.ones(matrix.tasks)) == pytest.approx(1.0 - matrix.learning_accuracy())


def test_intransigence_refuses_what_does_not_fit() -> None:
    with pytest.raises(MatrixError, match="one accuracy per task"):
        intransigence(CLASSES, [0.9])
    with pytest.raises(MatrixError, match=r"\[0, 1\]"):
        intransigence(CLASSES, [90.0, 90.0, 90.0, 90.0])


def test_change_per_class_and_client_sees_replaced_knowledge() -> None:
    # Two clients swap the classes they know: every average over clients stays at one half.
    before, after = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]
    assert class_client_change([before, after]) == pytest.approx((-1.0 + 0.0 + 0.0 - 1.0) / 4)
    assert class_client_change([before]) == 0.0
    # Best so far 0.8, 0.6 for class 0 and 0.5 for class 1 (client 1 has no examples of it).
    rounds = [[[0.8, 0.5], [0.2, np.nan]], [[0.4, 0.3], [0.6, np.nan]], [[0.5, 0.4], [0.6, np.nan]]]
    assert class_client_change(rounds) == pytest.approx(((-0.3 + 0.0) / 2 - 0.1) / 2)


@given(tables)
def test_change_per_class_and_client_is_never_positive_and_zero_at_the_peak(accuracies: np.ndarray) -> None:
    assert -1.0 <= class_client_change(accuracies) <= 0.0
    peak = np.concatenate([accuracies, accuracies.max(axis=0)[None]])
    assert class_client_change(peak) == 0.0


def test_change_per_class_and_client_refuses_and_leaves_out() -> None:
    assert math.isnan(class_client_change(np.full((2, 1, 1), np.nan)))
    for wrong in (np.zeros((0, 2, 2)), np.zeros((2, 2))):
        with pytest.raises(MatrixError, match="rounds, clients, classes"):
            class_client_change(wrong)


def test_forgetting_in_time_and_in_space_by_hand() -> None:
    assert temporal_forgetting([0.9, 0.7, np.nan], [0.5, 0.8, 0.3]) == pytest.approx((0.4 - 0.1) / 2)
    assert spatial_forgetting([0.9, 0.8], [0.6, 0.9]) == pytest.approx((0.3 - 0.1) / 2)
    for forgetting in (temporal_forgetting, spatial_forgetting):
        assert math.isnan(forgetting([], []))
        with pytest.raises(MatrixError, match="one accuracy per client"):
            forgetting([0.1, 0.2], [0.1])
        with pytest.raises(MatrixError, match=r"\[0, 1\]"):
            forgetting([0.1], [-0.1])


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(0, 1, width=32)))
def test_the_drop_of_a_round_is_what_training_and_averaging_lose_together(stages: np.ndarray) -> None:
    before, local, aggregated = stages
    parts = temporal_forgetting(before, local) + spatial_forgetting(local, aggregated)
    assert parts == pytest.approx(float((before - aggregated).mean()), abs=1e-12)
