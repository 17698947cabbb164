import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.errors import LevelError, SampleError
from evaluation.intervals import (
    clopper_pearson,
    cluster_bootstrap,
    delong_auc,
    delong_difference,
    holm,
    mean_interval,
    midranks,
)
from evaluation.roc import auc


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 10), (5, 10), (10, 10), (37, 898), (54, 898)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_clopper_pearson_equals_scipy(successes: int, trials: int, confidence: float) -> None:
    found = clopper_pearson(successes, trials, confidence)
    known = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), rel=1e-9, abs=1e-12)


def test_clopper_pearson_edges() -> None:
    assert (clopper_pearson(0, 0).low, clopper_pearson(0, 0).high) == (0.0, 1.0)
    # The "rule of three" for no success in n trials, here exactly: 1 - 0.025^(1/n).
    assert clopper_pearson(0, 100).high == pytest.approx(1 - 0.025 ** (1 / 100))
    for successes, trials in ((-1, 5), (6, 5)):
        with pytest.raises(SampleError):
            clopper_pearson(successes, trials)
    for confidence in (0.0, 1.0, math.nan):
        with pytest.raises(LevelError):
            clopper_pearson(1, 2, confidence)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_clopper_pearson_covers_by_enumeration(share: float) -> None:
    trials = 40
    weights = stats.binom.pmf(np.arange(trials + 1), trials, share)
    covered = sum(w for k, w in enumerate(weights) if share in clopper_pearson(k, trials))
    assert covered >= 0.95


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_midranks_equal_scipy(values: list[int]) -> None:
    array = np.array(values, dtype=float)
    np.testing.assert_array_equal(midranks(array), stats.rankdata(array))


def _variance_by_definition(scores: np.ndarray, truth: np.ndarray, clusters: np.ndarray) -> float:
    """Quadratic-time kernel: equations 4 and 5 of DeLong et al. 1988, summed within clusters as Obuchowski 1997."""
    positives, negatives = scores[truth], scores[~truth]
    kernel = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    m, n, labels = len(positives), len(negatives), np.unique(clusters)
    own = [(kernel.mean(axis=1) - kernel.mean())[clusters[truth] == c].sum() for c in labels]
    other = [(kernel.mean(axis=0) - kernel.mean())[clusters[~truth] == c].sum() for c in labels]
    k, l, i = len(np.unique(clusters[truth])), len(np.unique(clusters[~truth])), len(labels)  # noqa: E741
    first = k / (k - 1) * sum(v**2 for v in own) / m**2
    second = l / (l - 1) * sum(v**2 for v in other) / n**2
    both = 2 * i / (i - 1) * sum(v * w for v, w in zip(own, other, strict=True)) / (m * n)
    return float(first + second + both)


def _model(area: float, m: int, n: int) -> float:
    size = (m + n) / 2 - 1
    return area * (1 - area) * (1 + size * (1 - area) / (2 - area) + size * area / (1 + area)) / (m * n)


@pytest.mark.parametrize("seed", range(6))
def test_many_candidates_get_delongs_error_at_the_measured_area(seed: int) -> None:
    # With 300 and 500 candidates the model's share is below a percent or two, and t is nearly normal.
    random = np.random.default_rng(seed)
    truth = np.repeat([True, False], [300, 500])
    scores = random.integers(0, 40, 800) + 4.0 * truth
    found = delong_auc(scores, truth)
    error = math.sqrt(_variance_by_definition(scores, truth, np.arange(800)))
    for end in (found.low, found.high):
        shape = math.sqrt(_model(end, 300, 500) / _model(found.value, 300, 500))
        assert abs(found.value - end) == pytest.approx(1.965 * error * shape, rel=0.03)


@pytest.mark.parametrize("seed", range(6))
def test_clusters_enter_as_obuchowski_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    clusters = random.integers(0, 200, 1200)
    truth = random.random(1200) < 0.5
    scores = random.normal(size=200)[clusters] + random.normal(size=1200) + truth
    found = delong_auc(scores, truth, clusters=clusters)
    error = math.sqrt(_variance_by_definition(scores, truth, clusters))
    assert found.high - found.low == pytest.approx(2 * 1.97 * error, rel=0.05)


def test_areas_lie_inside_their_interval_and_it_inside_zero_and_one() -> None:
    random = np.random.default_rng(3)
    for _ in range(300):
        m, n = random.integers(2, 12, 2)
        truth = np.repeat([True, False], [m, n])
        found = delong_auc(random.normal(size=m + n) + 3 * random.random() * truth, truth)
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        mirrored = delong_auc(-random.normal(size=m + n), truth)
        assert 0.0 <= mirrored.low < mirrored.high <= 1.0


def test_delong_at_the_edges() -> None:
    perfect = delong_auc([3, 4, 5, 0, 1, 2], [1, 1, 1, 0, 0, 0])
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 3))
    worst = delong_auc([0, 1, 2, 3, 4, 5], [1, 1, 1, 0, 0, 0])
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert worst.high == pytest.approx(1 - 0.025 ** (1 / 3))


