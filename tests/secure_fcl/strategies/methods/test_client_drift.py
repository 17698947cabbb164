"""SCAFFOLD and FedNTD: what their papers claim of clients that hold few of the classes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from crypto.keys.randomness import KeyedStream
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import GradientStrategy, Method, Plain, State
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.course import Course, play
from secure_fcl.strategies.methods import NotTrue, Scaffold
from tests.secure_fcl.strategies.methods.two_tasks import CLIENTS, course, examples, strategy_of

Make = Callable[..., GradientStrategy]
Courses = Callable[..., Course]
FIRST, ROUNDS = (0, 1, 2, 3, 4), 12


def trained(method: Method) -> tuple[GradientStrategy, State]:
    """Return the state after some rounds of many local steps on a first task, two classes a client."""
    made = strategy_of(method, steps=8)
    return made, play(made, course(made, ROUNDS, skewed=True), 0, ROUNDS)[0]


def loss_of(made: GradientStrategy, state: State) -> float:
    data = examples(True, FIRST)
    outputs = torch.from_numpy(made.scores(state, data.x))
    return float(torch.nn.functional.cross_entropy(outputs, torch.from_numpy(data.y)))


def right_elsewhere(made: GradientStrategy, weights: Floats) -> float:
    """Return how often clients' models, one visit after common weights, are right on classes that they do not hold."""
    rounds, found = course(made, ROUNDS, skewed=True), []
    for client in range(CLIENTS):
        carried = {name: np.zeros(shape, dtype=np.float32) for name, shape in made.carried.items()}
        view = rounds.view(made, client, rounds.steps[0], carried)
        state = {**made.initial(), "weights": weights}
        update = made.contribute(state, view, rounds.steps[0], KeyedStream(bytes(32))).parts["update"]
        other = examples(False, tuple(c for c in FIRST if c not in view.current.y))
        local = {**state, "weights": (weights + update).astype(np.float32)}
        found.append(float((made.scores(local, other.x).argmax(axis=1) == other.y).mean()))
    return float(np.mean(found))


def test_scaffold_claimed_order_with_many_local_steps_on_unlike_clients_it_learns_faster_than_averaging() -> None:
    # Karimireddy et al. 2020, section on experiments: as clients grow unlike, FedAvg slows down and SCAFFOLD does not.
    assert loss_of(*trained(Scaffold())) < 0.8 * loss_of(*trained(Plain()))


def test_scaffold_claimed_ablation_without_control_variates_it_is_averaging() -> None:
    # Algorithm 1 with c = c_i = 0; the gain above is that of the correction.
    off = loss_of(*trained(Scaffold(correction=1e-9)))
    assert off == pytest.approx(loss_of(*trained(Plain())), rel=1e-3)
    assert loss_of(*trained(Scaffold())) < 0.8 * off


def test_fedntd_claimed_order_local_models_forget_less_of_what_they_do_not_hold() -> None:
    # Lee et al. 2022, section on forgetting: accuracy on classes outside the local distribution after local training.
    _, state = trained(Plain())
    with_term, without = (right_elsewhere(strategy_of(m, steps=8), state["weights"]) for m in (NotTrue(), Plain()))
    assert with_term > without + 0.15


def test_fedntd_claimed_ablation_more_weight_keeps_more_and_none_keeps_nothing() -> None:
    # The same section, the weight of the term varied.
    _, state = trained(Plain())
    found = [right_elsewhere(strategy_of(NotTrue(weight=w), steps=8), state["weights"]) for w in (1e-9, 0.3, 1.0)]
    assert found == sorted(found)
    assert found[2] > found[0] + 0.15


def test_the_servers_control_is_the_mean_of_the_clients(make: Make, course: Courses) -> None:
    s = make(Scaffold(), sigma=1.0)
    state, carried = play(s, course(s))
    mean = np.mean([own["control"] for own in carried], axis=0)
    np.testing.assert_allclose(state["control"], mean, atol=1e-5)
    assert np.abs(mean).max() > 0.01


def test_a_control_is_the_mean_noisy_gradient_of_the_visit(make: Make, course: Courses) -> None:
    s = make(Scaffold(), sigma=1.0, steps=1, rate=0.1)
    rounds = course(s)
    step = rounds.steps[0]
    view = rounds.view(s, 0, step, {"control": np.zeros(s.size, dtype=np.float32)})
    made = s.contribute(s.initial(), view, step, KeyedStream(bytes(32)))
    np.testing.assert_allclose(made.carried["control"], -made.parts["update"] / 0.1, atol=1e-4)


def test_another_optimizer_is_refused(make: Make) -> None:
    s = make(Scaffold())
    with pytest.raises(ConfigInvalid, match=r"which only plain SGD tells: set training\.optimizer = 'sgd'"):
        _ = replace(s, dpsgd=replace(s.dpsgd, momentum=0.5)).uploads


def test_the_not_true_term_is_zero_with_shared_noise(make: Make, course: Courses) -> None:
    on, off = make(NotTrue(), shared=True, q=0.9), make(Plain(), shared=True, q=0.9)
    with_term, without = (play(s, course(s))[0]["weights"] for s in (on, off))
    np.testing.assert_allclose(with_term, without, atol=1e-5)
