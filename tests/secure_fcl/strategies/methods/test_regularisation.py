from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from privacy import Quadratic
from secure_fcl.strategies import GradientStrategy, StepContext
from secure_fcl.strategies.course import play
from secure_fcl.strategies.gradient.method import Received
from secure_fcl.strategies.methods import Curvature, ElasticWeights, Proximal, SynapticIntelligence

Make = Callable[..., GradientStrategy]
CLOSE = StepContext(slot=0, round=2, classes=(0, 1), phase="close")
RNG = np.random.default_rng(0)
FISHERS, ANCHORS, WHERE = RNG.random((3, 5)), RNG.normal(size=(3, 5)), RNG.normal(size=5)


def explicit(penalty: Callable[[torch.Tensor], torch.Tensor], at: np.ndarray) -> np.ndarray:
    w = torch.tensor(at, requires_grad=True)
    (found,) = torch.autograd.grad(penalty(w), w)
    return found.numpy()


def gradient(quadratic: object, at: np.ndarray) -> np.ndarray:
    assert isinstance(quadratic, Quadratic)
    return (quadratic.diagonal * torch.tensor(at) - quadratic.pull).numpy()


def closed(method: ElasticWeights, weights: bool = False) -> dict[str, np.ndarray]:
    """The state after three closed tasks."""
    state = method.initial(np.zeros(5, dtype=np.float32))
    for fisher, anchor in zip(FISHERS, ANCHORS, strict=True):
        means = {"fisher": fisher, "fisher_weights": fisher * anchor} if weights else {"fisher": fisher}
        state = method.absorb(state, CLOSE, Received(anchor, anchor, means, 0.5))
    return state


@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_two_vectors_hold_the_penalties_of_all_tasks(decay: float) -> None:
    method = ElasticWeights(strength=7.0, decay=decay)
    fishers, anchors = torch.tensor(FISHERS), torch.tensor(ANCHORS)
    left = torch.tensor([decay**2, decay, 1.0]).unsqueeze(1)
    expected = explicit(lambda w: 3.5 * (left * fishers * (w - anchors) ** 2).sum(), WHERE)
    np.testing.assert_allclose(gradient(method.after(closed(method), {}), WHERE), expected, rtol=1e-6)


def test_fedcurv_pulls_to_the_clients_own_weights() -> None:
    method = Curvature(strength=7.0)
    fishers, anchors = torch.tensor(FISHERS), torch.tensor(ANCHORS)
    expected = explicit(lambda w: 3.5 * (fishers * (w - anchors) ** 2).sum(), WHERE)
    np.testing.assert_allclose(gradient(method.after(closed(method, True), {}), WHERE), expected, rtol=1e-6)


def test_nothing_is_pulled_before_the_first_task_closed() -> None:
    weights = np.zeros(5, dtype=np.float32)
    for method in (ElasticWeights(), Curvature(), SynapticIntelligence()):
        assert method.after(method.initial(weights), {}) is None


def test_the_proximal_gradient() -> None:
    change = Proximal(mu=0.3).after({"weights": np.ones(5, dtype=np.float32)}, {})
    assert change is not None
    found = change(torch.zeros(5, dtype=torch.float64), torch.tensor(WHERE), 0.5).numpy()
    np.testing.assert_allclose(found, explicit(lambda w: 0.15 * ((w - 1.0) ** 2).sum(), WHERE), rtol=1e-6)


def test_importance_by_hand() -> None:
    method = SynapticIntelligence(strength=0.7, damping=0.1)
    state = method.initial(np.zeros(2, dtype=np.float32))
    for last, path in ((False, [0.2, -0.3]), (True, [0.1, 0.1])):
        received = Received(np.zeros(2), np.array([0.5, 2.0]), {"path": np.array(path)}, 0.5)
        state = method.absorb(state, replace(CLOSE, phase="train", last=last), received)
    # 0.3 / (0.5^2 + 0.1); a negative sum of paths is no importance.
    np.testing.assert_allclose(state["importance"], [0.3 / 0.35, 0.0], rtol=1e-6)
    assert not state["walked"].any()
    np.testing.assert_array_equal(state["anchor"], [0.5, 2.0])
    importance, anchor = torch.tensor([0.3 / 0.35, 0.0]), torch.tensor([0.5, 2.0])
    expected = explicit(lambda w: 0.7 * (importance * (w - anchor) ** 2).sum(), WHERE[:2])
    np.testing.assert_allclose(gradient(method.after(state, {}), WHERE[:2]), expected, rtol=1e-6)


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
def test_the_path_of_one_plain_step_is_its_square_over_the_rate(make: Make, course: Callable, trainer: str) -> None:  # type: ignore[type-arg]
    s = make(SynapticIntelligence(), steps=1, trainer=trainer, rate=0.5)
    rounds = replace(course(s), clients=1)
    state, _ = play(s, rounds, 0, 1)
    moved = state["weights"].astype(np.float64) - s.initial()["weights"]
    np.testing.assert_allclose(state["walked"], moved**2 / 0.5, rtol=1e-3, atol=1e-7)


def test_fisher_information_is_the_mean_square_of_gradients(make: Make, course: Callable) -> None:  # type: ignore[type-arg]
    s = make(ElasticWeights(), norm=1e3)
    s = replace(s, rates=replace(s.rates, fisher=1.0))
    rounds = replace(course(s), clients=1)
    before, carried = play(s, rounds, 0, 2)
    state, _ = play(s, rounds, 2, 3, before, carried)
    examples = rounds.view(s, 0, rounds.steps[2], {}).current
    network, total = s.network(before), np.zeros(s.size)
    for x, y in zip(torch.from_numpy(examples.x), torch.from_numpy(examples.y), strict=True):
        network.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(x[None]), y[None]))
        total += torch.cat([p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]).numpy() ** 2
    # Per expected example: the denominator is 4 at rate 1.
    np.testing.assert_allclose(state["diagonal"], total / 4.0, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(state["pull"], state["diagonal"] * before["weights"], rtol=1e-5, atol=1e-9)
