"""What a strategy of the literature adds to federated DP-SGD: a loss, terms after the noise, sums beside the update.

`GradientStrategy` does the rest for every method alike: strata, clipping, noise, encoding, averaging, events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from privacy import AfterNoise, ExampleLoss
from secure_fcl.strategies.base import DeviceView, Floats, State, StepContext
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.networks import Networks
from secure_fcl.strategies.side_channels import SideChannel

if TYPE_CHECKING:
    import torch

Mean = Literal["uniform", "weighted", "none"]
"""What the server makes of the clients' updates.

uniform: their mean, every client counting the same. weighted: the mean by numbers of examples, two sums. none: nothing
is summed, every client has a model of its own.
"""

Beside = Literal["path", "reference", "fisher", "fisher_weights"]
"""Sums that a method may ask for beside the update.

path: the mean path integral of the clients' steps in the round (post-processing of noisy gradients); of the steps of
their surrogate models, where the method has them.
reference: the mean gradient of the memories at the round's start, a release of its own.
fisher: the mean diagonal Fisher information when a slot closes, a release of its own.
fisher_weights: with it, the mean of every client's Fisher information times its own last model (post-processing).
"""


class Channel(Protocol):
    """A method's side channel, with both of its ends."""

    def declared(self, networks: Networks) -> SideChannel:
        """Return its declaration."""

    def disclose(self, networks: Networks, weights: Floats, view: DeviceView, step: StepContext) -> Floats:
        """Return what one client sends of what it may read."""

    def informed(self, networks: Networks, state: State, step: StepContext, disclosed: Floats) -> State:
        """Return the method's public arrays when the server has read (clients, *shape)."""


@dataclass(frozen=True, eq=False)
class Received:
    """What the server knows after a round: the weights before and after it, and the means of the sums beside."""

    before: Floats
    after: Floats
    means: Mapping[Beside, Floats]
    learning_rate: float


class Method(Protocol):
    """A strategy's own part. Frozen; everything it reads in `after`, `absorb` and `carry` is released or its own."""

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

    @property
    def mean(self) -> Mean:
        """What the server makes of the clients' updates."""

    @property
    def channel(self) -> Channel | None:
        """What it sends beside the sums, if anything."""

    @property
    def own(self) -> bool:
        """Whether every client has a model of its own, made of its array "own", and there is no common one."""

    @property
    def public(self) -> bool:
        """Whether it reads the run's public unlabelled inputs, which everybody holds."""

    @property
    def surrogate(self) -> bool:
        """Whether a client trains a second network of its own in every round, kept as its array "surrogate".

        It is a visit of its own, charged like the first; nothing of it is sent but its path.
        """

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of arrays that a device keeps between rounds, for a network of `size` weights."""

    def initial(self, weights: Floats) -> State:
        """Return its public arrays before the first round; they stand in the state beside "weights"."""

    def teacher_weights(self, state: State, carried: Mapping[str, Floats]) -> Sequence[Floats]:
        """Return the flat weights of the teachers."""

    def start(self, state: State, carried: Mapping[str, Floats], step: StepContext) -> Floats:
        """Return the weights that a client's training starts from."""

    def surrogate_start(self, state: State, carried: Mapping[str, Floats], step: StepContext) -> Floats:
        """Return the weights that a client's surrogate starts from."""

    def surrogate_after(self, state: State) -> AfterNoise | None:
        """Return what is done to the noisy gradient of a surrogate."""

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """Return the loss of an example in one round."""

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """Return what is done to the noisy gradient."""

    def carry(self, carried: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """Return the device's arrays after a visit that ended with the weights `local` (already private)."""

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """Return its public arrays after a round."""

    def personal(self, state: State, own: Floats) -> State:
        """Return the state that a client's own model predicts by, from its array "own"; for `own` alone."""

    def scores(self, networks: Networks, state: State, x: Floats) -> Floats:
        """Return class scores (n, classes) of inputs."""

    def network(self, networks: Networks, state: State) -> torch.nn.Module:
        """Return a fresh network that gives these scores, frozen weights as buffers."""


@dataclass(frozen=True)
class Plain:
    """Fine-tuning: federated averaging (McMahan et al. 2017, arXiv 1602.05629, algorithm 1) of equal weights.

    With a memory it is experience replay, ER (Chaudhry et al. 2019, arXiv 1902.10486, section 3). Every other method
    copies it and changes what it needs to.
    """

    memory: bool = False
    stored: bool = False
    teachers: int = 0
    beside: frozenset[Beside] = frozenset()
    mean: Mean = "uniform"
    channel: Channel | None = None
    own: bool = False
    public: bool = False
    surrogate: bool = False

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`."""
        return {}

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {}

    def teacher_weights(self, state: State, carried: Mapping[str, Floats]) -> Sequence[Floats]:
        """See `Method.teacher_weights`."""
        return ()

    def start(self, state: State, carried: Mapping[str, Floats], step: StepContext) -> Floats:
        """See `Method.start`."""
        return state["weights"]

    def surrogate_start(self, state: State, carried: Mapping[str, Floats], step: StepContext) -> Floats:
        """See `Method.surrogate_start`."""
        return state["weights"]

    def surrogate_after(self, state: State) -> AfterNoise | None:
        """See `Method.surrogate_after`."""
        return None

    def loss(self, head: Head, state: State, step: StepContext) -> ExampleLoss:
        """See `Method.loss`."""
        return head.cross_entropy

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        return None

    def carry(self, carried: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """See `Method.carry`."""
        return {}

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        return {name: array for name, array in state.items() if name != "weights"}

    def personal(self, state: State, own: Floats) -> State:
        """See `Method.personal`."""
        return {**state, "weights": own_or(state["weights"], own)}

    def scores(self, networks: Networks, state: State, x: Floats) -> Floats:
        """See `Method.scores`."""
        return networks.outputs(state["weights"], x)

    def network(self, networks: Networks, state: State) -> torch.nn.Module:
        """See `Method.network`."""
        return networks.loaded(state["weights"])


def own_or(common: Floats, own: Floats) -> Floats:
    """Return a device's own weights, or the common ones where it has none yet: its arrays start as zeros."""
    return own if own.any() else common
