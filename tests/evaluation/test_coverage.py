"""Every interval that an audit prints covers what it should, measured: at least 93 % where 95 % is claimed.

More than 97 % is allowed only where few counts decide and no interval could hit 95 %; widths are printed (`-s`), as an
interval can always cover by being useless.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from evaluation.evidence import Interval
from evaluation.intervals import clopper_pearson, delong_auc, delong_difference, mean_interval
from evaluation.roc import tpr_at_fpr

Random = np.random.Generator
pytestmark = pytest.mark.slow
REPEATS = 1000
LEAST, MOST = 0.93, 0.97
ERRORS = 2.0  # standard errors of a measured coverage that are allowed for: some hundred are measured


def measured(name: str, draws: Iterator[tuple[float, float, float]], few: bool) -> None:
    """`draws` gives (low, truth, high); `few`: so few counts decide that more than 97 % may be covered."""
    rows = np.array(list(draws))
    covered = float(((rows[:, 0] <= rows[:, 1]) & (rows[:, 1] <= rows[:, 2])).mean())
    width = float((rows[:, 2] - rows[:, 0]).mean())
    print(f"{name}: {100 * covered:.1f} % covered, mean width {width:.4f}")
    error = ERRORS * (0.95 * 0.05 / len(rows)) ** 0.5
    assert covered >= LEAST - error, name
    assert few or covered <= MOST + error, name


def normal(random: Random, size: int, shift: float) -> np.ndarray:
    return random.normal(size=size) + shift


def a_few_give_themselves_away(random: Random, size: int, shift: float) -> np.ndarray:
    return np.where(random.random(size) < 0.3, random.normal(size=size) + 2 * shift, random.normal(size=size))


KINDS: dict[str, tuple[Callable[[Random, int, float], np.ndarray], Callable[[float], float]]] = {
    "all members alike": (normal, lambda d: float(stats.norm.cdf(d / 2**0.5))),
    "three in ten": (a_few_give_themselves_away, lambda d: 0.35 + 0.3 * float(stats.norm.cdf(2 * d / 2**0.5))),
}


SIZES = ((4, 6), (10, 10), (6, 90), (20, 20), (20, 430), (60, 60), (200, 200))


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5, 3.0])
def test_area_and_difference_of_areas(kind: str, shift: float, campaign: Callable[[int, int], list[int]]) -> None:
    for place in campaign(len(SIZES), 3):
        check_areas(kind, *SIZES[place], shift)


def check_areas(kind: str, m: int, n: int, shift: float) -> None:
    draw, area = KINDS[kind]
    truth = np.repeat([True, False], [m, n])
    random = np.random.default_rng([m, n, int(10 * shift), len(kind)])
    pairs = []
    for _ in range(REPEATS):
        scores = np.concatenate([draw(random, m, shift), random.normal(size=n)])
        pairs.append((scores, scores + 0.5 * random.normal(size=m + n)))
    known, second = area(shift), area(shift / 1.25**0.5)
    # A pair out of order is an event: few candidates, or an area so near 1 that few pairs are out of order.
    few = min(m, n) <= 20 or (1 - known) * min(m, n) < 5
    areas = (delong_auc(first, truth) for first, _ in pairs)
    measured(f"AUC {known:.3f}, {kind}, {m} and {n}", ((a.low, known, a.high) for a in areas), few)
    gains = (delong_difference(first, other, truth) for first, other in pairs)
    measured(f"  premium {known - second:+.3f}", ((g.low, known - second, g.high) for g in gains), few)


@pytest.mark.parametrize("per_cluster", [True, False])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("count", "size"), [(20, 5), (60, 5), (200, 3)])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_area_and_rate_among_clusters(per_cluster: bool, shared: float, count: int, size: int, shift: float) -> None:
    random = np.random.default_rng([count, int(10 * shared), int(shift), per_cluster])
    areas, rates = [], []
    known, found = float(stats.norm.cdf(shift / 2**0.5)), float(stats.norm.sf(stats.norm.isf(0.1) - shift))
    if not per_cluster:
        # Some pairs are of one cluster, whose common part cancels; sizes are uniform from 1 to 2 size - 1.
        squares = size**2 + ((2 * size - 1) ** 2 - 1) / 12
        within = (squares - size) / (size**2 * count)
        known += within * (float(stats.norm.cdf(shift / (2 * (1 - shared)) ** 0.5)) - known)
    for seed in range(REPEATS):
        clusters = np.repeat(np.arange(count), random.integers(1, 2 * size, count))
        coins = random.random(count if per_cluster else len(clusters)) < 0.5
        truth = coins[clusters] if per_cluster else coins
        common = shared**0.5 * random.normal(size=count)[clusters]
        scores = common + (1 - shared) ** 0.5 * random.normal(size=len(clusters)) + shift * truth
        area = delong_auc(scores, truth, clusters=clusters)
        areas.append((area.low, known, area.high))
        rate = tpr_at_fpr(scores, truth, 0.1, seed=seed, clusters=clusters)
        if rate.low is not None and rate.high is not None:
            rates.append((rate.low, found, rate.high))
    name = f"{count} clusters of {size}, {shared:.1f} shared, a coin a {'cluster' if per_cluster else 'candidate'}"
    measured(f"AUC {known:.3f}, {name}", iter(areas), count <= 20)
    # A tenth of the non-members of one half places the threshold: some 7 to 30 of them, fewer clusters.
    if len(rates) > REPEATS // 2:
        measured(f"  TPR {found:.3f} at 10 %", iter(rates), few=True)


RATES = ((0.1, 100), (0.1, 1000), (0.01, 1000), (0.01, 10_000), (0.001, 10_000))


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5, 3.0])
def test_rate_of_members_found(kind: str, shift: float, campaign: Callable[[int, int], list[int]]) -> None:
    for place in campaign(len(RATES), 2):
        check_rate(kind, *RATES[place], shift)


def check_rate(kind: str, fpr: float, n: int, shift: float) -> None:
    draw, _ = KINDS[kind]
    above = stats.norm.isf(fpr)
    known = float(stats.norm.sf(above - shift))
    if kind == "three in ten":
        known = 0.7 * fpr + 0.3 * float(stats.norm.sf(above - 2 * shift))
    for members in (40, n):
        truth = np.repeat([True, False], [members, n])
        random = np.random.default_rng([n, members, int(10 * shift), len(kind)])

        def draws(members: int = members, truth: np.ndarray = truth, random: Random = random) -> Iterator[tuple]:
            for seed in range(REPEATS // 4 if n > 1000 else REPEATS):
                scores = np.concatenate([draw(random, members, shift), random.normal(size=n)])
                found = tpr_at_fpr(scores, truth, fpr, seed=seed)
                yield found.low, known, found.high

        judged = members / 2
        few = min(judged * min(known, 1 - known), fpr * n / 2) < 30
        measured(f"TPR {known:.4f} at {fpr}, {kind}, {members} and {n}", draws(), few)


@pytest.mark.parametrize(("share", "trials"), [(0.02, 100), (0.3, 40), (0.5, 2000)])
def test_shares(share: float, trials: int) -> None:
    hits = np.random.default_rng(trials).binomial(trials, share, REPEATS)
    found = (clopper_pearson(int(k), trials) for k in hits)
    measured(f"share {share} of {trials}", ((i.low, share, i.high) for i in found), trials < 1000)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_means_over_seeds(count: int) -> None:
    values = np.random.default_rng(count).normal(0.8, 0.05, (REPEATS, count))
    found: Iterator[Interval] = (mean_interval(row.tolist()).interval for row in values)
    measured(f"mean of {count}", ((i.low, 0.8, i.high) for i in found), False)
