"""MAS: what its importances are, and what its paper claims of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from crypto.keys.randomness import KeyedStream
from privacy import SampledGaussian
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.rows.build import build_row
from secure_fcl.strategies import Examples, GradientStrategy, Plain, StepContext
from secure_fcl.strategies.course import Course, play
from secure_fcl.strategies.gradient.method import Received
from secure_fcl.strategies.gradient.uploads.fisher import FisherUpload
from secure_fcl.strategies.methods import MemoryAware
from secure_fcl.strategies.methods.memory_aware import IMPORTANCE
from secure_fcl.streams import build_scenario
from tests.secure_fcl.strategies.methods.two_tasks import ends

Make = Callable[..., GradientStrategy]
Courses = Callable[..., Course]


def test_mas_claimed_order_it_forgets_less_than_fine_tuning() -> None:
    # Aljundi et al. 2018, section 5: more is left of old tasks, and the average over tasks is higher.
    penalised, plain = (ends(m, rounds=12, rate=2.0) for m in (MemoryAware(), Plain()))
    assert penalised[0] > plain[0] + 0.25
    assert sum(penalised) > sum(plain) + 0.25


def test_mas_claimed_ablation_the_stronger_the_penalty_the_less_is_forgotten() -> None:
    # The same section, on lambda: it trades what is kept of old tasks for what is learned of new ones.
    found = [ends(MemoryAware(strength=s), rounds=12, rate=2.0) for s in (1e-9, 0.3, 10.0)]
    assert found[0][0] + 0.1 < found[1][0] < found[2][0] - 0.3
    assert found[0][1] > found[2][1] + 0.2
    assert found[0] == pytest.approx(ends(Plain(), rounds=12, rate=2.0), abs=0.02)


def test_importances_are_mean_absolute_gradients_of_the_outputs_energy(make: Make, course: Courses) -> None:
    s = make(MemoryAware(), norm=1e3)
    s = replace(s, rates=replace(s.rates, fisher=1.0))
    rounds = replace(course(s), clients=1)
    before, carried = play(s, rounds, 0, 2)
    state, _ = play(s, rounds, 2, 3, before, carried)
    examples = rounds.view(s, 0, rounds.steps[2], {}).current
    network, total = s.network(before), np.zeros(s.size)
    for x in torch.from_numpy(examples.x):
        network.zero_grad()
        torch.autograd.backward(network(x[None]).square().sum())
        total += np.abs(torch.cat([p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]).numpy())
    np.testing.assert_allclose(state["importance"], total / 4.0, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(state["anchor"], before["weights"])


def test_the_penalty_is_around_the_last_weights_with_all_importances() -> None:
    method, state = MemoryAware(strength=0.7), MemoryAware().initial(np.zeros(2, dtype=np.float32))
    closing = StepContext(slot=0, round=2, classes=(0, 1), phase="close")
    for found, anchor in (([0.5, 0.0], [1.0, 1.0]), ([0.25, 0.125], [2.0, -1.0])):
        at = np.array(anchor, dtype=np.float32)
        state = method.absorb(state, closing, Received(at, at, {"fisher": np.array(found, dtype=np.float32)}, 0.0))
    quadratic, where = method.after(state, {}), torch.tensor([0.3, 0.6])
    assert quadratic is not None
    expected = 2 * 0.7 * torch.tensor([0.75, 0.125]) * (where - torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(quadratic.diagonal * where - quadratic.pull, expected)  # type: ignore[attr-defined]


def test_one_example_weighs_the_clipping_norm_and_is_charged_once(make: Make) -> None:
    shared, local = (make(MemoryAware(), norm=0.5, sigma=1.0, shared=s) for s in (True, False))
    assert shared.uploads["close"].sensitivity_l2 == 0.5
    assert local.uploads["close"].sensitivity_l2 is None
    numbers = local.numbers
    upload = FisherUpload(numbers, IMPORTANCE)
    assert upload.events("current") == {SampledGaussian(q=1.0, noise_multiplier=numbers.fisher_noise): 1}
    assert upload.events("memory") == {}


@pytest.mark.parametrize("shared", [False, True])
def test_what_one_example_adds_is_as_long_as_its_clipped_gradient(make: Make, course: Courses, shared: bool) -> None:
    s = make(MemoryAware(), norm=0.01, shared=shared)
    step = next(one for one in course(s).steps if one.phase == "close")
    view = course(s).view(s, 0, step, {})
    alone = replace(view, current=Examples(view.current.x[:1], view.current.y[:1]))
    added = s.contribute(s.initial(), alone, step, KeyedStream(bytes(32))).parts["fisher"]
    assert np.linalg.norm(added) == pytest.approx(0.01, rel=1e-4)
    assert (added >= 0.0).all()


@pytest.mark.parametrize(("row", "power"), [("fedmas", 1), ("fedewc", 2)])
def test_noise_inside_the_sum_is_for_what_an_example_adds(
    digits: Dataset, make_config: Callable[..., Config], row: str, power: int
) -> None:
    config = make_config(f'rows=["{row}"]', f"{row}.noise=shared", "training.clipping_norm=0.25")
    plan = build_row(config, build_scenario(digits, config), row, 1.0)
    spec = plan.strategy.uploads["close"]
    ratio = config.training.fisher_noise
    # The standard deviation that is guaranteed in the sum, in the upload's integers.
    least = ratio * 0.25**power * spec.scale
    assert plan.noises["close"].guaranteed_variance >= least**2
    assert plan.noises["close"].guaranteed_variance < 1.1 * least**2
