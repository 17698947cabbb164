from dataclasses import replace

import numpy as np
import pytest

from privacy import NonPrivate
from secure_fcl.data import Dataset
from secure_fcl.features.kinds import refined_features
from secure_fcl.features.refined import variations
from secure_fcl.strategies import Calm, DeviceView, Examples, State, StepContext
from secure_fcl.strategies.closed_form import denoising
from secure_fcl.strategies.closed_form.class_rows import ClassMoments, fold
from secure_fcl.testing import check_strategy
from secure_fcl.testing.strategies import EXAMPLES

TASKS = ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9))


def calm(noise: float = 0.0, shape: tuple[int, ...] = (1, 8, 8), examples: int = 2_000) -> Calm:
    return Calm(
        name="calm",
        features=refined_features,
        variations=variations,
        shape=shape,
        classes=10,
        widest_slot=4,
        examples=examples,
        scale=2.0**14,
        noise=(noise, noise),
    )


def view(data: Dataset, index: np.ndarray) -> DeviceView:
    return DeviceView(Examples(data.x[index], data.y[index]), Examples(data.x[:0], data.y[:0]))


def learn(s: Calm, data: Dataset, tasks: tuple[tuple[int, ...], ...], clients: int, rng: np.random.Generator) -> State:
    owner, state = rng.integers(0, clients, size=len(data)), s.initial()
    for slot, classes in enumerate(tasks):
        for number, phase in enumerate(("train", "close")):
            step, parts = StepContext(slot=slot, round=number, classes=classes, seen=(), phase=phase), []
            for k in range(clients):
                mine = np.flatnonzero(data.train & (owner == k) & np.isin(data.y, classes))
                parts.append(s.contribute(state, view(data, mine), step, bytes).parts)
            total = {n: np.sum([p[n] for p in parts], axis=0) for n in parts[0]}
            std = s.noise[number]
            total = {n: t + rng.normal(scale=std, size=t.shape) if std else t for n, t in total.items()}
            state = s.apply(state, step, total, clients)
    return state


@pytest.mark.parametrize("phase", ["train", "close"])
@pytest.mark.parametrize(("shape", "classes"), [((1, 8, 8), (2, 5, 7)), ((6, 64), (0, 3))])
def test_laws_of_strategies(phase: str, shape: tuple[int, ...], classes: tuple[int, ...]) -> None:
    check_strategy(
        calm(1.0, shape, EXAMPLES), shape, 10, StepContext(slot=1, round=0, classes=classes, seen=(), phase=phase)
    )  # type: ignore[arg-type]


def test_one_example_weighs_one_whatever_the_centres_are(digits: Dataset) -> None:
    """The scatter's sensitivity must not depend on what the state says the class means are."""
    s = calm()
    state = learn(s, digits, TASKS, 2, np.random.default_rng(0))
    state["sums"] = state["sums"] * np.float32(-1e3)
    step = StepContext(slot=0, round=1, classes=(0, 1, 2), seen=(), phase="close")
    index = np.flatnonzero(digits.y < 3)[:9]
    whole = s.contribute(state, view(digits, index), step, bytes).parts["scatter"]
    for i in range(len(index)):
        fewer = s.contribute(state, view(digits, np.delete(index, i)), step, bytes).parts["scatter"]
        assert 0.99 < np.linalg.norm(whole - fewer) <= 1.0


def test_without_noise_it_learns_digits_in_any_order(digits: Dataset) -> None:
    accuracies = []
    for tasks in (TASKS, TASKS[::-1]):
        s = calm()
        state = learn(s, digits, tasks, 3, np.random.default_rng(1))
        right = s.scores(state, digits.x[digits.test]).argmax(axis=1) == digits.y[digits.test]
        accuracies.append(right.mean())
    assert min(accuracies) > 0.95
    assert abs(accuracies[0] - accuracies[1]) < 0.01


def test_noise_hurts_little_where_examples_are_many(digits: Dataset) -> None:
    """1,438 digits and noise of 1 per entry; noise of 1000 leaves chance (a test that cannot fail would not)."""
    found = {}
    for noise in (1.0, 1000.0):
        s = calm(noise)
        state = learn(s, digits, TASKS, 3, np.random.default_rng(2))
        found[noise] = (s.scores(state, digits.x[digits.test]).argmax(axis=1) == digits.y[digits.test]).mean()
    assert found[1.0] > 0.9
    assert found[1000.0] < 0.5


