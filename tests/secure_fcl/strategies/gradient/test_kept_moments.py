"""Strategies hand a client's moments from one visit to its next: two rounds of one client are one longer visit."""

from dataclasses import replace

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream
from privacy import DpSgdPlan
from secure_fcl.data import Dataset
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, Method, Networks, Plain, Rates, StepContext
from secure_fcl.strategies.methods import Alone, AveragedGradientMemory, SurrogateIntelligence, TwoTeachers

OPTIMIZERS = [("adam", 0.0, 0.01), ("sgd", 0.9, 0.2)]


def strategy(
    optimizer: str, momentum: float, rate: float, steps: int, trainer: str, method: Method
) -> GradientStrategy:
    plan = DpSgdPlan(
        steps=steps,
        denominator=12.0,
        clipping_norm=50.0,
        noise_multiplier=0.0,
        learning_rate=rate,
        momentum=momentum,
        optimizer=optimizer,
    )  # type: ignore[arg-type]
    networks = Networks(kind="softmax", shape=(1, 8, 8), classes=10, seed=1, trainer=trainer)  # type: ignore[arg-type]
    return GradientStrategy(
        name="kept",
        dpsgd=plan,
        rates=Rates(current=1.0),
        rounds=3,
        networks=networks,
        examples=12,
        method=method,
        keep_moments=True,
    )


def view_of(digits: Dataset, own: GradientStrategy) -> DeviceView:
    some = Examples(digits.x[:12].copy(), digits.y[:12].copy())
    carried = {name: np.zeros(shape, dtype=np.float32) for name, shape in own.carried.items()}
    return DeviceView(some, Examples(digits.x[:0], digits.y[:0]), carried)


def rounds(digits: Dataset, own: GradientStrategy, count: int) -> np.ndarray:
    """The weights after some rounds of one client whose update the server takes as it is."""
    state, view = own.initial(), view_of(digits, own)
    for round in range(count):
        made = own.contribute(state, view, StepContext(slot=0, round=round, classes=(0, 1)), KeyedStream(bytes(32)))
        state = {**state, "weights": (state["weights"] + made.parts["update"]).astype(np.float32)}
        view = replace(view, carried=made.carried)
    return np.asarray(state["weights"])


@pytest.mark.parametrize("trainer", ["opacus", "stacked"])
@pytest.mark.parametrize(("optimizer", "momentum", "rate"), OPTIMIZERS)
def test_rounds_are_one_visit(digits: Dataset, trainer: str, optimizer: str, momentum: float, rate: float) -> None:
    carried = strategy(optimizer, momentum, rate, 2, trainer, Plain())
    whole = rounds(digits, strategy(optimizer, momentum, rate, 6, trainer, Plain()), 1)
    np.testing.assert_allclose(rounds(digits, carried, 3), whole, rtol=1e-4, atol=1e-5)
    afresh = rounds(digits, replace(carried, keep_moments=False), 3)
    assert np.abs(afresh - whole).max() > 1e-3


METHODS = [SurrogateIntelligence(), TwoTeachers(), Alone(), AveragedGradientMemory()]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_methods_that_keep_arrays_of_their_own_keep_moments_too(digits: Dataset, method: Method) -> None:
    own = strategy("adam", 0.0, 0.01, 2, "stacked", method)
    view = view_of(digits, own)
    made = own.contribute(own.initial(), view, StepContext(slot=0, round=0, classes=(0, 1)), KeyedStream(bytes(32)))
    assert set(made.carried) == set(own.carried)
    assert made.carried["moments"].shape == own.carried["moments"]
    # Two steps were counted, of the visit alone: those of a surrogate or on the memory alone are not the client's.
    assert made.carried["moments"][-1] == 2.0


def test_with_shared_noise_there_is_nothing_to_keep(digits: Dataset) -> None:
    own = replace(strategy("sgd", 0.9, 0.2, 1, "stacked", Plain()), shared=True)
    assert own.carried == {}
    made = own.contribute(
        own.initial(), view_of(digits, own), StepContext(slot=0, round=0, classes=(0, 1)), KeyedStream(bytes(32))
    )
    assert not made.carried


def test_the_last_layer_alone_keeps_none(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="last_from=0 trains the last layer alone"):
        replace(strategy("adam", 0.0, 0.01, 1, "stacked", Plain()), last_from=0)
