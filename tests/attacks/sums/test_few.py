"""Linear algebra on sums of few examples: one or two come out whole, of more the span."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.errors import TranscriptInvalid
from attacks.sums.few import examples_from_moments, least_found, mean_likeness, rank_of, span_distances
from attacks.sums.power import power_at

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 2), st.integers(2, 12))
def test_one_or_two_examples_come_out_whole(seed: int, count: int, d: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, d))
    found = examples_from_moments(rows.sum(axis=0), rows.T @ rows, count)
    assert found is not None
    gaps = [np.abs(found[list(order)] - rows).max() for order in ({1: [(0,)], 2: [(0, 1), (1, 0)]}[count])]
    assert min(gaps) < 1e-6


def test_of_three_nothing_is_claimed() -> None:
    rows = np.random.default_rng(1).normal(size=(3, 5))
    assert examples_from_moments(rows.sum(axis=0), rows.T @ rows, 3) is None


@given(SEEDS, st.integers(1, 6))
def test_examples_lie_in_the_span_and_strangers_do_not(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows, strangers = rng.normal(size=(count, 12)), rng.normal(size=(4, 12))
    gram = rows.T @ rows
    assert rank_of(gram) == count
    assert span_distances(gram, rows, count).max() < 1e-5
    assert span_distances(gram, strangers, count).min() > 1e-3


@given(SEEDS)
def test_a_mean_is_like_itself_and_a_typical_example_tells_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, typical = rng.normal(size=8), rng.normal(size=8)
    assert mean_likeness(truth + 3.0 * typical, truth, typical) == pytest.approx(1.0)
    assert mean_likeness(3.0 * typical, truth, typical) == pytest.approx(0.0, abs=1e-6)


def test_the_least_class_that_shows_has_the_power_that_was_asked() -> None:
    assert power_at(least_found(0.1) * 0.1, 0.05) == pytest.approx(0.95)
    assert least_found(0.0) == np.inf


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TranscriptInvalid, match="shapes do not fit"):
        examples_from_moments(np.ones(3), np.ones((2, 2)), 1)