def test_a_scatter_that_is_mostly_noise_is_left_out(digits: Dataset) -> None:
    s = calm(5.0)
    step = StepContext(slot=0, round=1, classes=(0, 1), seen=(), phase="close")
    diagonal = np.zeros(s.uploads["close"].parts[0].size)
    state = s.initial()
    first = diagonal.copy()
    first[0] = 500.0  # the first entry of a folded matrix lies on its diagonal
    state = s.apply(state, step, {"scatter": first}, 3)
    few, many = first * 0.1, first * 0.9
    unchanged = s.apply(state, step, {"scatter": few}, 3)
    np.testing.assert_array_equal(unchanged["scatter"], state["scatter"])
    assert unchanged["scatter_releases"] == 1
    assert s.apply(state, step, {"scatter": many}, 3)["scatter_releases"] == 2
    # Without noise nothing is left out.
    assert calm().apply(state, step, {"scatter": few}, 3)["scatter_releases"] == 2


def test_events(digits: Dataset) -> None:
    (event,) = calm().events("current", "close")
    assert isinstance(event, NonPrivate)
    assert not calm(1.0).events("current")
    assert calm(1.0).sampled("current", "close") == (1.0,)
    assert calm(1.0).sampled("memory") == ()
    assert np.isneginf(calm().scores(calm().initial(), digits.x[:3])).all()


def moments(sums: np.ndarray, counts: np.ndarray, variance: float) -> ClassMoments:
    each = np.full(len(counts), variance)
    return ClassMoments(sums, counts.astype(float), each, 40.0 * each, np.ones(len(counts), dtype=bool))


def test_counts_from_lengths_beat_noisy_counts() -> None:
    rng = np.random.default_rng(0)
    true = np.array([800, 700, 60, 900])
    direction = rng.normal(size=(4, 100))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    errors = []
    for _ in range(20):
        noisy = true[:, None] * 0.8 * direction + rng.normal(scale=4.0, size=(4, 100))
        classes = moments(noisy, true + rng.normal(scale=25.0, size=4), 16.0)
        length = denoising.mean_length(classes)
        assert length == pytest.approx(0.8, abs=0.08)
        errors.append(denoising.class_counts(classes, length) - true)
    assert np.sqrt(np.mean(np.square(errors))) < 20.0
    exact = moments(true[:, None] * 0.8 * direction, true, 0.0)
    np.testing.assert_allclose(denoising.class_counts(exact, 0.7), true)


def test_means_of_small_classes_move_and_exact_ones_stay() -> None:
    rng = np.random.default_rng(1)
    true = np.eye(50)[:6] * 0.3 + 0.1
    counts = np.array([800, 800, 800, 800, 30, 30])
    noisy = true * counts[:, None] + rng.normal(scale=4.0, size=true.shape)
    drawn, kept = denoising.class_means(moments(noisy, counts, 16.0), counts.astype(float))
    assert kept[0] > 0.9 > 2.0 * kept[4]
    raw = noisy / counts[:, None]
    before, after = ((raw - true) ** 2).sum(axis=1), ((drawn - true) ** 2).sum(axis=1)
    assert (after[4:] < 0.5 * before[4:]).all()
    np.testing.assert_allclose(drawn[:4], raw[:4], atol=0.02)
    exact, _ = denoising.class_means(moments(true * counts[:, None], counts, 0.0), counts.astype(float))
    np.testing.assert_allclose(exact, true, atol=1e-12)


def test_covariance_has_the_eigenvectors_and_the_trace_of_the_truth() -> None:
    """Normal vectors of known covariance around nothing: with no noise their covariance comes back in shape."""
    rng = np.random.default_rng(2)
    deviations = np.array([0.3, 0.2] + [0.05] * 18)
    rows = rng.normal(size=(20_000, 20)) * deviations
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    size = float((deviations**2).sum())
    values, vectors, trace = denoising.covariance(units.T @ units, 0.0, float(np.sqrt(1 - size)))
    assert trace == pytest.approx(size)
    assert values.sum() == pytest.approx(size, rel=0.05)
    assert abs(vectors[0, -1]) > 0.99
    assert abs(vectors[1, -2]) > 0.99
    # Where noise hides everything, every direction counts the same.
    hidden, _, _ = denoising.covariance(units.T @ units, 1e9, float(np.sqrt(1 - size)))
    np.testing.assert_allclose(hidden, hidden[0], rtol=1e-6)


