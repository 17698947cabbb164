from dataclasses import dataclass, replace

import numpy as np
import pytest

from privacy import DpSgdPlan
from secure_fcl.memory import EverythingMemory, Held, HerdingMemory, ThresholdMemory
from secure_fcl.strategies import ClassSums, GradientStrategy, Method, Networks, Plain, Rates
from secure_fcl.strategies.course import Course, play
from secure_fcl.strategies.methods import (
    Alone,
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
from secure_fcl.testing import LawBroken, check_alive, check_memory, check_resume, check_silent, check_storage

SHAPE, CLASSES = (1, 8, 8), 4
METHODS: dict[str, Method] = {
    "finetune": Plain(),
    "replay": Plain(memory=True),
    "fedavg": Weighted(),
    "local_only": Alone(),
    "fedprox": Proximal(mu=1.0),
    "fedewc": ElasticWeights(strength=200.0),
    "fedcurv": Curvature(strength=200.0),
    "fedsi": SynapticIntelligence(strength=5.0),
    "fedssi": SurrogateIntelligence(strength=5.0),
    "fedmas": MemoryAware(strength=200.0),
    "fedlwf": LwF(weight=5.0),
    "flwf2t": TwoTeachers(),
    "scaffold": Scaffold(),
    "fedntd": NotTrue(),
    "cfed": Cfed(review=0.5),
    "fedweit": FedWeitWithTransfer(),
    "fedweit_safe": FedWeit(),
    "derpp": DarkReplay(),
    "fedagem": AveragedGradientMemory(),
}


def strategy(method: Method, sigma: float = 0.0, shared: bool = False, trainer: str = "stacked") -> GradientStrategy:
    plan = DpSgdPlan(
        steps=1 if shared else 2, denominator=4.0, clipping_norm=1.0, noise_multiplier=sigma, learning_rate=0.5
    )
    rates = Rates(current=0.9, memory=0.9 if method.memory else 0.0)
    networks = Networks(kind="mlp", shape=SHAPE, classes=CLASSES, seed=1, trainer=trainer)  # type: ignore[arg-type]
    return GradientStrategy(
        name="name",
        dpsgd=plan,
        rates=rates,
        rounds=2,
        networks=networks,
        examples=12,
        method=method,
        shared=shared,
        fisher_noise=8.0 * sigma,
        count_noise=8.0 * sigma,
    )


def course(of: GradientStrategy) -> Course:
    return Course.of_two_tasks(SHAPE, CLASSES, of)


@pytest.mark.parametrize("shared", [False, True], ids=["local", "shared"])
@pytest.mark.parametrize("name", METHODS)
def test_storage_is_as_declared(name: str, shared: bool) -> None:
    found = strategy(METHODS[name], 1.0, shared and not METHODS[name].own)
    check_storage(found, course(found))


@pytest.mark.parametrize("name", METHODS)
def test_a_run_resumes_exactly(name: str) -> None:
    check_resume(lambda: strategy(METHODS[name], 1.0), course(strategy(METHODS[name])))


def test_class_sums_too() -> None:
    sums = ClassSums(shape=SHAPE, classes=CLASSES, widest_slot=2, examples=12, scale=2.0**14, noisy=True)
    rounds = Course.of_two_tasks(SHAPE, CLASSES, sums)
    check_storage(sums, rounds)
    check_resume(
        lambda: ClassSums(shape=SHAPE, classes=CLASSES, widest_slot=2, examples=12, scale=2.0**14, noisy=True), rounds
    )


def test_a_dead_term_is_found() -> None:
    dead, off = strategy(Proximal(mu=1e-9)), strategy(Plain())
    with pytest.raises(LawBroken, match="moves 'weights' by"):
        check_alive(dead, off, course(off))


def test_a_term_that_is_not_zero_is_found() -> None:
    with pytest.raises(LawBroken, match="should be zero"):
        check_silent(strategy(Proximal(mu=1.0)), strategy(Plain()), course(strategy(Plain())))


@dataclass(frozen=True)
class Hoarder(Alone):
    """Keeps more than it declares, or forgets to keep it."""

    fault: str = "wide"

    def carry(self, carried, local, step):  # type: ignore[no-untyped-def]
        return {
            "wide": {"own": local.astype(np.float64)},
            "more": {"own": local, "diary": local},
            "longer": {"own": np.append(local, local)},
            "nothing": {},
        }[self.fault]


@pytest.mark.parametrize(
    ("fault", "law"),
    [("wide", "another type"), ("more", "diary"), ("longer", "a device keeps"), ("nothing", r"keeps \{\}")],
)
def test_undeclared_storage_is_found(fault: str, law: str) -> None:
    found = strategy(Hoarder(fault=fault))
    with pytest.raises(LawBroken, match=law):
        check_storage(found, course(found))


def test_a_strategy_with_a_memory_of_its_own_does_not_resume() -> None:
    @dataclass(frozen=True, eq=False)
    class Secretive(GradientStrategy):
        def apply(self, state, step, total, clients):  # type: ignore[no-untyped-def]
            visits = self.__dict__.setdefault("visits", [0])
            visits[0] += 1
            return {**state, "weights": state["weights"] + np.float32(visits[0])}

    honest = strategy(Plain())

    def make() -> Secretive:
        return Secretive(**{f: getattr(honest, f) for f in honest.__dataclass_fields__ if f != "once_per_chunk"})

    with pytest.raises(LawBroken, match="resumed after round 0"):
        check_resume(make, course(honest))


def test_the_course_is_the_same_every_time() -> None:
    first, second = (play(strategy(Plain(), 1.0), course(strategy(Plain())))[0]["weights"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "policy",
    [
        ThresholdMemory((0.5, 0.4, 0.3), 30),
        ThresholdMemory((1.0, 1.0, 1.0), 24),
        EverythingMemory(24),
        HerdingMemory(8),
    ],
    ids=["threshold", "all by threshold", "everything", "herding"],
)
def test_memories_keep_their_laws(policy: ThresholdMemory | EverythingMemory | HerdingMemory) -> None:
    check_memory(policy, (8, 8, 8))


def test_a_memory_over_its_capacity_is_found() -> None:
    with pytest.raises(LawBroken, match="holds 24 examples of capacity 10"):
        check_memory(EverythingMemory(10), (24,))


def test_herding_that_hides_its_nature_is_found() -> None:
    hidden = replace(HerdingMemory(4))
    object.__setattr__(hidden, "displaces_others", False)
    with pytest.raises(LawBroken, match="keeps others"):
        check_memory(hidden, (12, 12))


def test_a_memory_that_takes_back_is_found() -> None:
    @dataclass(frozen=True)
    class Undead:
        capacity: int = 99
        private: bool = True
        displaces_others: bool = False

        def close(self, task, held, arrived, keys, x, y):  # type: ignore[no-untyped-def]
            return Held.nothing() if task == 1 else Held(np.arange(3), np.arange(3), np.zeros(3, dtype=np.int64))

    with pytest.raises(LawBroken, match="after task 2"):
        check_memory(Undead(), (4, 4, 4))
