"""Reconstruction from gradients: methods by architecture, labels, local steps, noise, exemplars of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from attacks import gradients_of
from attacks.gradients.extraction import extract_exemplars
from attacks.gradients.fidelity import fidelity, matched, psnr
from attacks.gradients.inversion import InversionSettings, invert
from attacks.gradients.labels import label_counts, label_of
from attacks.gradients.portfolio import Method, reconstruct_best
from attacks.modules.layout import last_linear
from attacks.modules.local_updates import batch_gradients_of, local_updates_of
from attacks.own_audit import weights_of
from benchmarks.attacks.common import Data, cpu, digits

SETTINGS = InversionSettings(steps=300, learning_rate=0.1, total_variation=1e-3)


def _networks() -> dict[str, torch.nn.Module]:
    def cnn(activation: type[torch.nn.Module]) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, padding=1), activation(), torch.nn.Conv2d(8, 16, 3, padding=1, stride=2),
            activation(), torch.nn.Flatten(), torch.nn.Linear(256, 10),
        )  # fmt: skip

    torch.manual_seed(0)
    mlp = [torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)]
    return {"CNN, ReLU": cnn(torch.nn.ReLU), "CNN, sigmoid": cnn(torch.nn.Sigmoid), "MLP": torch.nn.Sequential(*mlp)}


def _images(data: Data, n: int, seed: int) -> Data:
    chosen = np.random.default_rng(seed).permutation(len(data[0]))[:n]
    return data[0][chosen].reshape(-1, 1, 8, 8), data[1][chosen]


def _gradients(module: torch.nn.Module, data: Data) -> torch.Tensor:
    x, y = torch.from_numpy(data[0].copy()), torch.from_numpy(data[1].copy())
    return gradients_of(module, weights_of(module))(x, y).detach()


def methods(data: Data, console: Console) -> None:
    table = Table(
        "network", "method", "median PSNR dB", "blind dB", "gain dB, 95 %", "recovered", "CPU-s a target",
        title="one digit from its gradient, 16 targets",
    )  # fmt: skip
    x, y = _images(data, 16, 0)
    others, labels = data[0].reshape(-1, 1, 8, 8), data[1]
    blind = np.stack([others[labels == label].mean(axis=0) for label in y])
    away = np.array([not (image == x).all(axis=(1, 2, 3)).any() for image in others])
    for name, module in _networks().items():
        target = _gradients(module, (x, y))
        ways: list[tuple[str, tuple[Method, ...]]] = [(m, (m,)) for m in ("cosine", "iDLG", "DLG")]
        ways += [("analytic", ("analytic",))] if name == "MLP" else []
        ways += [("best of all", ("analytic", "cosine", "iDLG", "DLG"))]
        for label, chosen in ways:
            with cpu() as used:
                found = reconstruct_best(
                    module, weights_of(module), target, (1, 8, 8), methods=chosen, settings=SETTINGS
                )
            judged = fidelity(found.x, x, blind, others[away])
            table.add_row(
                name, label, f"{judged.median:.1f}", f"{judged.blind:.1f}",
                f"{judged.gain.value:.1f} [{judged.gain.low:.1f}, {judged.gain.high:.1f}]",
                f"{judged.recovered[0]:.2f}", f"{used.value / len(x):.2f}",
            )  # fmt: skip
    console.print(table)
    _alone((x, y), console)


def _alone(data: Data, console: Console) -> None:
    """One target after the other with half the steps: what a single reconstruction costs and reaches."""
    module, short = _networks()["CNN, ReLU"], replace(SETTINGS, steps=160)
    gradient_of, targets = gradients_of(module, weights_of(module)), _gradients(module, data)
    quality, seconds = [], []
    for number in range(len(data[0])):
        part = slice(number, number + 1)
        with cpu() as used:
            found = invert(gradient_of, targets[part], data[1][part], (1, 8, 8), short).x
        quality.append(float(psnr(found, data[0][part])[0]))
        seconds.append(used.value)
    console.print(
        f"cosine attack of {short.steps} steps on the ReLU CNN, each target alone: median {np.median(quality):.1f} dB, "
        f"{np.median(seconds):.2f} CPU-s"
    )


def noise(data: Data, console: Console) -> None:
    module, (x, y) = _networks()["CNN, ReLU"], _images(data, 8, 1)
    target = _gradients(module, (x, y))
    target = target / target.norm(dim=1, keepdim=True).clamp_min(1.0)
    draw = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    table = Table("noise multiplier", "median PSNR dB", title="gradient clipped to 1, then noise; best of cosine, iDLG")
    for sigma in (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        found = reconstruct_best(
            module, weights_of(module), target + sigma * draw, (1, 8, 8), y=y, methods=("cosine", "iDLG"),
            settings=SETTINGS,
        )  # fmt: skip
        table.add_row(f"{sigma:g}", f"{np.median(psnr(found.x, x)):.1f}")
    console.print(table)


def batches(data: Data, console: Console) -> None:
    module = _networks()["CNN, ReLU"]
    weights, head = weights_of(module), last_linear(module)
    table = Table("batch", "median PSNR dB, paired", "blind dB", title="a batch from its mean gradient, labels known")
    for size in (1, 2, 4, 8):
        own, guess = [], []
        for seed in range(4):
            x, y = _images(data, size, seed)
            update = _gradients(module, (x, y)).mean(dim=0).numpy()
            found = extract_exemplars(module, weights, update, y, (1, 8, 8), SETTINGS)
            own += psnr(found[matched(found, x)], x).tolist()
            means = np.stack([data[0][data[1] == label].mean(axis=0).reshape(1, 8, 8) for label in y])
            guess += psnr(means, x).tolist()
        table.add_row(str(size), f"{np.median(own):.1f}", f"{np.median(guess):.1f}")
    console.print(table)
    singles = head.of(_gradients(module, _images(data, 400, 5)).numpy())[1]
    exact = np.mean([label_of(row) == label for row, label in zip(singles, _images(data, 400, 5)[1], strict=True)])
    wrong, total = 0, 0
    for seed in range(20):
        x, y = _images(data, 64, seed)
        bias = head.of(_gradients(module, (x, y)).numpy())[1].sum(axis=0)
        with torch.no_grad():
            mean = module(torch.from_numpy(_images(data, 200, 99)[0])).softmax(dim=1).mean(dim=0).numpy()
        wrong += int(np.abs(label_counts(bias, mean, 64) - np.bincount(y, minlength=10)).sum()) // 2
        total += 64
    console.print(f"labels: of one example {exact:.1%} right; counts of batches of 64: {1 - wrong / total:.2%} right")
    x, y = _images(data, 8, 3)
    x, y = x.reshape(4, 2, 1, 8, 8), y.reshape(4, 2)
    update_of = local_updates_of(module, weights, learning_rate=0.05, steps=5)
    target = update_of(torch.from_numpy(x), torch.from_numpy(y)).detach()
    for name, way in (("unrolled", update_of), ("taken for one gradient", batch_gradients_of(module, weights))):
        found = invert(way, target, y, (2, 1, 8, 8), SETTINGS).x
        pairs = [psnr(f[matched(f, t)], t) for f, t in zip(found, x, strict=True)]
        console.print(f"two digits, five local steps, {name}: median {np.median(np.concatenate(pairs)):.1f} dB")


def main() -> None:
    data, console = digits(), Console(width=130)
    methods(data, console)
    noise(data, console)
    batches(data, console)
