"""The stacked trainer makes what Opacus makes, on the same coins, whatever the method and the place of the noise."""

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream
from privacy import DpSgdPlan
from secure_fcl.data import Dataset
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, Method, Networks, Plain, Rates, StepContext
from secure_fcl.strategies.methods import (
    AveragedGradientMemory,
    DarkReplay,
    ElasticWeights,
    LwF,
    Proximal,
    SynapticIntelligence,
)

STEP = StepContext(slot=1, round=0, classes=(2, 3), seen=(0, 1))
METHODS = [Plain(), Proximal(), LwF(), DarkReplay(), AveragedGradientMemory(), SynapticIntelligence(), ElasticWeights()]


def views(digits: Dataset) -> list[DeviceView]:
    """Three clients: much, one example, nothing but memory."""
    rng = np.random.default_rng(0)

    def some(first: int, count: int) -> Examples:
        columns = rng.normal(size=(count, 10)).astype(np.float32)
        return Examples(digits.x[first : first + count], digits.y[first : first + count], columns)

    return [
        DeviceView(some(0, 20), some(40, 9)),
        DeviceView(some(70, 1), some(0, 0)),
        DeviceView(some(0, 0), some(90, 7)),
    ]


def strategy(method: Method, trainer: str, shared: bool) -> GradientStrategy:
    plan = DpSgdPlan(
        steps=1 if shared else 2, denominator=4.0, clipping_norm=1.0, noise_multiplier=0.8, learning_rate=0.5
    )
    networks = Networks(kind="cnn", shape=(1, 8, 8), classes=10, seed=3, trainer=trainer)  # type: ignore[arg-type]
    return GradientStrategy(
        name="row",
        dpsgd=plan,
        rates=Rates(current=0.5, memory=0.4),
        rounds=3,
        networks=networks,
        examples=20,
        method=method,
        shared=shared,
    )


@pytest.mark.parametrize("shared", [False, True], ids=["local", "shared"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_stacked_equals_opacus(method: Method, shared: bool, digits: Dataset) -> None:
    made = []
    for trainer in ("opacus", "stacked"):
        s = strategy(method, trainer, shared)
        state = {name: array + 0.01 for name, array in s.initial().items()}
        coins = [KeyedStream(bytes([k]) * 32) for k in range(3)]
        made.append(list(s.contribute_all(state, views(digits), STEP, coins)))
    # The stacked trainer sums in float32, and with shared noise clips a part in 100,000 lower.
    for opacus, stacked in zip(*made, strict=True):
        assert opacus.parts.keys() == stacked.parts.keys()
        for name, expected in opacus.parts.items():
            size = max(float(np.linalg.norm(expected)), 1e-9)
            assert np.linalg.norm(stacked.parts[name] - expected) / size < 5e-5, name
