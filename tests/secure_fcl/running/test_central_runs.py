"""One client that holds everything: central training through the federation's own code."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from crypto.errors import PlanRefused
from privacy import Batch
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies import StepContext
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.methods import LwF

ALONE = (
    "scenario.partition=iid",
    "scenario.clients=1",
    "scenario.holdout=0.0",
    "storage.budget_kib=8192",
    "privacy.max_dropouts=0",
    "training.rounds=1",
    "training.trainer=stacked",
    "training.model=mlp:48,24:relu",
    "training.clipping_norm=1000.0",
    "training.upload_clip=4.0",
    "training.upload_bits=48",
    "training.fisher_bits=52",
    "finetune.noise=none",
    "finetune.epsilon=inf",
)


def test_one_client_learns_what_central_training_learns(run_tiny: Callable[..., Any]) -> None:
    run = run_tiny(
        *ALONE, 'rows=["finetune"]', "scenario.tasks=1", "training.steps=150", "training.optimizer=adam",
        "training.learning_rate=0.005", "training.q_current=0.05", "training.denominator=70.0",
    )  # fmt: skip
    (round,) = [r for r in run.records("metrics.jsonl") if r["kind"] == "round"]
    (final,) = [r for r in run.records("metrics.jsonl") if r["kind"] == "final"]
    assert round["saturated"] == 0
    # Logistic regression reaches about 0.95 on these digits.
    assert final["micro"] > 0.9
    assert "DP-SGD without noise" in json.dumps(run.certificate("finetune"))


def test_where_one_client_cannot_hide_it_is_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(PlanRefused, match="hides nothing"):
        prepare(make_config(*ALONE, 'rows=["finetune"]', "protection=bfv"))
    with pytest.raises(ConfigInvalid, match="leave none of 1 clients"):
        prepare(make_config(*ALONE, 'rows=["replay"]', "replay.noise=shared"))


def test_distillation_counts_once_for_every_earlier_task() -> None:
    outputs = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32))
    teacher = torch.flip(outputs, dims=[1])
    batch = Batch(outputs, torch.tensor([0, 1, 1]), teacher, torch.zeros(3, dtype=torch.int64))

    def distilled(task: int, **options: Any) -> torch.Tensor:
        step = StepContext(slot=task, round=0, classes=(0, 1), seen=(0, 1))
        both = LwF(temperature=3.0, **options).loss(Head(2), {}, step)(outputs, batch)
        return both - Head(2).cross_entropy(outputs, batch)

    # Written out: soft labels against soft outputs, without the factor temperature^2 when the weight takes it away.
    by_hand = -(torch.softmax(teacher / 3.0, 1) * torch.log_softmax(outputs / 3.0, 1)).sum(1)
    for task in (1, 4):
        torch.testing.assert_close(distilled(task, weight=1 / 9, per_task=True), task * by_hand)
        torch.testing.assert_close(distilled(task, weight=1 / 9), by_hand)


def test_two_ways_to_weigh_distillation_are_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match="choose one"):
        make_config("fedlwf.balanced=true", "fedlwf.per_task=true")
