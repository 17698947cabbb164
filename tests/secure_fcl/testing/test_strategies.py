from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from privacy import DpSgdPlan, Event, RandomBytes
from secure_fcl.strategies import (
    ClassSums,
    Contribution,
    DeviceView,
    Examples,
    GradientStrategy,
    Networks,
    Part,
    Phase,
    Rates,
    State,
    StepContext,
    Strategy,
    Stratum,
    UploadSpec,
    one_by_one,
)
from secure_fcl.strategies.methods import (
    AveragedGradientMemory,
    Cfed,
    Curvature,
    DarkReplay,
    ElasticWeights,
    FedWeit,
    FedWeitWithTransfer,
    LwF,
    MemoryAware,
    NotTrue,
    Proximal,
    Scaffold,
    SurrogateIntelligence,
    SynapticIntelligence,
    TwoTeachers,
    Weighted,
)
from secure_fcl.testing import StrategyBroken, check_strategy
from secure_fcl.testing.strategies import EXAMPLES

SHAPE, CLASSES = (1, 8, 8), 10
STEP = StepContext(slot=1, round=0, classes=(2, 5, 7))


def gradient(name: str, memory_rate: float, sigma: float) -> GradientStrategy:
    plan = DpSgdPlan(steps=2, denominator=4.0, clipping_norm=1.0, noise_multiplier=sigma, learning_rate=0.5)
    networks = Networks(kind="mlp", shape=SHAPE, classes=CLASSES, seed=1)
    return GradientStrategy(
        name=name,
        dpsgd=plan,
        rates=Rates(current=0.5, memory=memory_rate),
        rounds=3,
        networks=networks,
        examples=EXAMPLES,
    )


def class_sums(noisy: bool = True) -> ClassSums:
    return ClassSums(shape=SHAPE, classes=CLASSES, widest_slot=4, examples=EXAMPLES, scale=2.0**14, noisy=noisy)


@pytest.mark.parametrize(
    "strategy",
    [gradient("finetune", 0.0, 1.0), gradient("replay", 0.25, 1.0), gradient("replay", 0.25, 0.0), class_sums()],
    ids=["finetune", "replay", "replay without noise", "class sums"],
)
def test_ours_keep_every_law(strategy: Strategy) -> None:
    check_strategy(strategy, SHAPE, CLASSES, STEP)


METHODS = {
    "fedavg": Weighted(),
    "fedprox": Proximal(),
    "fedewc": ElasticWeights(),
    "fedcurv": Curvature(),
    "fedsi": SynapticIntelligence(),
    "fedssi": SurrogateIntelligence(),
    "fedmas": MemoryAware(),
    "fedlwf": LwF(),
    "flwf2t": TwoTeachers(),
    "scaffold": Scaffold(),
    "fedntd": NotTrue(),
    "cfed": Cfed(review=0.5),
    "fedweit": FedWeitWithTransfer(),
    "fedweit_safe": FedWeit(),
    "derpp": DarkReplay(),
    "fedagem": AveragedGradientMemory(),
}


