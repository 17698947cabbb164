import numpy as np
import pytest
import torch

from crypto.keys.randomness import KeyedStream
from privacy import DpSgdPlan, NonPrivate, SampledGaussian
from secure_fcl.data import Dataset
from secure_fcl.strategies import DeviceView, Encoding, Examples, GradientStrategy, Networks, Rates, StepContext

STEP = StepContext(slot=0, round=0, classes=(0, 1))


def strategy(
    sigma: float = 1.0, q: float = 1.0, memory: float = 0.0, clip: float = 0.5, **over: float
) -> GradientStrategy:
    plan = DpSgdPlan(
        steps=int(over.get("steps", 1)),
        denominator=over.get("denominator", 4.0),
        clipping_norm=over.get("norm", 1.0),
        noise_multiplier=sigma,
        learning_rate=over.get("rate", 0.5),
    )
    networks = Networks(kind="mlp", shape=(1, 8, 8), classes=10, seed=1)
    return GradientStrategy(
        name="replay",
        dpsgd=plan,
        rates=Rates(current=q, memory=memory),
        rounds=3,
        networks=networks,
        examples=64,
        encoding=Encoding(update_clip=clip, update_bits=17),
    )


def some(digits: Dataset, n: int, start: int = 0) -> Examples:
    return Examples(digits.x[start : start + n].copy(), digits.y[start : start + n].copy())


def coins(label: int = 0) -> KeyedStream:
    return KeyedStream(bytes([label]) * 32)


def test_without_noise_or_clipping_a_step_is_a_step_of_sgd(digits: Dataset) -> None:
    s = strategy(sigma=0.0, norm=1e6)
    view = DeviceView(some(digits, 6), some(digits, 0))
    update = s.update(s.initial(), view, s.dpsgd, coins())
    network = s.network(s.initial())
    x, y = torch.from_numpy(view.current.x), torch.from_numpy(view.current.y)
    torch.autograd.backward(torch.nn.functional.cross_entropy(network(x), y, reduction="sum"))
    gradient = torch.cat([p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]).numpy()
    np.testing.assert_allclose(update, -0.5 * gradient / 4.0, atol=1e-6)


def test_an_example_weighs_at_most_the_clipping_norm(digits: Dataset) -> None:
    s = strategy(sigma=0.0, norm=0.01)
    update = s.update(s.initial(), DeviceView(some(digits, 1), some(digits, 0)), s.dpsgd, coins())
    assert np.linalg.norm(update) == pytest.approx(0.5 * 0.01 / 4.0, rel=1e-3)


def test_an_empty_client_sends_noise_of_the_full_size(digits: Dataset) -> None:
    s = strategy(sigma=2.0)
    nothing = some(digits, 0)
    update = s.contribute(s.initial(), DeviceView(nothing, nothing), STEP, coins()).parts["update"]
    expected = 0.5 * 2.0 * 1.0 / 4.0
    # Standard error of a sample deviation: expected / sqrt(2 n); five of them.
    assert abs(update.std() - expected) < 5 * expected / np.sqrt(2 * len(update))


def test_memory_is_sampled_at_its_own_rate(digits: Dataset) -> None:
    view = DeviceView(some(digits, 0), some(digits, 40))
    never = strategy(sigma=0.0, memory=0.0)
    assert not never.update(never.initial(), view, never.dpsgd, coins()).any()
    always = strategy(sigma=0.0, memory=1.0, q=0.001)
    assert always.update(always.initial(), view, always.dpsgd, coins()).any()


def test_one_visit_leaves_nothing_for_the_next(digits: Dataset) -> None:
    s = strategy()
    view, other = DeviceView(some(digits, 6), some(digits, 0)), DeviceView(some(digits, 9, 50), some(digits, 0))
    state = s.initial()
    before = state["weights"].copy()
    first = s.update(state, view, s.dpsgd, coins(1))
    s.update(state, other, s.dpsgd, coins(2))
    np.testing.assert_array_equal(s.update(state, view, s.dpsgd, coins(1)), first)
    np.testing.assert_array_equal(state["weights"], before)
    assert (s.update(state, view, s.dpsgd, coins(2)) != first).any()


def test_the_server_adds_the_mean_over_the_public_number_of_clients() -> None:
    s = strategy()
    state = s.initial()
    total = {"update": np.full(len(state["weights"]), 6.0)}
    np.testing.assert_allclose(s.apply(state, STEP, total, 3)["weights"], state["weights"] + 2.0, rtol=1e-6)


def test_events() -> None:
    s = strategy(sigma=1.5, q=0.25, memory=0.05, steps=3)
    assert s.events("current") == {SampledGaussian(q=0.25, noise_multiplier=1.5): 3}
    assert s.events("memory") == {SampledGaussian(q=0.05, noise_multiplier=1.5): 3}
    assert not strategy().events("memory")
    assert [type(e) for e in strategy(sigma=0.0).events("current")] == [NonPrivate]


def test_the_upload_scale_has_the_configured_bits() -> None:
    upload = strategy(clip=0.5).uploads["train"]
    assert upload.scale * upload.largest_bound == 2**16 - 1
    assert upload.length == len(strategy().initial()["weights"])
