from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attacks import gradients_of
from attacks.errors import InversionInvalid
from attacks.gradients.extraction import extract_exemplars, judge_extraction
from attacks.gradients.fidelity import fidelity, matched, psnr
from attacks.gradients.inversion import InversionSettings, invert
from attacks.gradients.labels import label_counts, label_of
from attacks.gradients.polish import polish
from attacks.gradients.portfolio import match_gradients, reconstruct_best
from attacks.modules.layout import first_linear, last_linear
from attacks.modules.local_updates import batch_gradients_of, local_updates_of
from attacks.own_audit import weights_of

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
COSINE = InversionSettings(steps=300, learning_rate=0.1, total_variation=1e-3)


def _images(digits: Data, n: int, seed: int = 0) -> Data:
    chosen = np.random.default_rng(seed).permutation(1797)[:n]
    return digits[0][chosen].reshape(-1, 1, 8, 8), digits[1][chosen]


def _gradients(module: torch.nn.Module, data: Data) -> torch.Tensor:
    rows = gradients_of(module, weights_of(module))(torch.from_numpy(data[0].copy()), torch.from_numpy(data[1].copy()))
    return rows.detach()


def test_one_digit_from_a_relu_cnn(digits: Data, digit_cnn: torch.nn.Module) -> None:
    """The known leak: at least 40 dB at the median by the cosine attack."""
    x, y = _images(digits, 6)
    found = invert(gradients_of(digit_cnn, weights_of(digit_cnn)), _gradients(digit_cnn, (x, y)), y, (1, 8, 8), COSINE)
    assert np.median(psnr(found.x, x)) >= 40


def test_the_linear_layer_is_exact_and_wins(digits: Data) -> None:
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    x, y = _images(digits, 3)
    best = reconstruct_best(module, weights_of(module), _gradients(module, (x, y)), (1, 8, 8), settings=COSINE)
    assert (psnr(best.x, x) > 100).all()
    assert best.method == ("analytic",) * 3
    assert np.array_equal(best.y, y)


def test_lbfgs_wins_where_activations_are_smooth(digits: Data, sigmoid_cnn: torch.nn.Module) -> None:
    x, y = _images(digits, 2)
    target = _gradients(sigmoid_cnn, (x, y))
    best = reconstruct_best(
        sigmoid_cnn, weights_of(sigmoid_cnn), target, (1, 8, 8), methods=("cosine", "iDLG", "DLG"), settings=COSINE
    )
    assert set(best.method) <= {"iDLG", "DLG"}
    assert np.median(psnr(best.x, x)) > 40
    assert np.array_equal(best.y, y)
    cosine = invert(gradients_of(sigmoid_cnn, weights_of(sigmoid_cnn)), target, y, (1, 8, 8), COSINE)
    assert np.median(psnr(cosine.x, x)) < np.median(psnr(best.x, x)) - 20


def _cnn(activation: type[torch.nn.Module]) -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), activation(), torch.nn.Conv2d(8, 8, 3, padding=1), activation(),
        torch.nn.Flatten(), torch.nn.Linear(512, 10),
    )  # fmt: skip