@pytest.mark.parametrize("shared", [False, True], ids=["local", "shared"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_every_law(name: str, shared: bool) -> None:
    method = METHODS[name]
    shared = shared and not method.own
    plan = DpSgdPlan(
        steps=1 if shared else 2, denominator=4.0, clipping_norm=1.0, noise_multiplier=1.0, learning_rate=0.5
    )
    rates = Rates(current=0.5, memory=0.25 if method.memory else 0.0)
    networks = Networks(kind="mlp", shape=SHAPE, classes=CLASSES, seed=1, trainer="stacked")
    strategy = GradientStrategy(
        name=name,
        dpsgd=plan,
        rates=rates,
        rounds=3,
        networks=networks,
        examples=EXAMPLES,
        method=method,
        shared=shared,
        fisher_noise=4.0 if not shared else 0.0,
    )
    check_strategy(strategy, SHAPE, CLASSES, replace(STEP, seen=(0, 1)))


def test_signals_too() -> None:
    plan = DpSgdPlan(steps=1, denominator=4.0, clipping_norm=1.0, noise_multiplier=1.0, learning_rate=0.5)
    step = StepContext(slot=0, round=0, classes=(0, 3))
    check_strategy(
        ClassSums(shape=(6, 64), classes=12, widest_slot=2, examples=EXAMPLES, scale=2.0**14, noisy=True),
        (6, 64),
        12,
        step,
    )
    replay = GradientStrategy(
        name="replay",
        dpsgd=plan,
        rates=Rates(current=0.5, memory=0.1),
        rounds=3,
        networks=Networks(kind="auto", shape=(6, 64), classes=12, seed=1),
        examples=EXAMPLES,
    )
    check_strategy(replay, (6, 64), 12, step)


@dataclass(frozen=True, eq=False)
class Wrong:
    """Class counts, broken in one way at a time."""

    fault: str = ""
    name: str = "wrong"
    rounds: int = 1
    once_per_chunk: bool = True
    memory_rate: float = 0.0
    columns: int = 0

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        return {}

    @property
    def uploads(self) -> Mapping[Phase, UploadSpec]:
        parts = (Part("counts", (CLASSES,), 0.5 if self.fault == "bound" else 20.0),)
        if self.fault == "names":
            parts = (*parts, *parts)
        sensitivity = None if self.fault == "uncharged" else 0.5 if self.fault == "sensitivity" else 1.0
        entries = 0 if self.fault == "entries" else 1
        return {
            "train": UploadSpec(
                name=self.name,
                parts=parts,
                scale=2.0**8,
                sensitivity_l2=sensitivity,
                sensitivity_entries=entries,
                unit="one example counts once",
            )
        }

    def events(self, stratum: Stratum, phase: Phase = "train") -> Mapping[Event, int]:
        return {}

    def sampled(self, stratum: Stratum, phase: Phase = "train") -> tuple[float, ...]:
        return (1.0,) if stratum == "current" and self.fault != "undeclared" else ()

    def initial(self) -> State:
        return {"counts": np.zeros(CLASSES, dtype=np.float32)}

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        counts = np.bincount(view.current.y, minlength=CLASSES).astype(np.float64)
        if self.fault == "nan":
            counts = counts / counts.sum()
        if self.fault == "coins":
            counts = counts + np.random.default_rng().normal(scale=1e-6, size=CLASSES)
        if self.fault == "state":
            state["counts"] += 1.0
        if self.fault == "shape":
            counts = np.unique(view.current.y).astype(np.float64)
        return Contribution({"counts": counts})

    def contribute_all(self, state, views, step, coins) -> Iterator[Contribution]:
        company = len(views) - 1 if self.fault == "company" else 0
        for made in one_by_one(self, state, views, step, coins):
            yield Contribution({"counts": made.parts["counts"] + 1e-6 * company})

    def columns_of(self, state: State, examples: Examples) -> np.ndarray:
        return np.zeros((len(examples), 0), dtype=np.float32)

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
        ("undeclared", "no release of them is declared"),
        ("uncharged", "no event is charged"),
        ("coins", "equal coins"),
        ("company", "when others contribute beside it"),
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
    from secure_fcl.strategies.closed_form import class_sums as module

    real = module.features
    monkeypatch.setattr(module, "features", lambda x: 1.01 * real(x))
    with pytest.raises(StrategyBroken, match="declared 1"):
        check_strategy(class_sums(), SHAPE, CLASSES, STEP)


def test_memory_that_is_not_charged_is_found() -> None:
    @dataclass(frozen=True, eq=False)
    class Free(GradientStrategy):
        def events(self, stratum: Stratum, phase: Phase = "train") -> Mapping[Event, int]:
            return super().events(stratum) if stratum == "current" else {}

    honest = gradient("replay", 0.25, 1.0)
    free = Free(**{f: getattr(honest, f) for f in honest.__dataclass_fields__ if f != "once_per_chunk"})
    with pytest.raises(StrategyBroken, match=r"memory_rate = 0\.25, charged: False"):
        check_strategy(free, SHAPE, CLASSES, STEP)
    check_strategy(replace(honest, rates=Rates(current=0.5)), SHAPE, CLASSES, STEP)
