from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks import gradients_of
from attacks.errors import InversionInvalid
from attacks.gradients.worlds import build_gradient_worlds, clip_rows


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_and_keeps_the_direction(row: list[float], norm: float) -> None:
    g = torch.tensor([row], dtype=torch.float64)
    clipped = clip_rows(g, norm)
    length = float(g.norm())
    assert float(clipped.norm()) <= norm * (1 + 1e-9)
    assert float(clipped.norm()) == pytest.approx(min(length, norm), rel=1e-9)
    assert torch.allclose(clipped * length, g * float(clipped.norm()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_clip_norms_are_refused(norm: float) -> None:
    with pytest.raises(InversionInvalid, match="clip norm"):
        clip_rows(torch.ones(1, 2), norm)


def test_gradients_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InversionInvalid, match="diverged"):
        clip_rows(torch.tensor([[float("nan"), 1.0]]), 1.0)


def identity(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


def test_four_worlds_by_hand() -> None:
    targets = (np.array([[3.0, 4.0], [0.3, 0.4]]), np.array([0, 0]))
    others = (np.array([[0.0, -1.0]]), np.array([0]))
    one, one_noisy, total, total_noisy = build_gradient_worlds(
        identity, targets, others, clip_norm=1.0, n_clients=3, noise_one=2.0, noise_sum=0.5, seed=7
    )
    assert torch.allclose(one.gradients, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    assert torch.allclose(total.gradients, torch.tensor([[0.6, -1.2], [0.3, -1.6]]))
    assert [(w.world, w.noise) for w in (one, one_noisy, total, total_noisy)] == [
        ("one client", "off"),
        ("one client", "as ran"),
        ("sum of 3", "off"),
        ("sum of 3", "as ran"),
    ]
    direction = (one_noisy.gradients - one.gradients) / 2.0
    assert torch.allclose((total_noisy.gradients - total.gradients) / 0.5, direction, atol=1e-5)


def test_noise_has_the_given_deviation() -> None:
    targets = (np.zeros((4, 20_000)), np.zeros(4, dtype=int))
    worlds = build_gradient_worlds(
        identity, targets, targets, clip_norm=1.0, n_clients=1, noise_one=0.3, noise_sum=1.7, seed=0
    )
    assert float(worlds[1].gradients.std()) == pytest.approx(0.3, rel=0.02)
    assert float(worlds[3].gradients.std()) == pytest.approx(1.7, rel=0.02)


def test_worlds_follow_their_seed(
    signal_cnn: torch.nn.Module,
    weights_of: Callable[[torch.nn.Module], np.ndarray],
    signals: tuple[np.ndarray, np.ndarray],
) -> None:
    gradient_of = gradients_of(signal_cnn, weights_of(signal_cnn))

    def summed(seed: int) -> torch.Tensor:
        return build_gradient_worlds(
            gradient_of,
            (signals[0][:2], signals[1][:2]),
            signals,
            clip_norm=1.0,
            n_clients=8,
            noise_one=1.0,
            noise_sum=1.0,
            seed=seed,
        )[3].gradients

    assert torch.equal(summed(1), summed(1))
    assert not torch.equal(summed(1), summed(2))
    assert not summed(1).requires_grad


@pytest.mark.parametrize(
    ("n", "pool", "clients", "noise"), [(0, 3, 2, 1.0), (2, 0, 2, 1.0), (2, 3, 0, 1.0), (2, 3, 2, -1.0)]
)
def test_impossible_worlds_are_refused(n: int, pool: int, clients: int, noise: float) -> None:
    def zeros(count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((count, 2)), np.zeros(count, dtype=int)

    with pytest.raises(InversionInvalid):
        build_gradient_worlds(
            identity,
            zeros(n),
            zeros(pool),
            clip_norm=1.0,
            n_clients=clients,
            noise_one=noise,
            noise_sum=1.0,
            seed=0,
        )
