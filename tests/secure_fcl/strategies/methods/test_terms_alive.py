"""Every term acts at two local steps, in both trainers; what is said to be zero with shared noise is zero."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream
from secure_fcl.strategies import GradientStrategy, Method, Plain
from secure_fcl.strategies.course import Course
from secure_fcl.strategies.methods import (
    AveragedGradientMemory,
    Curvature,
    DarkReplay,
    ElasticWeights,
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
from secure_fcl.testing import check_alive, check_silent, distance

Make = Callable[..., GradientStrategy]
Courses = Callable[..., Course]

# With the term, and the same without it.
TERMS: dict[str, tuple[Method, Method]] = {
    "replay": (Plain(memory=True), Plain()),
    "fedprox": (Proximal(mu=0.5), Plain()),
    "fedewc": (ElasticWeights(strength=3000.0), ElasticWeights(strength=1e-12)),
    "fedcurv": (Curvature(strength=3000.0), Curvature(strength=1e-12)),
    "fedsi": (SynapticIntelligence(strength=1.0), SynapticIntelligence(strength=1e-12)),
    "fedssi": (SurrogateIntelligence(strength=1.0), SurrogateIntelligence(strength=1e-12)),
    "fedssi's surrogate": (SurrogateIntelligence(strength=1.0), SynapticIntelligence(strength=1.0)),
    "fedssi's pull": (SurrogateIntelligence(strength=1.0, mix=0.2), SurrogateIntelligence(strength=1.0, mix=1.0)),
    "fedmas": (MemoryAware(strength=300.0), MemoryAware(strength=1e-12)),
    "scaffold": (Scaffold(), Scaffold(correction=1e-12)),
    "fedntd": (NotTrue(weight=2.0), NotTrue(weight=1e-12)),
    "fedlwf": (LwF(weight=1.0), Plain()),
    "fedlwf, balanced": (LwF(balanced=True), Plain()),
    "flwf2t, the client's model": (TwoTeachers(alpha=0.5, beta=0.5), TwoTeachers(alpha=0.5, beta=1e-12)),
    "flwf2t, the server's model": (TwoTeachers(alpha=0.5, beta=0.01), TwoTeachers(alpha=0.5, beta=0.49)),
    "derpp, stored outputs": (DarkReplay(alpha=0.5), DarkReplay(alpha=1e-12)),
    "derpp, labels": (DarkReplay(beta=0.5), DarkReplay(beta=1e-12)),
    "fedagem": (AveragedGradientMemory(), Plain(memory=True)),
}


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
@pytest.mark.parametrize("name", [name for name in TERMS if name != "fedagem"])
def test_every_term_is_alive(make: Make, course: Courses, name: str, trainer: str) -> None:
    # The memory is sampled less than the new task, or the gradient would hardly ever oppose it.
    on, off = (make(method, trainer=trainer, q=0.9, q_memory=0.3) for method in TERMS[name])
    check_alive(on, off, course(off))


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
def test_an_opposed_reference_takes_its_component_away(make: Make, course: Courses, trainer: str) -> None:
    # With local noise clients use the reference of the round before, so a course need not hold a conflict.
    on, off = (make(method, trainer=trainer) for method in TERMS["fedagem"])
    step, coins = course(off).steps[2], KeyedStream(bytes(32))
    view = course(off).view(off, 0, step, {})
    free = off.contribute(off.initial(), view, step, coins).parts["update"]
    state = {**on.initial(), "reference": free.astype(np.float32)}
    held = on.contribute(state, view, step, KeyedStream(bytes(32))).parts["update"]
    assert abs(held @ free) < 1e-4 * (free @ free)
    assert np.linalg.norm(held) > 1e-3 * np.linalg.norm(free)


# With shared noise a round is one step at the server's weights, where these terms are zero.
SILENT: dict[str, tuple[Method, Method]] = {
    "fedprox": (Proximal(mu=0.5), Plain()),
    "fedavg": (Weighted(), Plain()),
    "scaffold": (Scaffold(), Plain()),
    "fedssi": (SurrogateIntelligence(strength=1.0), SynapticIntelligence(strength=1.0)),
}


@pytest.mark.parametrize("trainer", ["stacked", "opacus"])
@pytest.mark.parametrize("name", SILENT)
def test_terms_that_are_zero_with_shared_noise(make: Make, course: Courses, name: str, trainer: str) -> None:
    on, off = (make(method, trainer=trainer, shared=True, q=0.9) for method in SILENT[name])
    check_silent(on, off, course(off))


def test_two_teachers_with_shared_noise_are_averaging_of_scaled_losses(make: Make, course: Courses) -> None:
    # The student is both teachers: distillation has no gradient, and what is left is alpha times the cross-entropy.
    teachers, alone = make(TwoTeachers(alpha=1.0, beta=1e-9), shared=True, q=0.9), make(Plain(), shared=True, q=0.9)
    assert distance(teachers, alone, course(alone)) < 1e-5


@pytest.mark.parametrize("name", ["fedewc", "fedsi", "fedmas", "fedlwf", "derpp, stored outputs", "fedagem"])
def test_the_others_act_with_shared_noise_too(make: Make, course: Courses, name: str) -> None:
    on, off = (make(method, shared=True, q=0.9, q_memory=0.3) for method in TERMS[name])
    check_alive(on, off, course(off))


def test_the_proximal_term_needs_two_local_steps(make: Make, course: Courses) -> None:
    on, off = make(Proximal(mu=0.5), steps=1), make(Plain(), steps=1)
    check_silent(on, off, course(off))
    first = replace(course(off), steps=course(off).steps[:1])
    check_alive(make(Proximal(mu=0.5)), make(Plain()), first)
