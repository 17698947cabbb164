"""The laws of a strategy: of one round in every phase and place of noise, of many rounds, and of its loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from privacy import DpSgdPlan
from secure_fcl.checking.kinds import Asked, loaded
from secure_fcl.checking.laws import Trial
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import GradientStrategy, Method, Networks, Rates, StepContext, Strategy
from secure_fcl.strategies.course import Course
from secure_fcl.strategies.entry import GradientEntry, SumsEntry, SumsNumbers
from secure_fcl.strategies.section import GradientSection

#: Examples of a chunk in a course, and noise that is small beside what is sent.
_EXAMPLES, _NOISE = 12, 1.0


def strategy_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of an entry in every place of noise, or of a whole strategy as it is."""
    return _of_object(asked, loaded(asked.reference))


def _of_object(asked: Asked, found: object) -> Iterator[Trial]:
    if isinstance(found, GradientEntry):
        for place, made in _of_method(asked, found.method(found.section)).items():
            yield from _trials(asked, made, place)
        yield _loss(asked, found.method(found.section))
    elif isinstance(found, SumsEntry):
        for place, noisy in (("noise inside", True), ("no noise", False)):
            numbers = SumsNumbers(
                name=asked.reference, shape=asked.shape, classes=asked.classes, widest_slot=-(-asked.classes // 2),
                examples=_EXAMPLES, noisy=noisy,
            )  # fmt: skip
            yield from _trials(asked, found.build(found.section, numbers), place)
    elif isinstance(found, type):
        raise ConfigInvalid(
            f"{asked.reference!r} is a class of strategies, which an entry builds; check that: mine = SumsEntry(...)"
        )
    else:
        whole: Any = found
        yield from _trials(asked, whole, "as it is")


def method_trials(asked: Asked) -> Iterator[Trial]:
    """Yield the laws of a method, in every place of noise; a class is built with its defaults."""
    found: Any = loaded(asked.reference)
    method: Method = found() if isinstance(found, type) else found
    return _of_object(asked, GradientEntry(section=GradientSection(), method=lambda section: method))


def _of_method(asked: Asked, method: Method) -> Mapping[str, GradientStrategy]:
    """Return the strategies of a method by place of noise."""

    def made(shared: bool) -> GradientStrategy:
        return GradientStrategy(
            name=asked.reference,
            dpsgd=DpSgdPlan(
                steps=1 if shared else 2, denominator=4.0, clipping_norm=1.0, noise_multiplier=_NOISE, learning_rate=0.5
            ),
            rates=Rates(current=0.9, memory=0.9 if method.memory else 0.0),
            rounds=2,
            networks=Networks(kind="mlp:8", shape=asked.shape, classes=asked.classes, seed=1, trainer="stacked"),
            examples=_EXAMPLES,
            method=method,
            shared=shared,
            fisher_noise=8.0 * _NOISE,
            count_noise=8.0 * _NOISE,
        )

    places = {"local noise": made(False)}
    return places if method.own else places | {"shared noise": made(True)}


def _trials(asked: Asked, strategy: Strategy, place: str) -> Iterator[Trial]:
    from secure_fcl.testing import CHECKS, check_resume, check_storage
    from secure_fcl.testing.strategies import Bench

    half = tuple(range(-(-asked.classes // 2)))
    for phase in strategy.uploads:
        step = StepContext(slot=0, round=0, classes=half, phase=phase)
        bench = Bench(strategy, asked.shape, asked.classes, step)
        for check in CHECKS:
            yield Trial.of(check, partial(check, bench), place if phase == "train" else f"{place}, {phase}")
    course = Course.of_two_tasks(asked.shape, asked.classes, strategy)
    yield Trial.of(check_storage, partial(check_storage, strategy, course), place)
    yield Trial.of(check_resume, lambda: check_resume(lambda: strategy, course), place)


def _loss(asked: Asked, method: Method) -> Trial:
    from privacy.testing import check_example_loss

    def run() -> None:
        made = _of_method(asked, method)["local noise"]
        step = StepContext(slot=0, round=0, classes=tuple(range(asked.classes)))
        columns = asked.classes * (method.teachers + method.stored)
        check_example_loss(method.loss(made.head, made.initial(), step), asked.classes, columns)

    return Trial.of(check_example_loss, run)
