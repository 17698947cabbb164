"""Digits of five clients in two tasks, for claims of papers on accuracy: small, and the same every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from privacy import DpSgdPlan
from secure_fcl.data import load_digits
from secure_fcl.strategies import (
    DeviceView,
    Examples,
    GradientStrategy,
    Method,
    Networks,
    Rates,
    State,
    StepContext,
    Strategy,
)
from secure_fcl.strategies.base import Floats, Ints
from secure_fcl.strategies.course import Course, play

SHAPE, CLIENTS = (1, 8, 8), 5


@cache
def examples(train: bool, classes: tuple[int, ...], client: int | None = None) -> Examples:
    """Return the training or test digits of some classes; a client has every fifth of them."""
    data = load_digits()
    index = np.flatnonzero((data.train if train else data.test) & np.isin(data.y, classes))
    own = index if client is None else index[client::CLIENTS][:60]
    return Examples(data.x[own], data.y[own])


@dataclass(frozen=True, eq=False, kw_only=True)
class DigitsCourse(Course):
    """A course on real digits; `skewed`: a client has at most two or three of a task's five classes."""

    skewed: bool = False

    def view(self, strategy: Strategy, client: int, step: StepContext, carried: Mapping[str, Floats]) -> DeviceView:
        classes = step.classes
        if self.skewed:
            classes = tuple(c for c in classes if (c + client) % 5 < 2)
        nothing = examples(True, (), client)
        return DeviceView(examples(True, classes, client), nothing, carried)


def course(strategy: Strategy, rounds: int = 6, skewed: bool = False) -> DigitsCourse:
    usual = Course.of_two_tasks(SHAPE, 10, strategy, rounds)
    return DigitsCourse(shape=SHAPE, classes=10, steps=usual.steps, clients=CLIENTS, memory=0, skewed=skewed)


def strategy_of(method: Method, rate: float = 0.5, steps: int = 4, groups: tuple[int, ...] | None = None,
                sigma: float = 0.0, shared: bool = False) -> GradientStrategy:  # fmt: skip
    plan = DpSgdPlan(
        steps=1 if shared else steps, denominator=15.0, clipping_norm=1.0, noise_multiplier=sigma, learning_rate=rate
    )
    networks = Networks(kind="mlp", shape=SHAPE, classes=10, seed=1, trainer="stacked")
    return GradientStrategy(
        name="name", dpsgd=plan, rates=Rates(current=0.25, memory=0.25 if method.memory else 0.0), rounds=6,
        networks=networks, examples=60, method=method, groups=groups, shared=shared,
    )  # fmt: skip


def accuracies(strategy: GradientStrategy, state: State) -> tuple[float, float]:
    """Return the shares of the first and of the second task's test digits that are right."""
    found = []
    for classes in (tuple(range(5)), tuple(range(5, 10))):
        test = examples(False, classes)
        scores = strategy.scores(state, test.x)
        if strategy.groups is not None:
            scores = np.where(np.isin(np.arange(10), classes), scores, -np.inf)
        found.append(float((scores.argmax(axis=1) == test.y).mean()))
    return found[0], found[1]


def ends(method: Method, rounds: int = 6, skewed: bool = False, **numbers: object) -> tuple[float, float]:
    """Return the accuracies on both tasks after the second one."""
    made = strategy_of(method, **numbers)  # type: ignore[arg-type]
    return accuracies(made, play(made, course(made, rounds, skewed))[0])


def renamed(y: Ints, client: int, groups: int) -> Ints:
    """Return labels as a client names them: client `k` counts a task's five classes from `k % groups` on."""
    return y // 5 * 5 + (y % 5 + client % groups) % 5


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonalCourse(DigitsCourse):
    """Clients of several groups that name the classes of a task differently, so that no common model is right."""

    groups: int = 1
    count: int = 40

    def view(self, strategy: Strategy, client: int, step: StepContext, carried: Mapping[str, Floats]) -> DeviceView:
        found = super().view(strategy, client, step, carried)
        y = renamed(found.current.y, client, self.groups)[: self.count]
        return replace(found, current=Examples(found.current.x[: self.count], y))


def personal_course(strategy: Strategy, rounds: int, groups: int) -> PersonalCourse:
    steps = Course.of_two_tasks(SHAPE, 10, strategy, rounds).steps
    return PersonalCourse(shape=SHAPE, classes=10, steps=steps, clients=CLIENTS, memory=0, groups=groups)


def personal_accuracy(method: Method, groups: int, rounds: int = 10) -> float:
    """Return the mean share of test digits right by each client's own naming, the task being named, of both tasks."""
    made = strategy_of(method, groups=(0,) * 5 + (1,) * 5)
    state, carried = play(made, personal_course(made, rounds, groups))
    found = []
    for client, own in enumerate(carried):
        mine = method.personal(state, own["own"]) if method.own else state
        for classes in (tuple(range(5)), tuple(range(5, 10))):
            test = examples(False, classes)
            inside = np.where(np.isin(np.arange(10), classes), made.scores(mine, test.x), -np.inf)
            found.append(float((inside.argmax(axis=1) == renamed(test.y, client, groups)).mean()))
    return float(np.mean(found))
