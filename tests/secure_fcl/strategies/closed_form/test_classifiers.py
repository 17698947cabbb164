import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import NonPrivate
from secure_fcl.data import Dataset
from secure_fcl.features.kinds import features
from secure_fcl.strategies import (
    Classifier,
    DeviceView,
    Examples,
    MomentSums,
    Ridge,
    State,
    StepContext,
    StreamingLda,
)
from secure_fcl.testing import check_strategy
from secure_fcl.testing.strategies import EXAMPLES

TASKS = ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9))


def strategy(classifier: Classifier, noise: float = 0.0, shape: tuple[int, ...] = (1, 8, 8)) -> MomentSums:
    return MomentSums(
        name="slda",
        classifier=classifier,
        features=features,
        shape=shape,
        classes=10,
        widest_slot=3,
        examples=2_000,
        gram_share=0.5,
        scale=2.0**14,
        noise=noise,
    )


def view(data: Dataset, index: np.ndarray) -> DeviceView:
    return DeviceView(Examples(data.x[index], data.y[index]), Examples(data.x[:0], data.y[:0]))


def learn(s: MomentSums, data: Dataset, tasks: tuple[tuple[int, ...], ...], clients: int, seed: int) -> State:
    """Deal the training half out to clients; the calendar follows `tasks`, the clients come in a drawn order."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, clients, size=len(data))
    state = s.initial()
    for slot, classes in enumerate(tasks):
        step, parts = StepContext(slot=slot, round=0, classes=classes), []
        for k in rng.permutation(clients):
            mine = np.flatnonzero(data.train & (owner == k) & np.isin(data.y, classes))
            parts.append(s.contribute(state, view(data, mine), step, bytes).parts)
        total = {name: np.sum([p[name] for p in parts], axis=0) for name in parts[0]}
        state = s.apply(state, step, total, clients)
    return state


@pytest.mark.parametrize("classifier", [Ridge(), Ridge(0.01), StreamingLda()], ids=["ridge 1", "ridge 0.01", "slda"])
@settings(max_examples=6, deadline=None)
@given(order=st.permutations(TASKS), clients=st.integers(1, 7), seed=st.integers(0, 99))
def test_federated_equals_centralised_in_any_order(
    digits: Dataset, classifier: Classifier, order: list[tuple[int, ...]], clients: int, seed: int
) -> None:
    """To 1e-6 of the largest weight, whoever holds what, whichever task comes first."""
    s = strategy(classifier)
    federated = classifier.fit(s.moments(learn(s, digits, tuple(order), clients, seed)))
    whole = MomentSums(
        name="slda",
        classifier=classifier,
        features=features,
        shape=(1, 8, 8),
        classes=10,
        widest_slot=10,
        examples=2_000,
        gram_share=0.5,
        scale=2.0**14,
        noise=0.0,
    )
    central = classifier.fit(whole.moments(learn(whole, digits, (tuple(range(10)),), 1, 0)))
    for ours, theirs in ((federated.weights, central.weights), (federated.bias, central.bias)):
        assert np.abs(ours - theirs).max() <= 1e-6 * max(np.abs(theirs).max(), 1e-12)


def test_ridge_is_ridge_regression_on_all_data(digits: Dataset) -> None:
    rows, targets = features(digits.x[digits.train]), np.eye(10)[digits.y[digits.train]]
    s = strategy(Ridge(0.5))
    weights = Ridge(0.5).fit(s.moments(learn(s, digits, TASKS, 3, 1))).weights
    # An augmented least-squares problem knows nothing of Gram matrices.
    wide = np.concatenate([rows, np.sqrt(0.5) * np.eye(rows.shape[1])])
    expected = np.linalg.lstsq(wide, np.concatenate([targets, np.zeros((rows.shape[1], 10))]), rcond=None)[0]
    np.testing.assert_allclose(weights, expected.T, atol=1e-7)


def test_ridge_agrees_with_the_recursive_update(digits: Dataset) -> None:
    """The paper's server updates the inverse and the weights client by client (Woodbury); the sums give the same."""
    rows, targets = features(digits.x[digits.train]), np.eye(10)[digits.y[digits.train]]
    inverse, weights = np.eye(rows.shape[1]), np.zeros((rows.shape[1], 10))
    for part in np.array_split(np.arange(len(rows)), 9):
        f, y = rows[part], targets[part]
        inverse -= inverse @ f.T @ np.linalg.solve(np.eye(len(f)) + f @ inverse @ f.T, f @ inverse)
        weights += inverse @ f.T @ (y - f @ weights)
    s = strategy(Ridge())
    sums = Ridge().fit(s.moments(learn(s, digits, TASKS, 4, 2))).weights
    np.testing.assert_allclose(sums, weights.T, atol=1e-8)