@pytest.mark.parametrize(
    ("truth", "clusters", "said"),
    [
        ([1, 0, 0, 0], None, "1 candidates with positives"),
        ([1, 1, 1, 0], None, "1 with negatives"),
        ([1, 1, 0, 0], [7, 7, 8, 9], "1 clusters with positives"),
        ([1, 0, 1, 0], [5, 5, 5, 5], "1 clusters with positives and 1 with"),
    ],
)
def test_what_has_no_spread_gets_a_sentence_and_no_nan(truth: list[int], clusters: list[int] | None, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        delong_auc([1.0, 2.0, 3.0, 4.0], truth, clusters=clusters)
    with pytest.raises(SampleError, match="two of each"):
        delong_difference([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], truth, clusters=clusters)
    with pytest.raises(SampleError, match="one length"):
        delong_auc([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], clusters=[1, 2])


def test_no_interval_of_a_difference_is_a_point_where_scores_differ() -> None:
    # Both orders are perfect in the sample, and still not the same order.
    truth = np.repeat([True, False], [5, 5])
    found = delong_difference(np.arange(10.0)[::-1], [7, 9, 8, 6, 5, 1, 2, 3, 4, 0], truth)
    assert found.value == 0.0
    assert found.low < -0.1
    assert found.high > 0.1


def test_delong_covers_the_truth() -> None:
    # Normal scores one standard deviation apart: AUC = Phi(1 / sqrt 2). Of 400 intervals at 95 %, fewer than
    # 90 % covering has probability below 1e-4 if they are right; the seed is fixed.
    random, truth = np.random.default_rng(5), np.repeat([1, 0], [60, 60])
    true_auc = stats.norm.cdf(1 / math.sqrt(2))
    hits = 0
    for _ in range(400):
        scores = random.normal(size=120) + truth
        hits += true_auc in delong_auc(scores, truth).interval
    assert hits / 400 > 0.90


def test_delong_difference() -> None:
    random, truth = np.random.default_rng(1), np.repeat([1, 0], [200, 200])
    good, chance = random.normal(size=400) + 1.5 * truth, random.normal(size=400)
    found = delong_difference(good, chance, truth)
    assert found.value == pytest.approx(auc(good, truth) - auc(chance, truth))
    assert found.low > 0
    assert found.p_value < 1e-6
    assert delong_difference(chance, good, truth).value == pytest.approx(-found.value)
    same = delong_difference(good, np.exp(good), truth)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    # Paired: a nearly equal score differs with far less spread than either score has alone.
    near = delong_difference(good, good + 0.01 * random.normal(size=400), truth)
    one = delong_auc(good, truth)
    assert near.high - near.low < 0.2 * (one.high - one.low)


@pytest.mark.parametrize(
    ("scores", "truth"),
    [
        ([1.0, math.nan], [0, 1]),
        ([1, 2], [1, 1]),
        ([1, 2], [0, 0]),
        ([1, 2, 3], [0, 1]),
        ([], []),
        ([1, 2], [0, 2]),
    ],
)
def test_unusable_samples_are_refused(scores: list[float], truth: list[int]) -> None:
    with pytest.raises(SampleError):
        delong_auc(scores, truth)


def test_cluster_bootstrap_of_singletons_is_the_plain_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=300)
    found = cluster_bootstrap(lambda rows: float(values[rows].mean()), np.arange(300), seed=1, repeats=4000)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / math.sqrt(300)
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_cluster_bootstrap_sees_dependence() -> None:
    # 20 clusters of 50 identical rows hold 20 independent values: an interval about sqrt(50) times wider.
    levels = np.random.default_rng(0).normal(size=20)
    values, clusters = np.repeat(levels, 50), np.repeat(np.arange(20), 50)
    blind = cluster_bootstrap(lambda rows: float(values[rows].mean()), np.arange(1000), seed=1)
    aware = cluster_bootstrap(lambda rows: float(values[rows].mean()), clusters, seed=1)
    assert aware.n == 20
    assert (aware.high - aware.low) > 5 * (blind.high - blind.low)


def test_cluster_bootstrap_is_repeatable_and_draws_whole_clusters() -> None:
    clusters = np.array([5, 5, 9, 9, 9, 7])

    def whole(rows: np.ndarray) -> float:
        counts = np.bincount(rows, minlength=6)
        assert len({counts[0], counts[1]}) == 1
        assert len({counts[2], counts[3], counts[4]}) == 1
        return float(rows.size)

    first, again = (cluster_bootstrap(whole, clusters, seed=3) for _ in range(2))
    assert first == again
    assert first != cluster_bootstrap(whole, clusters, seed=4, confidence=0.5)


def test_cluster_bootstrap_refuses_what_it_cannot_do() -> None:
    with pytest.raises(SampleError, match="two clusters"):
        cluster_bootstrap(lambda rows: 0.0, [1, 1, 1], seed=0)
    with pytest.raises(SampleError, match="repeats"):
        cluster_bootstrap(lambda rows: 0.0, [1, 2], seed=0, repeats=10)
    with pytest.raises(SampleError, match="undefined"):
        cluster_bootstrap(lambda rows: math.nan, [1, 2, 3], seed=0)


def test_holm_known_answers() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm") in R.
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04]), [0.04, 0.06, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.005]), [0.06, 0.03, 0.06, 0.02])
    assert holm([]).size == 0
    for bad in ([1.1], [-0.1], [math.nan]):
        with pytest.raises(SampleError):
            holm(bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_laws(p_values: list[float]) -> None:
    raw, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(raw.size * raw, 1.0) + 1e-12).all() or raw.size > 1
    assert adjusted.min() == pytest.approx(min(1.0, raw.size * raw.min()))
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
def test_mean_interval_equals_scipy(values: list[float]) -> None:
    found = mean_interval(values)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_mean_interval_of_little() -> None:
    assert mean_interval([0.4, math.nan, 0.6]).n == 2
    one, none = mean_interval([0.4]), mean_interval([math.nan])
    assert one.value == 0.4
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert (none.n, math.isnan(none.value)) == (0, True)
