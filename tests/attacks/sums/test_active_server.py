"""A server that departs from the protocol: imprints, and a model per client."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attacks import gradients_of
from attacks.errors import HarnessCrashed, InversionInvalid
from attacks.shadows import BatchedMlp
from attacks.sums.active_server import Imprint, Summed, probe_imprint, probe_inconsistency, probe_suppression

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def _perceptron_sum(weights: np.ndarray, x: np.ndarray, y: np.ndarray, bins: int) -> np.ndarray:
    """The sum of gradients of a perceptron 64-bins-10, as all clients together give it."""
    gradient_of = gradients_of(BatchedMlp((64, bins, 10)).module(), weights)
    total = np.zeros(len(weights))
    for start in range(0, len(x), 32):
        part = slice(start, start + 32)
        total += gradient_of(torch.from_numpy(x[part].copy()), torch.from_numpy(y[part].copy())).numpy().sum(axis=0)
    return total


def test_an_imprint_reads_examples_off_the_sum(digits: Data) -> None:
    x, y = digits
    imprint = Imprint(inputs=64, bins=512, classes=10)
    targets = slice(0, 64)  # eight clients with eight images each

    probe = probe_imprint(lambda w: _perceptron_sum(w, x[targets], y[targets], 512), imprint, x[500:900], x[targets])
    assert probe.refused is None
    assert probe.recovered > 0.6

    def noisy(weights: np.ndarray) -> np.ndarray:
        total = _perceptron_sum(weights, x[targets], y[targets], 512)
        return total + np.linalg.norm(total) / 8 * np.random.default_rng(0).normal(size=total.shape)

    assert probe_imprint(noisy, imprint, x[500:900], x[targets]).recovered == 0.0


def test_a_defence_that_refuses_is_reported(digits: Data) -> None:
    def refuse(weights: np.ndarray) -> np.ndarray:
        rows = weights[: 64 * 16].reshape(16, 64)
        if np.linalg.matrix_rank(rows) == 1:
            raise ValueError("the first layer has one direction only")
        return weights

    probe = probe_imprint(refuse, Imprint(inputs=64, bins=16, classes=10), digits[0][:50], digits[0][:4])
    assert probe.refused == "ValueError: the first layer has one direction only"
    assert (probe.recovered, probe.median_psnr) == (0.0, None)


def test_imprints_that_do_not_fit_are_refused(digits: Data) -> None:
    imprint = Imprint(inputs=64, bins=16, classes=10)
    with pytest.raises(InversionInvalid, match="reference"):
        imprint.weights(digits[0][:0])
    with pytest.raises(InversionInvalid, match="gradient of"):
        imprint.recover(np.zeros(5))
    assert imprint.recover(np.zeros(64 * 16 + 16 + 170)).shape == (0, 64)


def test_a_model_per_client_singles_one_out_unless_models_are_compared(digits: Data) -> None:
    x, y = digits
    weights = BatchedMlp((64, 32, 10)).initial(np.array([3]))[0]

    def naive(models: np.ndarray) -> np.ndarray:
        return np.sum([_perceptron_sum(models[j], x[j : j + 1], y[j : j + 1], 32) for j in range(len(models))], axis=0)

    def careful(models: np.ndarray) -> np.ndarray:
        if len({row.tobytes() for row in models}) > 1:
            raise RuntimeError("clients received different models")
        return naive(models)

    open_ = probe_inconsistency(naive, weights, (32, 64), (2, x[2]), 5)
    assert open_.recovered == 1.0
    assert open_.median_psnr is not None
    assert open_.median_psnr > 80
    honest = naive(np.tile(weights, (5, 1)))
    assert probe_inconsistency(lambda models: honest, weights, (32, 64), (2, x[2]), 5).recovered == 0.0
    closed = probe_inconsistency(careful, weights, (32, 64), (2, x[2]), 5)
    assert closed.refused == "RuntimeError: clients received different models"
    with pytest.raises(InversionInvalid, match="not one of"):
        probe_inconsistency(naive, weights, (32, 64), (7, x[2]), 5)


def _never(models: np.ndarray) -> np.ndarray:
    raise ValueError(f"could not broadcast {models.shape}")


def _mistaken(models: np.ndarray) -> np.ndarray:
    if np.abs(models).max() > 0.3:
        raise TypeError("unsupported operand type(s)")
    return models[0] if models.ndim == 2 else models


@pytest.mark.parametrize(
    ("system", "said"),
    [
        (_never, "fails at an honest model too"),
        (_mistaken, "TypeError: unsupported"),
        (lambda models: np.full(np.atleast_2d(models).shape[1], np.nan), "not finite"),
        (lambda models: np.zeros(3), r"shape \(3,\)"),
        (lambda models: {}[1], "KeyError"),
    ],
)
def test_a_harness_that_crashes_has_refused_nothing(system: Summed, said: str, digits: Data) -> None:
    x, weights = digits[0], BatchedMlp((64, 32, 10)).initial(np.array([3]))[0]
    weights[0] = 1.0
    with pytest.raises(HarnessCrashed, match=said):
        probe_imprint(system, Imprint(inputs=64, bins=16, classes=10), x[:50], x[:4])
    with pytest.raises(HarnessCrashed, match=said):
        probe_inconsistency(system, weights, (32, 64), (2, x[2]), 5)
    with pytest.raises(HarnessCrashed, match=said):
        probe_suppression(system, BatchedMlp((64, 32, 10)).module(), weights, (2, weights), 5)
