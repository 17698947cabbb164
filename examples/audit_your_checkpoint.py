"""An audit of a plain PyTorch model from its files, which are made on the spot: a TOML file and one call.

On the command line the call is `secure-fcl audit-model audit.toml`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

import attacks
from evaluation.model_page import render_audit

AUDIT = """
model = "audit_your_checkpoint:network"
checkpoints = "model.pt"
members = "members.npz"
nonmembers = "others.npz"
coins = { rate = 0.5 }
shadows = { models = 6, optimiser = "adam", learning_rate = 0.01, epochs = 40 }
"""


def network() -> torch.nn.Module:
    """Return the architecture."""
    head = torch.nn.BatchNorm1d(64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    return torch.nn.Sequential(torch.nn.Linear(64, 64), *head)


def main() -> None:
    """Train on half of the digits by coin, save the files, audit them."""
    digits, coin = load_digits(), np.random.default_rng(0).random(1797) < 0.5
    x, y = (digits.data / 16).astype(np.float32), digits.target
    optimiser = torch.optim.Adam((model := network()).parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.tensor(x[coin])), torch.tensor(y[coin])).backward()
        optimiser.step()
    torch.save(model.state_dict(), "model.pt")
    for name, half in (("members.npz", coin), ("others.npz", ~coin)):
        np.savez(name, x=x[half], y=y[half])
    Path("audit.toml").write_text(AUDIT, encoding="utf-8")

    found = attacks.audit_model(Path("audit.toml"), {"audit_your_checkpoint:network": network})
    Path("report.html").write_text(render_audit(found), encoding="utf-8")
    for answer in found["answers"]:
        print(f"{answer['question']} {answer['verdict']}: {answer['said']}")


if __name__ == "__main__":
    main()
