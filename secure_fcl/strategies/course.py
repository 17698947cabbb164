"""A short made-up run of a strategy with plain sums: nothing is encrypted or charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from crypto.keys.randomness import KeyedStream, derive_key
from secure_fcl.strategies import DeviceView, Examples, State, StepContext, Strategy
from secure_fcl.strategies.base import Floats

Carried = tuple[Mapping[str, Floats], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Course:
    """A short made-up run: what each client holds never changes, so that only the strategy makes a difference.

    Attributes:
        shape: of one example.
        classes: size of the public label set.
        steps: the rounds, in order; of every slot the classes announced.
        clients: number of clients.
        examples: of one client's chunk.
        memory: examples of one client's memory, from the second slot on.
    """

    shape: tuple[int, ...]
    classes: int
    steps: tuple[StepContext, ...]
    clients: int = 3
    examples: int = 12
    memory: int = 6

    @staticmethod
    def of_two_tasks(shape: tuple[int, ...], classes: int, strategy: Strategy, rounds: int = 2) -> Course:
        """Return a course of two slots that announce half of the classes each, closing rounds included."""
        half = classes // 2
        groups = (tuple(range(half)), tuple(range(half, classes)))
        steps = []
        for slot, group in enumerate(groups):
            seen = tuple(c for earlier in groups[:slot] for c in earlier)
            steps += [
                StepContext(slot=slot, round=r, classes=group, seen=seen, phase="train", last=r == rounds - 1)
                for r in range(rounds)
            ]
            if "close" in strategy.uploads:
                steps.append(StepContext(slot=slot, round=rounds, classes=group, seen=seen, phase="close"))
        return Course(shape=shape, classes=classes, steps=tuple(steps))

    def view(self, strategy: Strategy, client: int, step: StepContext, carried: Mapping[str, Floats]) -> DeviceView:
        """Return what a client holds in a round."""
        memory = self._examples(self.memory if step.seen else 0, step.seen or step.classes, 1000 + client)
        if strategy.columns:
            drawn = np.random.default_rng(client).normal(size=(len(memory), strategy.columns))
            memory = replace(memory, columns=drawn.astype(np.float32))
        return DeviceView(self._examples(self.examples, step.classes, 10 * client + step.slot), memory, carried)

    def _examples(self, count: int, labels: tuple[int, ...], seed: int) -> Examples:
        rng = np.random.default_rng(seed)
        y = rng.choice(np.array(labels, dtype=np.int64), size=count)
        # A class has a direction of its own: gradients then have something to disagree about.
        directions = np.random.default_rng(0).normal(size=(self.classes, *self.shape))
        x = directions[y] + 0.3 * rng.normal(size=(count, *self.shape))
        return Examples(x.astype(np.float32), y)


def play(
    strategy: Strategy, course: Course, first: int = 0, end: int | None = None, state: State | None = None,
    carried: Carried | None = None,
) -> tuple[State, Carried]:  # fmt: skip
    """Return state and the devices' arrays after rounds `first` to `end` of a course, with plain sums."""
    state = strategy.initial() if state is None else state
    zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in strategy.carried.items()}
    own = list(carried) if carried is not None else [zeros] * course.clients
    for number, step in list(enumerate(course.steps))[first:end]:
        upload = strategy.uploads[step.phase]
        views = [course.view(strategy, k, step, own[k]) for k in range(course.clients)]
        keys = [derive_key(b"conformance of many rounds", str(k), str(number)) for k in range(course.clients)]
        made = list(strategy.contribute_all(state, views, step, [KeyedStream(key) for key in keys]))
        total = np.sum([upload.clip(upload.flatten(m.parts))[0] for m in made], axis=0)
        own = [dict(m.carried) for m in made]
        state = strategy.apply(state, step, upload.split(total), course.clients)
    return state, tuple(own)
