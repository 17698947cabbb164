from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attacks import losses_of
from attacks.errors import ShadowsInvalid
from attacks.shadows import BatchedMlp, ModuleTrainer, Rule, trainer_for

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
MLP = BatchedMlp((64, 12, 10), chunk=3)
RULES = [
    Rule(learning_rate=0.1),
    Rule(learning_rate=0.2, momentum=0.9),
    Rule(learning_rate=0.1, momentum=0.5, clip_norm=0.5),
    Rule(learning_rate=0.1, clip_norm=0.3, noise_multiplier=0.7, denominator=5.0),
]


def _schedule(models: int, steps: int, batch: int, n: int, seed: int = 0) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    rows = random.integers(0, n, size=(models, steps, batch))
    return np.where(random.random(rows.shape) < 0.2, -1, rows)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_three_backends_agree(rule: Rule, activation: Literal["relu", "tanh"], digits: Data) -> None:
    mlp = replace(MLP, activation=activation)
    weights, schedule = mlp.initial(np.arange(7)), _schedule(7, 15, 6, 1797)
    seeds = np.arange(100, 107) if rule.noise_multiplier else None
    batched = mlp.train(weights, digits, schedule, rule, seeds)
    assert np.abs(batched - weights).max() > 1e-2
    for trainer in (ModuleTrainer(mlp.module(), chunk=4), ModuleTrainer(mlp.module(), stacked=False)):
        assert np.allclose(trainer.train(weights, digits, schedule, rule, seeds), batched, atol=2e-5)


def test_training_is_what_torch_does(digits: Data) -> None:
    """One model without clipping, against torch.optim.SGD."""
    weights, schedule = MLP.initial(np.array([5])), np.abs(_schedule(1, 20, 6, 1797))
    module = MLP.module()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights[0].copy()), module.parameters())
    optimiser = torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.9)
    x, y = torch.from_numpy(digits[0]), torch.from_numpy(digits[1])
    for rows in torch.from_numpy(schedule[0]):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimiser.step()
    expected = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    assert np.allclose(
        MLP.train(weights, digits, schedule, Rule(learning_rate=0.2, momentum=0.9))[0], expected, atol=1e-5
    )


@given(st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_models_do_not_depend_on_their_neighbours(models: int, chunk: int) -> None:
    random = np.random.default_rng(0)
    data = (random.normal(size=(30, 4)).astype(np.float32), random.integers(0, 3, size=30))
    trainer = BatchedMlp((4, 5, 3), chunk=chunk)
    weights, schedule = trainer.initial(np.arange(models)), _schedule(models, 5, 4, 30)
    together = trainer.train(weights, data, schedule, Rule(learning_rate=0.3, momentum=0.5, clip_norm=1.0))
    for model in range(models):
        alone = trainer.train(
            weights[model : model + 1],
            data,
            schedule[model : model + 1],
            Rule(learning_rate=0.3, momentum=0.5, clip_norm=1.0),
        )
        assert np.allclose(alone[0], together[model], atol=1e-6)


def test_clipping_bounds_what_one_example_changes(digits: Data) -> None:
    weights = MLP.initial(np.array([0]))
    rule = Rule(learning_rate=1.0, clip_norm=0.01, denominator=1.0)
    for row in range(20):
        moved = MLP.train(weights, digits, np.array([[[row]]]), rule) - weights
        assert np.linalg.norm(moved) <= 0.01 * (1 + 1e-3)


def test_empty_slots_teach_nothing_and_keep_the_denominator(digits: Data) -> None:
    weights = MLP.initial(np.array([0]))
    assert np.array_equal(MLP.train(weights, digits, np.full((1, 3, 4), -1), Rule(learning_rate=0.5)), weights)
    half = MLP.train(weights, digits, np.array([[[7, -1]]]), Rule(learning_rate=1.0)) - weights
    whole = MLP.train(weights, digits, np.array([[[7]]]), Rule(learning_rate=1.0)) - weights
    assert np.allclose(2 * half, whole, atol=1e-6)


def test_noise_has_the_declared_scale_and_follows_its_seed(digits: Data) -> None:
    weights = MLP.initial(np.arange(2))
    rule = Rule(learning_rate=1.0, clip_norm=2.0, noise_multiplier=3.0, denominator=4.0)
    empty = np.full((2, 1, 1), -1)
    moved = MLP.train(weights, digits, empty, rule, np.array([1, 2])) - weights
    assert moved.std() == pytest.approx(3.0 * 2.0 / 4.0, rel=0.1)
    assert np.array_equal(MLP.train(weights, digits, empty, rule, np.array([1, 2])) - weights, moved)
    assert not np.allclose(moved[0], moved[1])


def test_losses_are_those_of_the_module(digits: Data) -> None:
    weights = MLP.initial(np.arange(4))
    x, y = digits[0][:50], digits[1][:50]
    expected = np.stack([losses_of(MLP.module())(row, x, y) for row in weights])
    for trainer in (MLP, ModuleTrainer(MLP.module())):
        assert np.allclose(trainer.losses(weights, x, y), expected, atol=1e-5)


def test_convolutions_train_through_vmap(digits: Data, digit_cnn: torch.nn.Module) -> None:
    images = (digits[0].reshape(-1, 1, 8, 8), digits[1])
    trainer = trainer_for(digit_cnn)
    assert isinstance(trainer, ModuleTrainer)
    weights, schedule = trainer.initial(np.arange(2)), _schedule(2, 4, 5, 100)
    trained = trainer.train(weights, images, schedule, Rule(learning_rate=0.1, momentum=0.9))
    assert np.allclose(
        trained,
        ModuleTrainer(digit_cnn, stacked=False).train(weights, images, schedule, Rule(learning_rate=0.1, momentum=0.9)),
        atol=1e-5,
    )


def test_plain_networks_get_the_fast_trainer() -> None:
    assert trainer_for(MLP.module()) == BatchedMlp((64, 12, 10))
    assert trainer_for(torch.nn.Sequential(torch.nn.Linear(3, 2))) == BatchedMlp((3, 2))
    tanh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    assert trainer_for(tanh) == BatchedMlp((3, 4, 2), activation="tanh")
    elu = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ELU(), torch.nn.Linear(4, 2))
    assert isinstance(trainer_for(elu), ModuleTrainer)
    with pytest.raises(ShadowsInvalid, match="no parameters"):
        trainer_for(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.ReLU()))


@pytest.mark.parametrize(
    "bad",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": 0.1, "momentum": 1.0},
        {"learning_rate": 0.1, "clip_norm": -1.0},
        {"learning_rate": 0.1, "noise_multiplier": 1.0},
        {"learning_rate": 0.1, "denominator": 0.0},
    ],
    ids=str,
)
def test_impossible_rules_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ShadowsInvalid):
        Rule(**bad)


def test_inputs_that_do_not_fit_are_refused(digits: Data) -> None:
    weights, good = MLP.initial(np.arange(2)), np.zeros((2, 1, 1), dtype=np.int64)
    for schedule in (good + 5000, good - 2, good[:1], good[0]):
        with pytest.raises(ShadowsInvalid, match="schedule"):
            MLP.train(weights, digits, schedule, Rule(learning_rate=0.1))
    with pytest.raises(ShadowsInvalid, match="noise seeds"):
        MLP.train(weights, digits, good, Rule(learning_rate=0.1, clip_norm=1.0, noise_multiplier=1.0))
    with pytest.raises(ShadowsInvalid, match="needs"):
        MLP.train(weights[:, :-1], digits, good, Rule(learning_rate=0.1))
    with pytest.raises(ShadowsInvalid, match="sizes"):
        BatchedMlp((4,))
