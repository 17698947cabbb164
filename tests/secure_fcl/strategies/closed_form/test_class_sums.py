import numpy as np

from privacy import NonPrivate
from secure_fcl.data import Dataset
from secure_fcl.features.kinds import features
from secure_fcl.strategies import ClassSums, DeviceView, Examples, StepContext


def strategy(digits: Dataset, noisy: bool = True) -> ClassSums:
    return ClassSums(shape=digits.shape, classes=10, widest_slot=3, examples=200, scale=2.0**14, noisy=noisy)


def view(digits: Dataset, index: np.ndarray) -> DeviceView:
    return DeviceView(Examples(digits.x[index], digits.y[index]), Examples(digits.x[:0], digits.y[:0]))


def test_rows_are_the_sums_of_the_announced_classes(digits: Dataset) -> None:
    s = strategy(digits)
    index = np.flatnonzero(np.isin(digits.y, (4, 7)))[:50]
    sums = s.contribute(s.initial(), view(digits, index), StepContext(slot=0, round=0, classes=(2, 4, 7)), bytes).parts[
        "sums"
    ]
    rows = features(digits.x[index])
    np.testing.assert_allclose(sums[0], 0.0)
    for row, label in ((1, 4), (2, 7)):
        np.testing.assert_allclose(sums[row], rows[digits.y[index] == label].sum(axis=0), rtol=1e-6)
    # One class less than the widest slot: its last row stays empty.
    short = s.contribute(s.initial(), view(digits, index), StepContext(slot=0, round=0, classes=(4, 7)), bytes).parts[
        "sums"
    ]
    assert not short[2].any()


def test_the_server_adds_rows_to_their_classes(digits: Dataset) -> None:
    s = strategy(digits)
    total = {"sums": np.arange(3.0)[:, None] + np.ones((3, s.dimension))}
    state = s.apply(s.initial(), StepContext(slot=0, round=0, classes=(2, 7)), total, 4)
    np.testing.assert_array_equal(state["sums"][2], 1.0)
    np.testing.assert_array_equal(state["sums"][7], 2.0)
    assert not state["sums"][[0, 1, 3, 4, 5, 6, 8, 9]].any()
    again = s.apply(state, StepContext(slot=1, round=0, classes=(7,)), total, 4)
    np.testing.assert_array_equal(again["sums"][7], 3.0)
    idle = s.apply(state, StepContext(slot=1, round=0, classes=()), total, 4)
    np.testing.assert_array_equal(idle["sums"], state["sums"])


def test_classes_never_released_are_never_predicted(digits: Dataset) -> None:
    s = strategy(digits)
    state = s.initial()
    state["sums"][3] = -features(digits.x[digits.y == 3]).sum(axis=0)
    scores = s.scores(state, digits.x[:20])
    assert (scores.argmax(axis=1) == 3).all()
    assert np.isneginf(np.delete(scores, 3, axis=1)).all()


def test_all_sums_without_noise_classify_digits(digits: Dataset) -> None:
    s = strategy(digits)
    train = np.flatnonzero(digits.train)
    state = s.initial()
    for step, labels in enumerate([(0, 1, 2), (3, 4, 5), (6, 7, 8), (9,)]):
        mine = train[np.isin(digits.y[train], labels)]
        context = StepContext(slot=step, round=0, classes=labels)
        state = s.apply(state, context, s.contribute(state, view(digits, mine), context, bytes).parts, 1)
    right = s.scores(state, digits.x[digits.test]).argmax(axis=1) == digits.y[digits.test]
    assert right.mean() > 0.9


def test_events(digits: Dataset) -> None:
    assert not strategy(digits).events("current")
    assert not strategy(digits).events("memory")
    (event,) = strategy(digits, noisy=False).events("current")
    assert isinstance(event, NonPrivate)
