from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from attacks import gradients_of
from attacks.errors import InversionInvalid
from attacks.gradients.inversion import InversionSettings, analytic_linear, invert
from attacks.gradients.reconstruction import centred_correlation

Flat = Callable[[torch.nn.Module], np.ndarray]
Signals = tuple[np.ndarray, np.ndarray]


def test_a_linear_layer_gives_its_input_away_exactly() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 10)
    x = torch.tensor(load_digits().data[:1], dtype=torch.float32)
    loss = torch.nn.functional.cross_entropy(layer(x), torch.tensor([3]))
    weight, bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
    assert analytic_linear(weight.numpy(), bias.numpy()) == pytest.approx(x[0].numpy(), abs=1e-3)


def test_a_sum_of_two_gives_their_weighted_mean_and_not_either() -> None:
    errors, inputs = np.array([[1.0, -1.0], [3.0, -3.0]]), np.array([[1.0, 0.0, 2.0], [5.0, 4.0, -2.0]])
    found = analytic_linear(errors.T @ inputs, errors.sum(axis=0))
    assert found == pytest.approx((inputs[0] + 3 * inputs[1]) / 4)


@pytest.mark.parametrize(
    ("weight", "bias"),
    [(np.zeros((2, 3)), np.zeros(2)), (np.ones((2, 3)), np.ones(3)), (np.full((1, 2), np.nan), np.ones(1))],
)
def test_nothing_to_solve_is_refused(weight: np.ndarray, bias: np.ndarray) -> None:
    with pytest.raises(InversionInvalid):
        analytic_linear(weight, bias)


def test_signals_are_rebuilt_from_their_own_gradients(
    signal_cnn: torch.nn.Module, weights_of: Flat, signals: Signals
) -> None:
    x, y = signals[0][:6], signals[1][:6]
    gradient_of = gradients_of(signal_cnn, weights_of(signal_cnn))
    target = gradient_of(torch.tensor(x), torch.tensor(y)).detach()
    found = invert(gradient_of, target, y, (3, 32), InversionSettings(steps=200, restarts=2))
    assert found.x.shape == x.shape
    assert np.median(centred_correlation(found.x, x)) > 0.7
    shuffled = np.roll(x, 1, axis=0)
    assert np.median(centred_correlation(found.x, shuffled)) < 0.4


def test_images_are_rebuilt_too(weights_of: Flat) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(12 * 64, 10),
    )
    data = load_digits()
    x, y = (data.images[:4, None] / 16).astype(np.float32), data.target[:4]
    gradient_of = gradients_of(net, weights_of(net))
    target = gradient_of(torch.tensor(x), torch.tensor(y)).detach()
    found = invert(gradient_of, target, y, (1, 8, 8), InversionSettings(steps=200))
    assert np.median(centred_correlation(found.x, x)) > 0.8


def test_restarts_keep_the_best_by_the_attacks_own_objective(
    signal_cnn: torch.nn.Module, weights_of: Flat, signals: Signals
) -> None:
    x, y = signals[0][:2], signals[1][:2]
    gradient_of = gradients_of(signal_cnn, weights_of(signal_cnn))
    target = gradient_of(torch.tensor(x), torch.tensor(y)).detach()
    one = invert(gradient_of, target, y, (3, 32), InversionSettings(steps=30, restarts=1))
    # The first restart of several starts where a single one does, so more restarts can only do better.
    four = invert(gradient_of, target, y, (3, 32), InversionSettings(steps=30, restarts=4))
    assert (four.objective <= one.objective + 1e-4).all()
    assert four.objective.sum() < one.objective.sum()


def test_an_inversion_follows_its_seed(signal_cnn: torch.nn.Module, weights_of: Flat, signals: Signals) -> None:
    gradient_of = gradients_of(signal_cnn, weights_of(signal_cnn))
    target = gradient_of(torch.tensor(signals[0][:1]), torch.tensor(signals[1][:1])).detach()

    def run(seed: int) -> np.ndarray:
        return invert(gradient_of, target, signals[1][:1], (3, 32), InversionSettings(steps=5, seed=seed)).x

    assert np.array_equal(run(0), run(0))
    assert not np.array_equal(run(0), run(1))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"restarts": 0}, {"learning_rate": -1.0}, {"start_scale": np.nan}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InversionInvalid):
        InversionSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "labels"), [(torch.ones(3), 1), (torch.ones(2, 3), 1), (torch.full((1, 3), float("nan")), 1)]
)
def test_malformed_targets_are_refused(target: torch.Tensor, labels: int) -> None:
    with pytest.raises(InversionInvalid):
        invert(lambda x, y: x, target, np.zeros(labels, dtype=int), (3,))
