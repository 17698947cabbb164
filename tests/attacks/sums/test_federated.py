from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attacks import ALL_CLIENTS_CLEAR, ONE_CLIENT_CLEAR, Candidates, View, gradients_of
from attacks.errors import CandidatesInvalid, CapabilityMissing
from attacks.games.attack import run_attack
from attacks.shadows import BatchedMlp
from attacks.sums.federated import FedMia, GradientCosine
from evaluation.roc import auc

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
World = tuple[dict[str, NDArray[np.generic]], Candidates, NDArray[np.bool_]]
MLP = BatchedMlp((64, 32, 10))


@pytest.fixture(scope="module")
def world(digits: Data) -> World:
    """Sixteen clients of 30 examples, eight rounds of plain gradients; half of 60 candidates are client 0's."""
    x, y = digits
    random = np.random.default_rng(0)
    order = random.permutation(len(x))
    own, held_out = order[:30], order[30:60]
    clients = [own, *order[60:510].reshape(15, 30)]
    weights, models, updates = MLP.initial(np.array([0]))[0], [], []
    for _ in range(8):
        gradient_of = gradients_of(MLP.module(), weights)
        sent = [
            -gradient_of(torch.from_numpy(x[rows].copy()), torch.from_numpy(y[rows].copy())).numpy().mean(axis=0)
            for rows in clients
        ]
        models.append(weights)
        updates.append(sent)
        weights = (weights + 0.5 * np.mean(sent, axis=0)).astype(np.float32)
    table = np.array(updates)
    transcript = {
        "final_model": weights, "models": np.stack(models), "model_tasks": np.zeros(8, dtype=np.int64),
        "sums": table.sum(axis=1), "sum_clients": np.full(8, 16), "client_updates": table[:, 0],
        "other_updates": table[:, 1:],
    }  # fmt: skip
    asked = np.concatenate([own, held_out])
    zeros = np.zeros(len(asked), dtype=np.int64)
    truth = np.arange(len(asked)) < len(own)
    return transcript, Candidates(x[asked], y[asked], np.arange(len(asked)), zeros), truth


def test_a_clear_update_tells_its_members(world: World) -> None:
    transcript, candidates, truth = world
    scores = run_attack(GradientCosine(MLP.module()), View.of(ONE_CLIENT_CLEAR, transcript), candidates)
    assert auc(scores, truth) > 0.6


def test_the_other_clients_serve_as_null(world: World) -> None:
    transcript, candidates, truth = world
    view = View.of(ALL_CLIENTS_CLEAR, transcript)
    null = auc(run_attack(FedMia(MLP.module()), view, candidates), truth)
    assert null > 0.62


def test_another_clients_members_are_not_found(world: World) -> None:
    transcript, candidates, truth = world
    others = transcript["other_updates"]
    moved = {**transcript, "client_updates": others[:, 0], "other_updates": others[:, 1:]}
    score = auc(run_attack(FedMia(MLP.module()), View.of(ALL_CLIENTS_CLEAR, moved), candidates), truth)
    # Null AUC of 30 against 30: standard deviation .075.
    assert abs(score - 0.5) < 5 * 0.075


def test_views_must_suffice(world: World) -> None:
    transcript, candidates, _ = world
    with pytest.raises(CapabilityMissing, match="ALL_CLIENTS_CLEAR"):
        run_attack(FedMia(MLP.module()), View.of(ONE_CLIENT_CLEAR, transcript), candidates)
    short = {**transcript, "models": transcript["models"][:2], "model_tasks": np.zeros(2, dtype=np.int64)}
    with pytest.raises(CandidatesInvalid, match="8 rounds"):
        GradientCosine(MLP.module()).score(View.of(ONE_CLIENT_CLEAR, short), candidates)
    lonely = {**transcript, "other_updates": transcript["other_updates"][:, :1]}
    with pytest.raises(CandidatesInvalid, match="two other clients"):
        FedMia(MLP.module()).score(View.of(ALL_CLIENTS_CLEAR, lonely), candidates)
