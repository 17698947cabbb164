from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream
from privacy import NonPrivate, SampledGaussian
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, Plain, StepContext
from secure_fcl.strategies.course import play
from secure_fcl.strategies.methods import Alone, SurrogateIntelligence, SynapticIntelligence, Weighted

Make = Callable[..., GradientStrategy]
STEP = StepContext(slot=0, round=0, classes=(0, 1))


def coins(k: int = 0) -> KeyedStream:
    return KeyedStream(bytes([k]) * 32)


def view(count: int, seed: int = 0, **carried: np.ndarray) -> DeviceView:
    rng = np.random.default_rng(seed)
    x, nothing = rng.normal(size=(count, 1, 8, 8)).astype(np.float32), np.empty((0, 1, 8, 8), dtype=np.float32)
    return DeviceView(
        Examples(x, rng.integers(0, 4, size=count)), Examples(nothing, np.empty(0, dtype=np.int64)), carried
    )


def test_fedavg_is_the_mean_weighted_by_numbers_of_examples(make: Make) -> None:
    weighted, uniform = make(Weighted(), norm=1e3, rate=0.01), make(Plain(), norm=1e3, rate=0.01)
    views, counts = [view(3, 1), view(9, 2), view(0, 3)], np.array([3.0, 9.0, 0.0])
    state, upload = weighted.initial(), weighted.uploads["train"]
    made = [weighted.contribute(state, v, STEP, coins()).parts for v in views]
    after = weighted.apply(state, STEP, upload.split(sum(upload.flatten(m) for m in made)), 3)["weights"]
    updates = [uniform.contribute(state, v, STEP, coins()).parts["update"] for v in views]
    expected = state["weights"] + (counts[:, None] * updates).sum(axis=0) / counts.sum()
    np.testing.assert_allclose(after, expected, atol=1e-6)
    equal = uniform.apply(state, STEP, {"update": sum(updates)}, 3)["weights"]
    assert np.abs(equal - after).max() > 1e-4


def test_a_private_weight_is_noisy_charged_and_within_its_bound(make: Make) -> None:
    s = make(Weighted(), sigma=1.5, q=0.5)
    assert s.events("current") == {
        SampledGaussian(q=0.5, noise_multiplier=1.5): 2,
        SampledGaussian(q=1.0, noise_multiplier=12.0): 1,
    }
    assert not s.events("memory")
    found = [s.contribute(s.initial(), view(6), STEP, coins(k)).parts["weight"][0] for k in range(40)]
    shares = np.array(found) / s.encoding.update_clip
    assert shares.min() >= 0.0
    assert shares.max() <= 1.0
    assert len(np.unique(shares)) > 10
    # Clipping to [0, 1] is symmetric about 6 of at most 12 examples; the deviation is below 1 / 2.
    assert abs(shares.mean() - 0.5) < 5 * 0.5 / np.sqrt(40)


def test_without_noise_the_number_of_examples_is_declared_non_private(make: Make) -> None:
    assert NonPrivate("number of examples without noise") in make(Weighted()).events("current")


def test_weights_of_less_than_one_example_change_nothing(make: Make) -> None:
    s = make(Weighted())
    total = {"update": np.ones(s.size), "weight": np.array([0.01 * s.encoding.update_clip])}
    assert s.apply(s.initial(), STEP, total, 3)["weights"] is s.initial()["weights"]


def test_alone_trains_every_client_by_itself_and_sends_a_zero(make: Make, course: Callable) -> None:  # type: ignore[type-arg]
    alone, s = make(Alone(), q=0.8), make(Plain(), q=0.8)
    rounds = course(alone)
    state, carried = play(alone, rounds)
    np.testing.assert_array_equal(state["weights"], alone.initial()["weights"])
    # One client by itself is federated averaging of one client.
    single = replace(rounds, clients=1)
    unbounded = replace(s, encoding=replace(s.encoding, update_clip=1e6))
    expected, _ = play(unbounded, single)
    np.testing.assert_allclose(carried[0]["own"], expected["weights"], atol=1e-6)
    assert np.abs(carried[0]["own"] - carried[1]["own"]).max() > 1e-2
    made = alone.contribute(alone.initial(), view(9, own=carried[0]["own"]), STEP, coins())
    assert list(made.parts) == ["nothing"]
    assert not made.parts["nothing"].any()
    assert alone.uploads["train"].length == 1


def test_a_surrogate_is_a_second_visit_charged_like_the_first(make: Make) -> None:
    one, two = make(SynapticIntelligence(), sigma=1.5), make(SurrogateIntelligence(), sigma=1.5)
    assert {event: 2 * count for event, count in one.events("current").items()} == two.events("current")


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
def test_the_path_is_the_surrogates_and_the_update_the_clients(make: Make, trainer: str) -> None:
    si, ssi = (
        make(m, steps=1, trainer=trainer, rate=0.5) for m in (SynapticIntelligence(), SurrogateIntelligence(mix=1.0))
    )
    own = (ssi.initial()["weights"] + 0.05).astype(np.float32)
    later = replace(STEP, round=1)
    plain, made = (
        si.contribute(si.initial(), view(9), later, coins()),
        ssi.contribute(ssi.initial(), view(9, surrogate=own), later, coins()),
    )
    np.testing.assert_array_equal(plain.parts["update"], made.parts["update"])
    moved = made.carried["surrogate"].astype(np.float64) - own
    # One plain step: the path is (step)^2 / rate, and it travels over clip / rate.
    unit = ssi.encoding.update_clip / 0.5
    np.testing.assert_allclose(made.parts["path"], moved**2 / 0.5 / unit, atol=1e-6)
    assert np.abs(plain.parts["path"] - made.parts["path"]).max() > 1e-5


def test_a_surrogate_stays_near_the_server_as_the_mix_says(make: Make) -> None:
    ends = {}
    for mix in (0.05, 0.5, 1.0):
        s = make(SurrogateIntelligence(mix=mix), steps=5)
        made = s.contribute(s.initial(), view(9, surrogate=np.zeros(s.size, dtype=np.float32)), STEP, coins())
        ends[mix] = float(np.linalg.norm(made.carried["surrogate"] - s.initial()["weights"]))
    assert ends[0.05] < ends[0.5] < ends[1.0]
