"""Mu of attacks and of noise: known answers, and noise that is half of what was charged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.errors import GameInvalid
from attacks.sums.power import auc_of_mu, composed, mu_of_auc, noise_found, power_at, shift_game


@given(st.floats(0.0, 6.0))
def test_mu_and_auc_are_inverse(mu: float) -> None:
    assert mu_of_auc(auc_of_mu(mu)) == pytest.approx(mu, abs=1e-6)


@given(st.floats(0.0, 5.0), st.floats(0.001, 0.999))
def test_a_trade_off_curve_is_above_chance_and_grows_with_mu(mu: float, rate: float) -> None:
    assert rate - 1e-12 <= power_at(mu, rate) <= power_at(mu + 0.1, rate)


def test_two_mechanisms_compose_in_squares() -> None:
    assert composed([3.0, 4.0]) == 5.0


def test_thresholds_of_a_known_law_lie_where_they_were_fixed() -> None:
    scores = np.random.default_rng(1).normal(size=50_000)
    game = shift_game(scores, scores + 1.0)
    for alarms, found in game.curve:
        assert found == pytest.approx(power_at(1.0, alarms), abs=0.02)
    # Scores of another scale show as false alarms where the law is taken for known.
    assert shift_game(2.0 * scores, 2.0 * scores + 1.0).curve[0][0] > 0.1
    assert shift_game(2.0 * scores, 2.0 * scores + 1.0, known_law=False).curve[0][0] == pytest.approx(0.01, abs=1e-3)


def test_half_of_the_noise_is_told_from_all_of_it() -> None:
    rng = np.random.default_rng(2)
    whole, half = noise_found(rng.normal(size=500), 0.999), noise_found(0.5 * rng.normal(size=500), 0.999)
    assert whole.low < 1.0 < whole.high
    assert half.high < 0.6
    value, low, high = half.mu(0.25)
    assert 0.4 < low < value < high


def test_intervals_of_the_noise_cover() -> None:
    rng = np.random.default_rng(3)
    covered = [found.low <= 1.0 <= found.high for found in (noise_found(rng.normal(size=40), 0.9) for _ in range(500))]
    assert 0.85 < np.mean(covered) < 0.95


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(GameInvalid, match="give one of each for two worlds"):
        shift_game(np.zeros(3), np.zeros(2))
    with pytest.raises(GameInvalid, match="no entry of noise"):
        noise_found(np.zeros(0))
