import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from evaluation.accuracy import Tally
from evaluation.errors import SampleError

# Ten windows: class 0 (task 0) nine times, class 1 (task 1) once; client 7 owns the last two.
CORRECT = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
TALLY = Tally(CORRECT, np.array([0] * 9 + [1]), np.array([0] * 9 + [1]), np.array([3] * 8 + [7] * 2))


def test_micro_and_means_tell_different_stories() -> None:
    assert TALLY.windows == 10
    assert TALLY.micro == 0.8
    assert TALLY.per_task() == {0: pytest.approx(8 / 9), 1: 0.0}
    assert TALLY.task_mean == pytest.approx(4 / 9)
    assert TALLY.class_mean == pytest.approx(4 / 9)
    assert TALLY.per_client() == {3: 1.0, 7: 0.0}
    assert TALLY.worst_client == 0.0


def test_empty_groups_are_none_and_left_out() -> None:
    assert TALLY.per_task(range(4)) == {0: pytest.approx(8 / 9), 1: 0.0, 2: None, 3: None}
    assert TALLY.per_client([3, 4]) == {3: 1.0, 4: None}
    assert TALLY.per_class([9]) == {9: None}


def test_no_windows_at_all() -> None:
    none = TALLY.where(np.zeros(10, dtype=bool))
    assert none.windows == 0
    assert (none.micro, none.task_mean, none.class_mean, none.worst_client) == (None, None, None, None)
    assert none.per_task([0]) == {0: None}


def test_where_selects_classes_seen() -> None:
    assert TALLY.where(TALLY.labels == 0).micro == pytest.approx(8 / 9)
    with pytest.raises(SampleError, match="mask"):
        TALLY.where([1] * 10)
    with pytest.raises(SampleError, match="mask"):
        TALLY.where(np.ones(9, dtype=bool))


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(SampleError, match="predictions == labels"):
        Tally(np.array([0, 2]), np.zeros(2), np.zeros(2), np.zeros(2))
    with pytest.raises(SampleError, match="shapes"):
        Tally(np.array([True]), np.zeros(2), np.zeros(1), np.zeros(1))
    with pytest.raises(SampleError, match="shapes"):
        Tally(np.ones((2, 2), dtype=bool), np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60))
def test_laws(windows: list[tuple[int, int, int]]) -> None:
    labels, guesses, owners = (np.array(column) for column in zip(*windows, strict=True))
    tally = Tally(labels == guesses, labels, labels // 2, owners)
    # Every grouping is a partition, so weighting by size gives the overall share back.
    for shares, keys in (
        (tally.per_class(), labels),
        (tally.per_client(), owners),
        (tally.per_task(), labels // 2),
    ):
        weighted = sum((share or 0.0) * (keys == key).sum() for key, share in shares.items())
        assert weighted / labels.size == pytest.approx(tally.micro)
    micro, worst = tally.micro, tally.worst_client
    assert micro is not None
    assert worst is not None
    assert worst <= micro + 1e-12


@pytest.mark.filterwarnings("ignore:A single label")
@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(0, 2**32 - 1))
def test_class_mean_is_sklearns_balanced_accuracy(labels: list[int], seed: int) -> None:
    truth = np.array(labels)
    # Guesses stay inside the classes that occur, where scikit-learn's definition has no warning case.
    guesses = np.random.default_rng(seed).choice(truth, truth.size)
    tally = Tally(truth == guesses, truth, truth, truth)
    assert tally.class_mean == pytest.approx(balanced_accuracy_score(truth, guesses))
