"""Folders as an auditor has them: a model of digits, who it was trained on, and who it was not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import attacks

X = (load_digits().data / 16).astype(np.float32)
Y = load_digits().target.astype(np.int64)


def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(64, 48), torch.nn.BatchNorm1d(48), torch.nn.ReLU(), torch.nn.Linear(48, 10)
    )


def trained(rows: NDArray[np.int64], *, steps: int = 150, y: NDArray[np.int64] = Y) -> torch.nn.Module:
    """A network that knows these digits by heart."""
    torch.manual_seed(1)
    module = network()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.from_numpy(X[rows])), torch.from_numpy(y[rows])).backward()
        optimiser.step()
    return module.eval()


@dataclass(frozen=True)
class Case:
    """A folder with an audit.toml; `toml` writes it anew with other lines."""

    folder: Path
    module: torch.nn.Module

    def toml(self, *lines: str, **changed: str) -> Path:
        keys = {
            "model": '"nets:network"', "checkpoints": '"model.pt"', "members": '"members.npz"',
            "nonmembers": '"others.npz"', **changed,
        }  # fmt: skip
        path = self.folder / "audit.toml"
        text = "\n".join([*(f"{key} = {value}" for key, value in keys.items() if value), *lines])
        path.write_text(text, encoding="utf-8")
        return path

    def audit(self, *lines: str, functions: dict[str, object] | None = None, **changed: str) -> dict[str, Any]:
        return attacks.audit_model(self.toml(*lines, **changed), {"nets:network": network, **(functions or {})})


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Case]:
    """`case(members, others, module)`: rows of the digits and the audited model."""

    def make(members: NDArray[np.int64], others: NDArray[np.int64], module: torch.nn.Module) -> Case:
        torch.save(module.state_dict(), tmp_path / "model.pt")
        np.savez(tmp_path / "members.npz", x=X[members], y=Y[members])
        np.savez(tmp_path / "others.npz", x=X[others], y=Y[others])
        return Case(tmp_path, module)

    return make