def test_vanishing_noise_is_no_noise(digits: Dataset) -> None:
    """The last tasks are small: a rule that does not look at the size of the noise drops their scatter."""
    tasks, x = (tuple(range(8)), (8,), (9,)), digits.x[digits.test]
    quiet, noisy = (replace(calm(noise), widest_slot=8) for noise in (0.0, 1e-7))
    without, with_little = (learn(s, digits, tasks, 3, np.random.default_rng(1)) for s in (quiet, noisy))
    assert with_little["scatter_releases"] == 3.0
    np.testing.assert_allclose(noisy.scores(with_little, x), quiet.scores(without, x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("second", "kept"), [(3_000, True), (100, False)])
def test_a_scatter_that_brings_more_noise_than_examples_stays_out(second: int, kept: bool) -> None:
    s = calm(30.0)
    state = s.initial()
    close = StepContext(slot=0, round=1, classes=(0,), seen=(), phase="close")
    for examples in (2_000, second):
        state = s.apply(state, close, {"scatter": fold(np.eye(s.dimension) * examples / s.dimension)}, 3)
    assert (state["scatter_releases"] == 2.0) == kept


def test_class_rows_are_sent_again_where_their_scatter_would_drown_and_then_count_once(digits: Dataset) -> None:
    """Two noisy sums of the same examples, by their precision: nearer to the truth than either, of known variance."""
    s = replace(calm(), noise=(24.0, 36.0))
    rng, index = np.random.default_rng(3), np.flatnonzero(digits.train & (digits.y < 3))
    steps = [StepContext(slot=0, round=r, classes=(0, 1, 2), phase=p) for r, p in enumerate(("train", "close"))]  # type: ignore[arg-type]
    errors, truth = [], np.zeros(0)
    for _ in range(20):
        state = s.initial()
        for step, std in zip(steps, s.noise, strict=True):
            parts = s.contribute(state, view(digits, index), step, bytes).parts
            if step.phase == "close":
                assert not parts["scatter"].any()
                assert parts["again"].any()
            truth = parts["sums"] if step.phase == "train" else truth
            state = s.apply(state, step, {n: p + rng.normal(scale=std, size=p.shape) for n, p in parts.items()}, 1)
        assert state["scatter_releases"] == 0
        errors.append((state["sums"].sum(axis=0)[:3] - truth[:3]).var())
    variance = 24.0**2 * float(state["class_releases"][0])
    assert variance == pytest.approx(1.0 / (1.0 / 24.0**2 + 1.0 / 36.0**2), rel=1e-5)
    assert np.mean(errors) == pytest.approx(variance, rel=0.05)


def test_an_example_weighs_one_in_the_second_exchange_too(digits: Dataset) -> None:
    s = calm(30.0)
    step = StepContext(slot=0, round=1, classes=(0, 1, 2), phase="close")
    state = s.initial()
    state["class_releases"][:3] = 1.0
    index = np.flatnonzero(digits.y < 3)[:6]
    whole = s.contribute(state, view(digits, index), step, bytes).parts
    for i in range(len(index)):
        fewer = s.contribute(state, view(digits, np.delete(index, i)), step, bytes).parts
        moved = np.concatenate([(whole[n] - fewer[n]).ravel() for n in whole])
        assert 0.99 < np.linalg.norm(moved) <= 1.0
        assert np.count_nonzero(moved) <= s.uploads["close"].sensitivity_entries


def test_little_data_under_much_noise_is_left_to_class_sums_and_much_is_not(digits: Dataset) -> None:
    """Accuracy of both exchanges is near that of class rows with the whole budget where the scatter shows nothing."""
    found = {}
    for share in (0.3, 0.01):
        std = 12.0 / np.sqrt(np.array([1.0 - share, share]))
        s = replace(calm(), noise=(float(std[0]), float(std[1])))
        rights = []
        for seed in range(6):
            state = learn(s, digits, TASKS, 1, np.random.default_rng(seed))
            assert state["scatter_releases"] == 0
            rights.append((s.scores(state, digits.x[digits.test]).argmax(axis=1) == digits.y[digits.test]).mean())
        found[share] = np.mean(rights)
    assert found[0.3] > 0.5
    assert abs(found[0.3] - found[0.01]) < 0.05
