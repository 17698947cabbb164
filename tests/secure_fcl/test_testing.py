from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from privacy import DpSgdPlan, Event, RandomBytes
from secure_fcl.strategies import (
    ClassSums,
    DeviceView,
    GradientStrategy,
    Part,
    State,
    StepContext,
    Strategy,
    UploadSpec,
)
from secure_fcl.testing import EXAMPLES, StrategyBroken, check_strategy

SHAPE, CLASSES = (1, 8, 8), 10
STEP = StepContext(1, 0, (2, 5, 7))


def gradient(name: str, memory_rate: float, sigma: float) -> GradientStrategy:
    plan = DpSgdPlan(2, 4.0, 1.0, sigma, 0.5)
    return GradientStrategy(name, plan, 0.5, memory_rate, 3, 0.5, 17, "mlp", SHAPE, CLASSES, 1)


def class_sums(noisy: bool = True) -> ClassSums:
    return ClassSums(SHAPE, CLASSES, 4, EXAMPLES, 2.0**14, noisy)


@pytest.mark.parametrize(
    "strategy",
    [gradient("finetune", 0.0, 1.0), gradient("replay", 0.25, 1.0), gradient("replay", 0.25, 0.0), class_sums()],
    ids=["finetune", "replay", "replay without noise", "class sums"],
)
def test_ours_keep_every_law(strategy: Strategy) -> None:
    check_strategy(strategy, SHAPE, CLASSES, STEP)


def test_signals_too() -> None:
    plan = DpSgdPlan(1, 4.0, 1.0, 1.0, 0.5)
    step = StepContext(0, 0, (0, 3))
    check_strategy(ClassSums((6, 64), 12, 2, EXAMPLES, 2.0**14, True), (6, 64), 12, step)
    check_strategy(GradientStrategy("replay", plan, 0.5, 0.1, 3, 0.5, 17, "auto", (6, 64), 12, 1), (6, 64), 12, step)


@dataclass(frozen=True, eq=False)
class Wrong:
    """Class counts, broken in one way at a time."""

    fault: str = ""
    name: str = "wrong"
    rounds: int = 1
    once_per_chunk: bool = True
    memory_rate: float = 0.0

    @property
    def upload(self) -> UploadSpec:
        parts = (Part("counts", (CLASSES,), 0.5 if self.fault == "bound" else 20.0),)
        if self.fault == "names":
            parts = (*parts, *parts)
        sensitivity = None if self.fault == "uncharged" else 0.5 if self.fault == "sensitivity" else 1.0
        entries = 0 if self.fault == "entries" else 1
        return UploadSpec(self.name, parts, 2.0**8, sensitivity, entries, "one example counts once")

    def events(self, stratum: str) -> Mapping[Event, int]:
        return {}

    def initial(self) -> State:
        return {"counts": np.zeros(CLASSES, dtype=np.float32)}

    def contribute(
        self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes
    ) -> dict[str, np.ndarray]:
        counts = np.bincount(view.current.y, minlength=CLASSES).astype(np.float64)
        if self.fault == "nan":
            counts = counts / counts.sum()
        if self.fault == "coins":
            counts = counts + np.random.default_rng().normal(scale=1e-6, size=CLASSES)
        if self.fault == "state":
            state["counts"] += 1.0
        if self.fault == "shape":
            counts = np.unique(view.current.y).astype(np.float64)
        return {"counts": counts}

    def apply(self, state: State, step: StepContext, total: dict[str, np.ndarray], clients: int) -> State:
        after = (state["counts"] + total["counts"]).astype(np.float64 if self.fault == "type" else np.float32)
        if self.fault == "old state":
            state["counts"] += 1.0
        return {"counts": after}

    def scores(self, state: State, x: np.ndarray) -> np.ndarray:
        width = CLASSES - 1 if self.fault == "scores" else CLASSES
        fill = np.nan if self.fault == "nan score" else 0.0
        return np.full((len(x), width), fill, dtype=np.float32)


def test_the_wrong_one_is_right_without_a_fault() -> None:
    check_strategy(Wrong(), SHAPE, CLASSES, STEP)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("names", "not all different"),
        ("bound", "exceeds the declared bound"),
        ("sensitivity", "changes the upload by 1, declared 0.5"),
        ("entries", "changes 1 entries"),
        ("uncharged", "no event is charged"),
        ("coins", "equal coins"),
        ("state", "server's state"),
        ("type", "apply returned"),
        ("old state", "apply changed"),
        ("scores", "scores of 0 examples"),
        ("nan score", "NaN"),
    ],
)
def test_every_fault_is_found(fault: str, law: str) -> None:
    with pytest.raises(StrategyBroken, match=law):
        check_strategy(Wrong(fault), SHAPE, CLASSES, STEP)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_nan_of_an_empty_client_is_found() -> None:
    with pytest.raises(StrategyBroken, match="empty sends NaN"):
        check_strategy(Wrong("nan"), SHAPE, CLASSES, STEP)


def test_an_upload_as_long_as_the_data_is_found() -> None:
    with pytest.raises(Exception, match="declared"):
        check_strategy(Wrong("shape"), SHAPE, CLASSES, STEP)


def test_unbounded_features_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_fcl.strategies import class_sums as module

    real = module.features
    monkeypatch.setattr(module, "features", lambda x: 1.01 * real(x))
    with pytest.raises(StrategyBroken, match="declared 1"):
        check_strategy(class_sums(), SHAPE, CLASSES, STEP)


def test_memory_that_is_not_charged_is_found() -> None:
    @dataclass(frozen=True, eq=False)
    class Free(GradientStrategy):
        def events(self, stratum: str) -> Mapping[Event, int]:
            return super().events(stratum) if stratum == "current" else {}

    honest = gradient("replay", 0.25, 1.0)
    free = Free(*(getattr(honest, f) for f in honest.__dataclass_fields__ if f != "once_per_chunk"))
    with pytest.raises(StrategyBroken, match=r"memory_rate = 0\.25, charged: False"):
        check_strategy(free, SHAPE, CLASSES, STEP)
    check_strategy(replace(honest, memory_rate=0.0), SHAPE, CLASSES, STEP)
