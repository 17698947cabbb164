from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attacks import Candidates
from attacks.controls.memorised import ControlWorld, membership_world, retained_world


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_candidates() -> Callable[..., Candidates]:
    def make(n: int, *, task: Any = 0, y: Any = 0, cluster: Any = None, seed: int = 0) -> Candidates:
        x = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
        blocks = np.arange(n) if cluster is None else np.asarray(cluster)
        return Candidates(x, np.broadcast_to(y, n), blocks, np.broadcast_to(task, n))

    return make


@pytest.fixture(scope="session")
def member_world() -> ControlWorld:
    return membership_world(3)


@pytest.fixture(scope="session")
def replay_world() -> ControlWorld:
    return retained_world(3)


def _flat(module: torch.nn.Module) -> NDArray[np.float32]:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy().copy()


@pytest.fixture(scope="session")
def weights_of() -> Callable[[torch.nn.Module], NDArray[np.float32]]:
    return _flat


@pytest.fixture(scope="session")
def signal_cnn() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(3, 16, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.AvgPool1d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 16, 4),
    )


def make_signals(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n, 3, 32): a sinusoid per label at random phases, on a large constant offset ("gravity")."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, size=n)
    time = np.arange(32)[None, None, :]
    phase = random.uniform(0, 2 * np.pi, size=(n, 3, 1))
    wave = np.sin(2 * np.pi * (y[:, None, None] + 1) * time / 32 + phase)
    noise = 0.1 * random.normal(size=wave.shape)
    return (wave + noise + np.array([5.0, 0.0, -2.0])[None, :, None]).astype(np.float32), y


@pytest.fixture(scope="session")
def signals() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return make_signals(300, 1)


@pytest.fixture(scope="session")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """x (1797, 64) in [0, 1] and y."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target.astype(np.int64)


def relu_cnn(activation: type[torch.nn.Module] = torch.nn.ReLU) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        activation(),
        torch.nn.Conv2d(8, 16, 3, padding=1, stride=2),
        activation(),
        torch.nn.Flatten(),
        torch.nn.Linear(256, 10),
    )


@pytest.fixture(scope="session")
def digit_cnn() -> torch.nn.Module:
    return relu_cnn()


@pytest.fixture(scope="session")
def sigmoid_cnn() -> torch.nn.Module:
    return relu_cnn(torch.nn.Sigmoid)
