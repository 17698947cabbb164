from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attacks import gradients_of, losses_of
from attacks.errors import LossesInvalid
from attacks.modules.functions import flat_weights
from attacks.modules.local_updates import batch_gradients_of
from attacks.shadows import trainer_for

Flat = Callable[[torch.nn.Module], NDArray[np.float32]]


def test_losses_are_the_modules_cross_entropies(
    signal_cnn: torch.nn.Module, weights_of: Flat, signals: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = np.tile(signals[0], (3, 1, 1)), np.tile(signals[1], 3)  # 900 examples: more than one chunk
    expected = torch.nn.functional.cross_entropy(signal_cnn(torch.tensor(x)), torch.tensor(y), reduction="none")
    got = losses_of(signal_cnn)(weights_of(signal_cnn), x, y)
    assert got == pytest.approx(expected.detach().numpy(), abs=1e-5)
    assert losses_of(signal_cnn)(weights_of(signal_cnn), x[:0], y[:0]).shape == (0,)


def test_other_weights_give_other_losses_and_leave_the_module_alone(
    signal_cnn: torch.nn.Module, weights_of: Flat, signals: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = signals
    before = weights_of(signal_cnn)
    signal_cnn.train()
    zero = losses_of(signal_cnn)(np.zeros_like(before), x, y)
    assert zero == pytest.approx(np.full(len(x), np.log(4)), abs=1e-6)
    assert np.array_equal(weights_of(signal_cnn), before)
    assert signal_cnn.training


def test_gradient_rows_are_autograds(
    signal_cnn: torch.nn.Module, weights_of: Flat, signals: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = torch.tensor(signals[0][:3]), torch.tensor(signals[1][:3])
    rows = gradients_of(signal_cnn, weights_of(signal_cnn))(x, y)
    for i in range(3):
        loss = torch.nn.functional.cross_entropy(signal_cnn(x[i : i + 1]), y[i : i + 1])
        gradient = torch.autograd.grad(loss, list(signal_cnn.parameters()))
        assert torch.allclose(rows[i], torch.cat([g.reshape(-1) for g in gradient]), atol=1e-6)


def test_gradients_are_differentiable_in_the_examples(
    signal_cnn: torch.nn.Module, weights_of: Flat, signals: tuple[np.ndarray, np.ndarray]
) -> None:
    x = torch.tensor(signals[0][:1], requires_grad=True)
    rows = gradients_of(signal_cnn, weights_of(signal_cnn))(x, torch.tensor(signals[1][:1]))
    (second,) = torch.autograd.grad(rows.square().sum(), [x])
    assert float(second.abs().sum()) > 0


def test_wrong_lengths_are_refused() -> None:
    x, y = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
    with pytest.raises(LossesInvalid, match=r"\(7,\)"):
        losses_of(torch.nn.Linear(3, 2))(np.zeros(7, np.float32), x, y)
    with pytest.raises(LossesInvalid):
        gradients_of(torch.nn.Linear(3, 2), np.zeros(1, np.float32))
    normed = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    parameters = torch.nn.utils.parameters_to_vector(normed.parameters()).detach().numpy()
    # Running statistics are a part of what is audited: a vector without them is another model.
    with pytest.raises(LossesInvalid, match=r"\(20,\)"):
        losses_of(normed)(parameters, x, y)


def test_weights_of_half_the_bits_are_taken() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    exact = flat_weights(module)
    half = flat_weights(module.bfloat16())
    assert half.dtype == np.float32
    assert np.abs(half - exact).max() < 2.0**-8


def _normed() -> torch.nn.Module:
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    module(3.0 + torch.randn(64, 4))
    return module


def test_batchnorm_is_evaluated_with_its_running_statistics() -> None:
    module, other = _normed(), _normed()
    with torch.no_grad():
        other[1].running_mean.add_(5.0)
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    expected = torch.nn.functional.cross_entropy(module.eval()(x), y, reduction="none").detach().numpy()
    # By the module with the other statistics: those in the vector count.
    assert np.allclose(losses_of(other)(flat_weights(module), x.numpy(), y.numpy()), expected, atol=1e-5)
    assert not np.allclose(losses_of(other)(flat_weights(other), x.numpy(), y.numpy()), expected, atol=0.1)
    torch.nn.functional.cross_entropy(module(x[:1]), y[:1]).backward()
    gradient = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    assert torch.allclose(gradients_of(other.train(), flat_weights(module))(x[:1], y[:1])[0], gradient, atol=1e-5)
    assert other.training


def test_training_with_running_statistics_is_refused() -> None:
    module = _normed()
    with pytest.raises(LossesInvalid, match="GroupNorm"):
        batch_gradients_of(module, flat_weights(module))
    with pytest.raises(LossesInvalid, match="GroupNorm"):
        trainer_for(module)


def test_constant_buffers_are_used() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(0.0))
            self.linear = torch.nn.Linear(3, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x * self.scale)

    loss = losses_of(Scaled())(np.ones(6, np.float32), np.ones((1, 3), np.float32), np.zeros(1, np.int64))
    assert loss == pytest.approx([np.log(2)])
