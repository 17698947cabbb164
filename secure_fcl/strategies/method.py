"""What a strategy of the literature adds to federated DP-SGD: a loss, terms after the noise, sums beside the update.

`GradientStrategy` does the rest for every method alike: strata, clipping, noise, encoding, averaging, events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from privacy import AfterNoise, ExampleLoss
from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.losses import Head

Beside = Literal["path", "reference", "fisher", "fisher_weights"]
"""Sums that a method may ask for beside the update.

path: the mean path integral of the clients' steps in the round (post-processing of noisy gradients).
reference: the mean gradient of the memories at the round's start, a release of its own.
fisher: the mean diagonal Fisher information when a slot closes, a release of its own.
fisher_weights: with it, the mean of every client's Fisher information times its own last model (post-processing).
"""


@dataclass(frozen=True, eq=False)
class Received:
    """What the server knows after a round: the weights before and after it, and the means of the sums beside."""

    before: Floats
    after: Floats
    means: Mapping[Beside, Floats]
    learning_rate: float


class Method(Protocol):
    """A strategy's own part. Frozen; everything it reads in `after`, `absorb` and `keep` is released or its own."""

    @property
    def memory(self) -> bool:
        """Whether devices keep a replay memory for it."""

    @property
    def stored(self) -> bool:
        """Whether devices store the network's outputs with each example of the memory."""

    @property
    def teachers(self) -> int:
        """Number of networks whose outputs the loss reads; column block `i` of a batch belongs to teacher `i`.

        Stored outputs, if any, are one block more, the last.
        """

    @property
    def beside(self) -> frozenset[Beside]:
        """Sums it asks for beside the update."""

    def kept(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of arrays that a device keeps between rounds, for a network of `size` weights."""

    def initial(self, weights: Floats) -> State:
        """Return its public arrays before the first round; they stand in the state beside "weights"."""

    def teacher_weights(self, state: State, kept: Mapping[str, Floats]) -> Sequence[Floats]:
        """Return the flat weights of the teachers."""

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """Return the loss of an example in one round."""

    def after(self, state: State, kept: Mapping[str, Floats]) -> AfterNoise | None:
        """Return what is done to the noisy gradient."""

    def keep(self, kept: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """Return the device's arrays after a visit that ended with the weights `local` (already private)."""

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """Return its public arrays after a round."""


@dataclass(frozen=True)
class Plain:
    """Federated averaging as it is: fine-tuning (McMahan et al. 2017, algorithm 1).

    With a memory it is experience replay, ER (Chaudhry et al. 2019, arXiv 1902.10486, section 3). Every other method
    copies it and changes what it needs to.
    """

    memory: bool = False
    stored: bool = False
    teachers: int = 0
    beside: frozenset[Beside] = frozenset()

    def kept(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.kept`."""
        return {}

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {}

    def teacher_weights(self, state: State, kept: Mapping[str, Floats]) -> Sequence[Floats]:
        """See `Method.teacher_weights`."""
        return ()

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""
        return head.cross_entropy

    def after(self, state: State, kept: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        return None

    def keep(self, kept: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """See `Method.keep`."""
        return {}

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        return {name: array for name, array in state.items() if name != "weights"}
