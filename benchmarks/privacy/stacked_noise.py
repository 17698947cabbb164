"""What cipher noise adds to stacked DP-SGD, beside a plain loop, Opacus and the noise as it was made before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from rich.console import Console

from benchmarks.privacy.page import Section, save_section
from benchmarks.timing import best
from crypto.keys.randomness import KeyedStream
from privacy import DpSgdPlan, DpSgdTrainer, RandomBytes, Stratum, system_bytes
from privacy.randomness import key_stream, uniforms
from privacy.secure_gaussian import release_noise
from privacy.stacked import SecureNoise, StackedTrainer
from privacy.stacked.noise import Fill
from secure_fcl.strategies.gradient.models import to_vector

CLIENTS, STEPS, BATCH, TRIES = 8, 4, 16, 7


class EarlierNoise:
    """The same numbers as `SecureNoise`, made as in the build before: block after block through new arrays."""

    def __call__(self, random: RandomBytes, /) -> Fill:
        """See `NoiseSource`."""
        stream = Cipher(algorithms.AES256(random(32)), modes.CTR(bytes(16))).encryptor()

        def fill(parts: Sequence[torch.Tensor], std: float) -> None:
            sizes = [part.numel() for part in parts]
            noise = earlier(std, sum(sizes), lambda n: stream.update(bytes(n)))
            for part, own in zip(parts, torch.split(noise, sizes), strict=True):
                part.copy_(own.view(part.shape))

        return fill


def earlier(std: float, count: int, random: RandomBytes) -> torch.Tensor:
    """Return `release_noise` as it was made before."""

    def term(scale: float) -> torch.Tensor:
        out = torch.empty(count, dtype=torch.float64)
        for part in torch.split(out, 1 << 16):
            part.copy_(torch.from_numpy(uniforms(random, (part.numel(),))))
            part.mul_(2.0).sub_(1.0).erfinv_()
        return out.mul_(math.sqrt(2.0) * scale)

    return term(std * math.sqrt(0.5)).add_(term(std * math.sqrt(0.5)))


def main() -> None:
    """Print a client-step's milliseconds, and nanoseconds of one normal by what they go to."""
    torch.set_num_threads(1)
    made = Section("stacked_noise", [_steps(), _normals()])
    save_section(made)
    Console().print(made.text())


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10))


def _steps() -> tuple[str, list[str], list[list[str]]]:
    rng = np.random.default_rng(0)
    x = [torch.from_numpy(rng.normal(size=(BATCH, 784)).astype(np.float32)) for _ in range(CLIENTS)]
    y = [torch.from_numpy(rng.integers(0, 10, size=BATCH)) for _ in range(CLIENTS)]
    strata = [[Stratum(x=a, y=b, q=1.0)] for a, b in zip(x, y, strict=True)]
    model = _model()
    weights = torch.from_numpy(to_vector(model)).clone()
    noisy, quiet = (
        DpSgdPlan(steps=STEPS, denominator=BATCH, clipping_norm=1.0, noise_multiplier=s, learning_rate=0.1)
        for s in (1.0, 0.0)
    )
    hooks, ghost = DpSgdTrainer(_model()), DpSgdTrainer(_model(), "ghost")
    sources = [KeyedStream(bytes([k]) * 32) for k in range(CLIENTS)]
    before, now, none = (
        StackedTrainer(_model(), EarlierNoise()),
        StackedTrainer(_model(), SecureNoise()),
        StackedTrainer(_model()),
    )

    def plain() -> None:
        for a, b in zip(x, y, strict=True):
            torch.nn.utils.vector_to_parameters(weights.clone(), model.parameters())
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(STEPS):
                optimizer.zero_grad()
                torch.autograd.backward(torch.nn.functional.cross_entropy(model(a), b))
                optimizer.step()

    runs = {
        "plain SGD, one by one": plain,
        "Opacus, hooks": lambda: [hooks.visit(weights, s, noisy, system_bytes) for s in strata],
        "Opacus, ghost": lambda: [ghost.visit(weights, s, noisy, system_bytes) for s in strata],
        "stacked, cipher noise as before": lambda: before.visit(weights, strata, noisy, sources),
        "stacked, cipher noise": lambda: now.visit(weights, strata, noisy, sources),
        "stacked, no noise": lambda: none.visit(weights, strata, quiet, sources),
    }
    spent = {name: 1e3 * best(run, TRIES) / (CLIENTS * STEPS) for name, run in runs.items()}
    first = next(iter(spent.values()))
    rows = [[name, f"{ms:.2f}", f"{ms / first:.2f}"] for name, ms in spent.items()]
    return (f"MLP 784-128-10, {CLIENTS} clients, batches of {BATCH}:", ["training", "ms a client-step", "times"], rows)


def _normals() -> tuple[str, list[str], list[list[str]]]:
    count = 101_770
    stream, room = key_stream(system_bytes), torch.rand(1 << 15, dtype=torch.float64) * 1.9 - 0.95
    out = torch.empty_like(room)

    def keys() -> None:
        for _ in range(2 * count // len(room)):
            stream(8 * len(room))

    def inversion() -> None:
        for _ in range(2 * count // len(room)):
            torch.erfinv(room, out=out)

    whole = 2 * count // len(room) * len(room) / 2
    ns = [
        1e9 * best(lambda: earlier(1.0, count, key_stream(system_bytes)), TRIES) / count,
        1e9 * best(lambda: release_noise(1.0, (count,), stream), TRIES) / count,
        1e9 * best(keys, TRIES) / whole,
        1e9 * best(inversion, TRIES) / whole,
    ]
    rest = ns[1] - ns[2] - ns[3]
    names = (
        "as before",
        "now",
        "of these the cipher, 16 bytes",
        "two inverses of the error function",
        "memory traffic and calls",
    )
    rows = [[name, f"{value:.1f}"] for name, value in zip(names, [*ns, rest], strict=True)]
    return ("One normal of a release:", ["", "ns"], rows)


if __name__ == "__main__":
    main()
