from collections.abc import Callable

import pytest

from privacy import DpSgdPlan
from secure_fcl.strategies import GradientStrategy, Method, Networks, Rates
from secure_fcl.strategies.course import Course

SHAPE, CLASSES = (1, 8, 8), 4


@pytest.fixture(scope="session")
def make() -> Callable[..., GradientStrategy]:
    """`make(method, ...)`: a strategy for four classes of 8x8 images, without noise unless told."""

    def build(
        method: Method, sigma: float = 0.0, shared: bool = False, trainer: str = "stacked", steps: int = 2,
        q: float = 1.0, rate: float = 0.5, norm: float = 1.0, q_memory: float | None = None,
    ) -> GradientStrategy:  # fmt: skip
        plan = DpSgdPlan(
            steps=1 if shared else steps,
            denominator=4.0,
            clipping_norm=norm,
            noise_multiplier=sigma,
            learning_rate=rate,
        )
        networks = Networks(kind="mlp", shape=SHAPE, classes=CLASSES, seed=1, trainer=trainer)  # type: ignore[arg-type]
        return GradientStrategy(
            name="name", dpsgd=plan, rates=Rates(current=q, memory=(q_memory or q) if method.memory else 0.0),
            rounds=2, networks=networks, examples=12, method=method, shared=shared,
            fisher_noise=8.0 * sigma, count_noise=8.0 * sigma,
        )  # fmt: skip

    return build


@pytest.fixture(scope="session")
def course() -> Callable[..., Course]:
    """`course(strategy, rounds)`: two slots of so many rounds (2), closing rounds included."""
    return lambda strategy, rounds=2: Course.of_two_tasks(SHAPE, CLASSES, strategy, rounds)
