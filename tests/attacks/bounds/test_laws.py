"""Laws of scores: their p-values are uniform under the claim, and mechanisms that are a little off are found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from attacks.bounds.laws import (
    LAW_LEVEL,
    ScoreLaw,
    distribution_p_value,
    drawn_counts,
    kept_counts,
    remainders,
    repetition_p_value,
    variance_p_value,
)
from attacks.errors import AuditInvalid

LAW = ScoreLaw(counts=drawn_counts([(0.25, 6)]), shift=1.3, std=2.0)


def drawn(seed: int, n: int, rate: float = 0.25, std: float = 2.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 1.3 * random.binomial(6, rate, n) + std * random.normal(size=n)


def visits(seed: int, correlation: float = 0.0, shape: tuple[int, int] = (6, 2000)) -> np.ndarray:
    random = np.random.default_rng(seed)
    common = random.normal(size=shape[1])
    table: np.ndarray = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * random.normal(size=shape)
    return table


def test_counts_are_those_of_coins() -> None:
    random = np.random.default_rng(3)
    coins = [(0.2, 3), (0.7, 2), (0.0, 4), (1.0, 1)]
    played = sum(random.binomial(number, rate, 200_000) for rate, number in coins)
    law = drawn_counts(coins)
    assert len(law) == 11
    seen = np.bincount(played, minlength=11)
    possible = law > 0
    assert not seen[~possible].any()
    assert stats.chisquare(seen[possible], 200_000 * law[possible]).pvalue > 1e-3
    kept = kept_counts(drawn_counts([(0.5, 2)]), drawn_counts([(0.1, 2)]), 0.3)
    twice = np.convolve([0.25, 0.5, 0.25], [0.81, 0.18, 0.01])
    assert kept == pytest.approx(0.7 * np.array([0.25, 0.5, 0.25, 0, 0]) + 0.3 * twice)


def test_the_law_of_a_score_is_that_of_its_draws() -> None:
    values = drawn(5, 400_000)
    assert LAW.mean == pytest.approx(values.mean(), abs=5 * values.std() / 400_000**0.5)
    assert LAW.variance == pytest.approx(values.var(), rel=0.01)
    at = np.array([-3.0, 0.0, 1.3, 5.0])
    assert LAW.below(at) == pytest.approx([(values <= v).mean() for v in at], abs=0.005)
    assert LAW.below(at) + LAW.above(at) == pytest.approx(np.ones(4))


def test_normal_scores_keep_far_tails() -> None:
    plain = ScoreLaw(counts=np.ones(1), shift=0.0, std=3.0)
    assert plain.normal_scores(np.array([-90.0, -30.0, 0.0, 30.0, 90.0])) == pytest.approx([-30, -10, 0, 10, 30])
    assert np.abs(plain.normal_scores(np.array([-1e9, 1e9]))) == pytest.approx([37.0, 37.0], abs=0.5)


P_VALUES: dict[str, Callable[[int], float]] = {
    "distribution": lambda seed: distribution_p_value(LAW, drawn(seed, 300)),
    "variance": lambda seed: variance_p_value(LAW.normal_scores(drawn(seed, 300))),
    "variance of a residual": lambda seed: variance_p_value(visits(seed) - visits(seed).mean(axis=0), lost=2000),
    "repetition": lambda seed: repetition_p_value(visits(seed, shape=(4, 100))),
    "repetition of two": lambda seed: repetition_p_value(visits(seed, shape=(2, 30))),
}


@pytest.mark.parametrize("name", P_VALUES)
def test_p_values_are_uniform_under_the_claim(name: str) -> None:
    found = np.array([P_VALUES[name](seed) for seed in range(1500)])
    assert stats.kstest(found, "uniform").pvalue > 1e-4


def test_remainders_tell_a_draw_that_adds_a_little_more() -> None:
    random = np.random.default_rng(8)
    counts, noise = random.binomial(6, 0.25, 3000), 0.01 * random.normal(size=3000)
    assert variance_p_value(remainders(-2.0 * counts + noise, -2.0, 0.01)) > 1e-3
    assert variance_p_value(remainders(2.01 * counts + noise, 2.0, 0.01)) < LAW_LEVEL


def test_what_is_a_little_off_is_found() -> None:
    for wrong in (drawn(1, 6000, rate=0.5), drawn(1, 6000, std=1.0), drawn(1, 6000, std=2.0 * 1.3)):
        assert distribution_p_value(LAW, wrong) < LAW_LEVEL
    for factor in (0.9**0.5, 1.1**0.5):
        assert variance_p_value(factor * visits(2)) < LAW_LEVEL
    assert repetition_p_value(visits(4, correlation=0.05)) < LAW_LEVEL
    again = visits(4)
    again[3] = again[0]
    assert repetition_p_value(again) < LAW_LEVEL
    taken_back = visits(4)
    taken_back[1] = -taken_back[0]
    assert repetition_p_value(taken_back) < LAW_LEVEL
    assert repetition_p_value(np.ones((3, 10))) == 0.0


def test_the_size_of_values_is_not_their_repetition() -> None:
    table = visits(7)
    assert repetition_p_value(table) == pytest.approx(repetition_p_value(3.0 * table))


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (lambda: ScoreLaw(counts=np.array([0.5, 0.4]), shift=1.0, std=1.0), "sum to 0.9"),
        (lambda: ScoreLaw(counts=np.ones(1), shift=1.0, std=0.0), "std=0.0"),
        (lambda: ScoreLaw(counts=np.ones(1), shift=np.inf, std=1.0), "shift=inf"),
        (lambda: drawn_counts([(1.5, 2)]), "rate 1.5"),
        (lambda: kept_counts(np.ones(1), np.ones(1), -0.1), "kept=-0.1"),
        (lambda: distribution_p_value(LAW, np.empty(0)), "0 values"),
        (lambda: variance_p_value(np.array([1.0, np.nan])), "1 are not finite"),
        (lambda: variance_p_value(np.ones(3), lost=3), "nothing to test"),
        (lambda: remainders(np.ones(3), 1.0, 0.2), "below 12 std=0.2"),
        (lambda: repetition_p_value(np.ones((1, 5))), "not two visits"),
    ],
)
def test_what_is_no_law_is_refused(refused: Callable[[], object], why: str) -> None:
    with pytest.raises(AuditInvalid, match=why):
        refused()
