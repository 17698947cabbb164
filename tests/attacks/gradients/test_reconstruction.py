from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks import gradients_of
from attacks.errors import InversionInvalid
from attacks.gradients.inversion import InversionSettings
from attacks.gradients.reconstruction import Reconstruction, blind_guesses, centred_correlation, reconstruct
from attacks.gradients.worlds import build_gradient_worlds

Signals = tuple[np.ndarray, np.ndarray]


def test_one_channel_is_pearsons_correlation() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(5, 1, 40)), random.normal(size=(5, 1, 40))
    expected = [np.corrcoef(a[i, 0], b[i, 0])[0, 1] for i in range(5)]
    assert centred_correlation(a, b) == pytest.approx(expected)
    assert centred_correlation(a[:, 0], b[:, 0]) == pytest.approx(expected)


@given(st.floats(0.1, 10), st.lists(st.floats(-100, 100), min_size=3, max_size=3), st.integers(0, 2**31))
def test_scale_and_channel_offsets_do_not_matter(scale: float, offsets: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, 3, 16)), random.normal(size=(2, 3, 16))
    moved = scale * a + np.array(offsets)[None, :, None]
    assert centred_correlation(moved, b) == pytest.approx(centred_correlation(a, b), abs=1e-6)
    assert centred_correlation(a, -b) == pytest.approx(-centred_correlation(a, b))
    assert centred_correlation(a, a) == pytest.approx([1.0, 1.0])


def test_gravity_alone_scores_nothing(signals: Signals) -> None:
    """Uncentred, the mean of other signals correlates above .8 with any of them; centred it says nothing."""
    x = signals[0][:20].astype(float)
    guess = np.broadcast_to(signals[0][20:].mean(axis=0), x.shape).astype(float)
    flat, flat_guess = x.reshape(20, -1), guess.reshape(20, -1)
    uncentred = (flat * flat_guess).sum(1) / np.linalg.norm(flat, axis=1) / np.linalg.norm(flat_guess, axis=1)
    assert uncentred.min() > 0.8
    assert np.abs(centred_correlation(guess, x)).max() < 0.6
    constant = np.broadcast_to(guess.mean(axis=2, keepdims=True), x.shape)
    assert centred_correlation(constant, x) == pytest.approx(np.zeros(20))


def test_blind_guesses_by_hand() -> None:
    x = np.array([[[1.0, 0.0, 0.0]], [[1.0, 0.1, 0.0]], [[0.0, 0.0, 1.0]], [[9.0, 9.0, 0.0]]])
    means, typical = blind_guesses(np.array([1, 0, 0]), (x, np.array([0, 0, 0, 1])))
    assert means[0] == pytest.approx(x[3])
    assert means[1] == pytest.approx(x[:3].mean(axis=0))
    assert typical[1] == pytest.approx(x[0])  # correlations with the others: .98 - .5, .98 - .58, -.5 - .58
    assert np.array_equal(typical[1], typical[2])


def test_a_label_without_reference_is_refused() -> None:
    with pytest.raises(InversionInvalid, match=r"\[5\]"):
        blind_guesses(np.array([5]), (np.zeros((1, 1, 3)), np.array([0])))


@pytest.fixture(scope="module")
def four_worlds(
    signal_cnn: torch.nn.Module, weights_of: Callable[[torch.nn.Module], np.ndarray], signals: Signals
) -> tuple[Reconstruction, ...]:
    gradient_of = gradients_of(signal_cnn, weights_of(signal_cnn))
    targets, others = (signals[0][:6], signals[1][:6]), (signals[0][6:], signals[1][6:])
    worlds = build_gradient_worlds(
        gradient_of, targets, others, clip_norm=1.0, n_clients=30, noise_one=1.0, noise_sum=1.0, seed=0
    )
    weights = weights_of(signal_cnn)
    return reconstruct(signal_cnn, weights, worlds, targets, others, InversionSettings(steps=200))


def test_only_the_unprotected_world_gives_its_signals_away(four_worlds: tuple[Reconstruction, ...]) -> None:
    clear, *protected = four_worlds
    assert clear.correlation.value > 0.6
    assert clear.gain.low > 0.2
    for world in protected:
        assert world.correlation.value < 0.35
        assert world.n == 6
    assert {(w.world, w.noise) for w in protected} == {
        ("one client", "as ran"),
        ("sum of 30", "off"),
        ("sum of 30", "as ran"),
    }


def test_all_worlds_share_one_blind_score_and_gains_are_paired(
    four_worlds: tuple[Reconstruction, ...],
) -> None:
    assert len({world.blind for world in four_worlds}) == 1
    for world in four_worlds:
        assert world.blind.value >= 0
        assert world.gain.value == pytest.approx(world.correlation.value - world.blind.value)
        assert world.correlation.low <= world.correlation.value <= world.correlation.high


def test_worlds_must_fit_the_targets(signal_cnn: torch.nn.Module, signals: Signals) -> None:
    with pytest.raises(InversionInvalid, match="0 worlds"):
        reconstruct(signal_cnn, np.zeros(3, dtype=np.float32), [], (signals[0][:1], signals[1][:1]), signals)