def _windows() -> tuple[torch.nn.Module, NDArray[np.float32], NDArray[np.int64]]:
    """A network of two strided convolutions, whose gradient hardly sees some directions of smooth signals."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(3, 12, 5, stride=2), torch.nn.Tanh(), torch.nn.Conv1d(12, 24, 5, stride=2), torch.nn.Tanh(),
        torch.nn.Flatten(), torch.nn.Linear(24 * 13, 6),
    )  # fmt: skip
    time = np.linspace(0, 2 * np.pi, 64)
    x = np.stack([[np.sin(k * time + c) * 0.5 for c in range(3)] for k in (0.5, 1, 2)]).astype(np.float32)
    return module, x, np.array([0, 3, 5])


@pytest.mark.parametrize(
    ("network", "noise"),
    [("windows", 0.0), ("tanh", 0.0), ("relu", 0.0), ("perceptron", 0.0), ("perceptron", 0.3), ("windows", 0.3)],
)
def test_the_portfolio_is_never_worse_than_its_best_member(network: str, noise: float, digits: Data) -> None:
    if network == "windows":
        module, x, y = _windows()
    else:
        x, y = _images(digits, 2, seed=4)
        flat = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
        )
        module = {"tanh": _cnn(torch.nn.Tanh), "relu": _cnn(torch.nn.ReLU), "perceptron": flat}[network]
    target = _gradients(module, (x, y))
    scale = noise * target.norm(dim=1, keepdim=True) / target.shape[1] ** 0.5
    target = target + scale * torch.randn(target.shape, generator=torch.Generator().manual_seed(2))
    methods = ("analytic", "cosine", "iDLG", "DLG") if network == "perceptron" else ("cosine", "iDLG", "DLG")
    weights, shape = weights_of(module), x.shape[1:]
    both = reconstruct_best(module, weights, target, shape, y=y, methods=methods, settings=COSINE)
    for method in methods:
        alone = reconstruct_best(module, weights, target, shape, y=y, methods=(method,), settings=COSINE)
        # From 60 dB on both are the example itself. Under noise a decibel is within what luck decides.
        least = np.minimum(psnr(alone.x, x, peak=2.0), 60.0) - (1.0 if noise else 0.1)
        assert (psnr(both.x, x, peak=2.0) >= least).all(), method
        assert (both.mismatch[method] >= 0).all()


def test_a_result_is_polished_to_the_precision_of_the_gradient(digits: Data) -> None:
    module = _cnn(torch.nn.ReLU)
    x, y = _images(digits, 4, seed=7)
    target = _gradients(module, (x, y))
    rough = invert(gradients_of(module, weights_of(module)), target, y, (1, 8, 8), COSINE).x
    done = polish(gradients_of(module, weights_of(module), double=True), rough, y, target)
    assert np.median(psnr(rough, x)) < 70
    assert (psnr(done, x) > 100).all()
    # A clipped gradient says as much: only its direction is matched.
    clipped = polish(gradients_of(module, weights_of(module), double=True), rough, y, 1e-3 * target)
    assert (psnr(clipped, x) > 100).all()


def test_dlg_finds_the_label_too(digits: Data, sigmoid_cnn: torch.nn.Module) -> None:
    x, y = _images(digits, 1)
    target = _gradients(sigmoid_cnn, (x, y))[0]
    gradient_of = gradients_of(sigmoid_cnn, weights_of(sigmoid_cnn))
    found, label = match_gradients(gradient_of, target, (1, 8, 8), y=None, classes=10)
    assert label == y[0]
    assert psnr(found[None], x)[0] > 30


def test_noise_defeats_every_method(digits: Data, digit_cnn: torch.nn.Module) -> None:
    x, y = _images(digits, 2)
    target = _gradients(digit_cnn, (x, y))
    noisy = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    best = reconstruct_best(
        digit_cnn, weights_of(digit_cnn), noisy, (1, 8, 8), y=y, methods=("cosine", "iDLG"), settings=COSINE
    )
    assert (psnr(best.x, x) < 15).all()


def test_signals_are_reconstructed_as_images_are(signal_cnn: torch.nn.Module, signals: Data) -> None:
    x, y = signals[0][:2] - signals[0].mean(axis=(0, 2), keepdims=True), signals[1][:2]
    target = _gradients(signal_cnn, (x, y))
    best = reconstruct_best(signal_cnn, weights_of(signal_cnn), target, (3, 32), methods=("cosine", "iDLG"))
    assert np.median(psnr(best.x, x, peak=2.0)) > 20


def test_methods_that_do_not_apply_are_refused(digits: Data, digit_cnn: torch.nn.Module) -> None:
    target = _gradients(digit_cnn, _images(digits, 1))
    with pytest.raises(InversionInvalid, match="applies"):
        reconstruct_best(digit_cnn, weights_of(digit_cnn), target, (1, 8, 8), methods=("analytic",))
    with pytest.raises(InversionInvalid, match="finite vector"):
        match_gradients(gradients_of(digit_cnn, weights_of(digit_cnn)), target, (1, 8, 8), y=0, classes=10)


def test_layouts(digit_cnn: torch.nn.Module) -> None:
    head = last_linear(digit_cnn)
    weight, bias = head.of(weights_of(digit_cnn))
    assert np.array_equal(weight, digit_cnn[-1].weight.detach().numpy())
    assert np.array_equal(bias, digit_cnn[-1].bias.detach().numpy())
    assert first_linear(digit_cnn) is None
    plain = torch.nn.Sequential(torch.nn.Linear(4, 3))
    entry = first_linear(plain)
    assert entry is not None
    assert (entry.outputs, entry.inputs) == (3, 4)
    with pytest.raises(InversionInvalid, match="linear layer"):
        last_linear(torch.nn.Conv2d(1, 1, 1))


def test_single_labels_are_exact_at_any_scale(digits: Data, digit_cnn: torch.nn.Module) -> None:
    data = _images(digits, 40)
    bias = last_linear(digit_cnn).of(_gradients(digit_cnn, data).numpy())[1]
    assert [label_of(row) for row in bias] == data[1].tolist()
    assert [label_of(1e-3 * row) for row in bias] == data[1].tolist()
    with pytest.raises(InversionInvalid):
        label_of(np.array([np.nan]))


def test_label_counts_of_a_batch(digits: Data, digit_cnn: torch.nn.Module) -> None:
    data, others = _images(digits, 64), _images(digits, 200, seed=9)
    total = last_linear(digit_cnn).of(_gradients(digit_cnn, data).numpy())[1].sum(axis=0)
    with torch.no_grad():
        mean = digit_cnn(torch.from_numpy(others[0])).softmax(dim=1).mean(dim=0).numpy()
    counts = label_counts(total, mean, 64)
    truth = np.bincount(data[1], minlength=10)
    assert counts.sum() == 64
    assert np.abs(counts - truth).sum() <= 2
    exact = label_counts(np.array([0.5, -0.5]), np.array([0.75, 0.25]), 2)
    assert exact.tolist() == [1, 1]
    with pytest.raises(InversionInvalid, match="alike"):
        label_counts(np.zeros(3), np.zeros(2), 4)


def test_several_local_steps_are_unrolled(digits: Data, digit_cnn: torch.nn.Module) -> None:
    x, y = _images(digits, 2, seed=1)
    x, y = x.reshape(1, 2, 1, 8, 8), y.reshape(1, 2)
    weights = weights_of(digit_cnn)
    update_of = local_updates_of(digit_cnn, weights, learning_rate=0.05, steps=4)
    target = update_of(torch.from_numpy(x), torch.from_numpy(y)).detach()
    settings = InversionSettings(steps=200, total_variation=1e-3)
    knowing = invert(update_of, target, y, (2, 1, 8, 8), settings).x
    as_one = invert(batch_gradients_of(digit_cnn, weights), target, y, (2, 1, 8, 8), settings).x

    def quality(found: np.ndarray) -> float:
        pairs = [psnr(f[matched(f, t)], t) for f, t in zip(found, x, strict=True)]
        return float(np.median(np.concatenate(pairs)))

    assert quality(knowing) > 24
    assert quality(knowing) > quality(as_one) + 8


def test_one_local_step_is_the_batch_gradient(digits: Data, digit_cnn: torch.nn.Module) -> None:
    x, y = _images(digits, 3)
    weights = weights_of(digit_cnn)
    inputs = torch.from_numpy(x)[None], torch.from_numpy(y)[None]
    mean = batch_gradients_of(digit_cnn, weights)(*inputs)
    assert torch.allclose(mean[0], _gradients(digit_cnn, (x, y)).mean(dim=0), atol=1e-6)
    one = local_updates_of(digit_cnn, weights, learning_rate=0.5, steps=1)(*inputs)
    assert torch.allclose(one, 0.5 * mean, atol=1e-5)
    with pytest.raises(InversionInvalid, match="positive"):
        local_updates_of(digit_cnn, weights, learning_rate=0.0, steps=1)


def test_exemplars_come_out_of_a_small_batch(digits: Data, digit_cnn: torch.nn.Module) -> None:
    """Two batches of one new and one replayed example each; the replayed one is judged."""
    weights, everyone = weights_of(digit_cnn), (digits[0].reshape(-1, 1, 8, 8), digits[1])
    judged = []
    for seed in (1, 2):
        x, y = _images(digits, 2, seed)
        update = _gradients(digit_cnn, (x, y)).mean(dim=0).numpy()
        found = extract_exemplars(digit_cnn, weights, update, y, (1, 8, 8), COSINE)
        blind = everyone[0][everyone[1] == y[1]].mean(axis=0)[None]
        away = ~(everyone[0] == x[1]).all(axis=(1, 2, 3))
        judged.append(judge_extraction(found, x[1:], blind, everyone[0][away]))
    assert np.median([j.median for j in judged]) > 20
    assert np.median([j.median - j.blind for j in judged]) > 6
    assert sum(j.identified[0] for j in judged) >= 1
    x, y = _images(digits, 2)
    update = np.zeros(len(weights))
    with pytest.raises(InversionInvalid, match="labels"):
        extract_exemplars(digit_cnn, weights, update, y[:0], (1, 8, 8))


def test_decibels_by_hand() -> None:
    truth = np.zeros((2, 4))
    assert psnr(truth + 0.1, truth).tolist() == pytest.approx([20.0, 20.0])
    assert np.isinf(psnr(truth, truth)).all()
    assert psnr(truth + 0.1, truth, peak=10.0)[0] == pytest.approx(40.0)
    for bad in (truth[:1], truth + np.nan):
        with pytest.raises(InversionInvalid):
            psnr(bad, truth)


def test_matching_undoes_a_permutation() -> None:
    truth = np.random.default_rng(0).normal(size=(6, 5))
    order = np.random.default_rng(1).permutation(6)
    assert np.array_equal(truth[order][matched(truth[order], truth)], truth)
    with pytest.raises(InversionInvalid, match="matched"):
        matched(truth[:2], truth)


def test_fidelity_of_blind_guesses_is_no_gain() -> None:
    random = np.random.default_rng(0)
    truth, pool = random.random((20, 9)), random.random((50, 9))
    blind = np.full((20, 9), 0.5)
    judged = fidelity(blind, truth, blind, pool)
    assert judged.gain.value == 0.0
    assert judged.recovered[0] == 0.0
    perfect = fidelity(truth, truth, blind, pool)
    assert perfect.recovered[0] == perfect.identified[0] == 1.0
    assert perfect.gain.low > 40
    with pytest.raises(InversionInvalid, match="targets"):
        fidelity(blind[:0], truth[:0], blind[:0], pool)
