"""Membership inference on your own torch model with `attacks` alone: an overfit network on scikit-learn's digits.

Members are chosen by fair coins from one pool, so that nothing but training tells them from non-members.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import attacks


def train(x: NDArray[np.generic], y: NDArray[np.generic]) -> torch.nn.Module:
    """Return a network trained without any protection until it knows its data."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(y)))
        optimiser.step()
    return network


def main() -> None:
    """Train, reveal the final model, let a loss attack score all candidates, and print the outcome as JSON."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    pool = rng.permutation(len(digits.target))[:400]
    x, y = (digits.data[pool] / 16.0).astype(np.float32), digits.target[pool].astype(np.int64)
    member = rng.random(len(pool)) < 0.5
    network = train(x[member], y[member])

    weights = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    view = attacks.View.of(attacks.FINAL_MODEL, {"final_model": weights})
    each = np.arange(len(pool))
    candidates = attacks.Candidates(x, y, cluster=each, task=np.zeros_like(each))
    terms = attacks.Terms(target="digits, no protection", seed=1, coin=attacks.Coin(0.5), delta=1e-5)
    attack = attacks.LossScore(attacks.losses_of(network))
    outcome = attacks.play(attacks.MEMBERSHIP, attack, view, candidates, member, terms)
    print(json.dumps(attacks.outcome_record(outcome), indent=2))


if __name__ == "__main__":
    main()