def test_slda_is_the_textbook_discriminant(digits: Dataset) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rows, y = features(digits.x), digits.y
    s = strategy(StreamingLda(1e-4))
    scores = s.scores(learn(s, digits, TASKS, 3, 1), digits.x[digits.test])
    # The same shrinkage would need sklearn's scale; almost none on both sides must predict alike.
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-3, priors=np.full(10, 0.1))
    peer.fit(rows[digits.train], y[digits.train])
    agree = scores.argmax(axis=1) == peer.predict(rows[digits.test])
    assert agree.mean() > 0.97
    assert (scores.argmax(axis=1) == y[digits.test]).mean() > 0.95


@pytest.mark.parametrize("classifier", [Ridge(), StreamingLda()])
@pytest.mark.parametrize(("shape", "classes"), [((1, 8, 8), (2, 5, 7)), ((6, 64), (0, 3))])
def test_laws_of_strategies(classifier: Classifier, shape: tuple[int, ...], classes: tuple[int, ...]) -> None:
    s = MomentSums(
        name="slda",
        classifier=classifier,
        features=features,
        shape=shape,
        classes=10,
        widest_slot=4,
        examples=EXAMPLES,
        gram_share=0.5,
        scale=2.0**14,
        noise=1.0,
    )
    check_strategy(s, shape, 10, StepContext(slot=1, round=0, classes=classes))


def test_examples_of_other_classes_add_nothing(digits: Dataset) -> None:
    s = strategy(Ridge())
    step = StepContext(slot=0, round=0, classes=(0, 1))
    both = s.contribute(s.initial(), view(digits, np.flatnonzero(digits.y < 3)[:40]), step, bytes).parts
    only = s.contribute(
        s.initial(), view(digits, [i for i in np.flatnonzero(digits.y < 3)[:40] if digits.y[i] < 2]), step, bytes
    ).parts
    for name in both:
        np.testing.assert_array_equal(both[name], only[name])


def test_noise_is_known_and_answered_by_more_ridge(digits: Dataset) -> None:
    """With noise of public size on the sums the answer stays finite and useful, and the edge covers the noise."""
    rng = np.random.default_rng(0)
    quiet, loud = strategy(Ridge()), strategy(Ridge(), noise=4.0)
    state = learn(quiet, digits, TASKS, 3, 1)
    moments = loud.moments(state)
    eigenvalues = []
    for _ in range(5):
        shaken = dict(state)
        shaken["gram"] = state["gram"] + np.stack(
            [rng.normal(scale=8.0, size=state["gram"].shape[1]), 0 * state["gram"][1]]
        )
        difference = loud.moments(shaken).gram - moments.gram
        eigenvalues.append(np.abs(np.linalg.eigvalsh(difference)).max())
    # Four releases of standard deviation 4 are one of 8.
    assert np.mean(eigenvalues) == pytest.approx(moments.edge, rel=0.1)
    assert moments.classes.variance == pytest.approx(np.full(10, 16.0 / 0.5 / (1 - 0.15**2)))


def test_events_and_classes_never_released(digits: Dataset) -> None:
    s = strategy(StreamingLda())
    (event,) = s.events("current")
    assert isinstance(event, NonPrivate)
    assert not s.events("memory")
    assert not strategy(StreamingLda(), 1.0).events("current")
    assert np.isneginf(s.scores(s.initial(), digits.x[:3])).all()
    state = learn(s, digits, TASKS[:1], 2, 1)
    scores = s.scores(state, digits.x[:50])
    assert set(scores.argmax(axis=1)) <= {0, 1, 2}
    assert np.isneginf(scores[:, 3:]).all()


@pytest.mark.parametrize("size", [1, 2, 7])
def test_folding_keeps_norms_and_inverts(size: int) -> None:
    from secure_fcl.strategies.closed_form.class_rows import fold, triangle, unfold

    rng = np.random.default_rng(size)
    matrix = rng.normal(size=(size, size))
    matrix = matrix + matrix.T
    folded = fold(matrix)
    assert folded.shape == (triangle(size),)
    assert np.linalg.norm(folded) == pytest.approx(np.linalg.norm(matrix))
    np.testing.assert_allclose(unfold(folded, size), matrix, atol=1e-12)


def test_pairs_of_floats_keep_what_one_would_lose() -> None:
    from secure_fcl.strategies.closed_form.class_rows import split_exactly, whole

    total = np.zeros(1)
    pair = split_exactly(total)
    for value in itertools.repeat(1e-3, 1_000):
        pair = split_exactly(whole(pair) + value + 1e4)
    assert whole(pair)[0] == pytest.approx(1e7 + 1.0, abs=1e-5)
    assert float(pair[0][0]) != whole(pair)[0]
