"""FedWeIT: a shared base, masked and completed on each device by sparse weights of its own for every task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from privacy import Event
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.base import DeviceView, Floats, Ints, State, StepContext, Stratum
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Plain, Received
from secure_fcl.strategies.gradient.models import logits
from secure_fcl.strategies.gradient.networks import Networks, Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.choice import Uploads
from secure_fcl.strategies.gradient.uploads.update import UpdateUpload
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits, Made
from secure_fcl.strategies.methods.fedweit_parts import Layout, Learning, LearningNumbers, borrowed_by, dense
from secure_fcl.strategies.section import GradientSection, Probability
from secure_fcl.strategies.side_channels import SideChannel

if TYPE_CHECKING:
    import torch

CHANNEL = "fedweit.task_weights"
"""Name of the side channel, as the configuration allows it."""

#: Positions of sparse weights travel and are kept as float32, which counts exactly up to here.
_MOST_WEIGHTS = 2**24


@dataclass(frozen=True, kw_only=True)
class FedWeit(Plain):
    """FedWeIT on sums: a base that is averaged; masks and sparse weights of each task that never leave the device.

    Yoon et al. 2021 (ICML, arXiv 2003.03196, section 3.2): a client's weights in task t are B * m_t + A_t, B the base,
    m_t a mask from 0 to 1 on the outputs of each layer, A_t sparse. Every part steps along its own derivative of the
    loss, all of which are linear in the gradient at those weights; that gradient is clipped and noised as ever, so the
    parts are post-processing and the steps all that is charged. `sparse` is the weight of |A_t|, taken as a proximal
    step; `drift` that of |change of B * m_i + change of A_i|^2 over the client's earlier tasks i, taken implicitly. Of
    A_t the largest `kept` of the weights stay. Ours: the base is anchored where the round starts, an earlier A_i
    follows it where it is not zero, the base is sent whole and unmasked, and masks start at 1.

    Each client has a model of its own, for each class that of the newest task that announced it. Without the task's
    name at test (scenario.kind = "task") the models of several tasks compete, which they were not trained for. Plain
    SGD only; with noise shared inside the sum no device could train weights of its own, so that there is no such row.
    """

    own: bool = True
    kept: float = 0.2
    sparse: float = 1e-3
    drift: float = 0.1
    peers: int = 0

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`; the arrays come with the numbers, see `uploads`."""
        return {}

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        if not self.peers:
            return {}
        stored = (self.peers, 2, _entries(self.kept, len(weights)))
        return {"knowledge": np.zeros(stored, dtype=np.float32), "knowledge_of": np.full(1, -1.0, dtype=np.float32)}

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        found = {name: array for name, array in state.items() if name != "weights"}
        found["announced"] = state["announced"].copy()
        found["announced"][list(step.classes)] = step.slot
        return found

    def uploads(self, numbers: Numbers) -> Uploads:
        """See `SendsOwn.uploads`.

        Raises:
            ConfigInvalid: another optimizer than plain SGD, noise inside the sum, or too many weights.
        """
        d = numbers.dpsgd
        if d.momentum or d.optimizer != "sgd" or numbers.keep_moments or numbers.shared:
            raise ConfigInvalid(
                f"{numbers.name} steps on base, masks and sparse weights by plain SGD on the device: set "
                "training.optimizer = 'sgd', training.momentum = 0, training.keep_moments = false and noise = 'local'"
            )
        if numbers.size > _MOST_WEIGHTS:
            raise ConfigInvalid(
                f"{numbers.name} keeps positions of at most {_MOST_WEIGHTS} weights, not {numbers.size}"
            )
        visits = FactoredVisits(self, LocalVisits(numbers))
        return Uploads(visits, {"train": UpdateUpload(numbers, visits)})

    def parts(self, networks: Networks) -> Layout:
        """Return where the parts of a device's array lie."""
        return layout_of(networks, self.kept, self.peers)

    def personal(self, state: State, own: Floats) -> State:
        """See `Method.personal`."""
        return {**state, "own": own}

    def scores(self, networks: Networks, state: State, x: Floats) -> Floats:
        """See `Method.scores`."""
        if "own" not in state:
            return networks.outputs(state["weights"], x)
        return logits(self.network(networks, state), x)

    def network(self, networks: Networks, state: State) -> torch.nn.Module:
        """See `Method.network`: the base, or of a client's own state one network for each task."""
        if "own" not in state:
            return networks.loaded(state["weights"])
        layout, announced = self.parts(networks), state["announced"].astype(np.int64)
        factors = layout.read(state["own"], state["weights"])
        slots = sorted({slot for slot in announced.tolist() if slot >= 0})
        weights = [factors.weights(slot, layout, borrowed_by(state, factors, slot)) for slot in slots]
        return _per_task([networks.loaded(each) for each in weights], [announced == slot for slot in slots])


def layout_of(networks: Networks, kept: float, peers: int) -> Layout:
    """Return where the parts of a device's array lie, for networks of one architecture."""
    rows = np.repeat(*_outputs(networks.shapes))
    return Layout(row_of=rows, kept=_entries(kept, len(rows)), peers=peers)


def _entries(share: float, size: int) -> int:
    return math.ceil(share * size)


def _outputs(shapes: tuple[tuple[int, ...], ...]) -> tuple[Ints, Ints]:
    """Return the numbers of all outputs of all parameters, and how many weights each has."""
    sizes = [math.prod(shape[1:]) for shape in shapes for _ in range(shape[0] if shape else 1)]
    return np.arange(len(sizes)), np.array(sizes)


def _per_task(networks: list[torch.nn.Module], own: list[np.ndarray]) -> torch.nn.Module:
    """Return a network that gives every class the output of its task's; -inf to classes of none."""
    import torch

    class PerTask(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tasks = torch.nn.ModuleList(networks)
            for number, mine in enumerate(own):
                self.register_buffer(f"own{number}", torch.from_numpy(mine))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = None
            for number, task in enumerate(self.tasks):
                outputs, mine = task(x), self.get_buffer(f"own{number}")
                found = torch.full_like(outputs, -torch.inf) if found is None else found
                found = torch.where(mine, outputs, found)
            if found is None:
                raise ValueError("no class was announced yet; ask for a model after a task")
            return found

    return PerTask()


@dataclass(frozen=True, eq=False)
class FactoredVisits:
    """A visit whose steps move base, mask, sparse weights and attention; the update is the base's.

    Each step is a visit of one step at rate 1 from the client's weights, which gives the noisy gradient there.
    """

    method: FedWeit
    usual: LocalVisits

    @property
    def _numbers(self) -> Numbers:
        return self.usual.numbers

    @cached_property
    def _layout(self) -> Layout:
        return self.method.parts(self._numbers.networks)

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """Return the device's one array."""
        return {"own": (self._layout.length(self._numbers.slots),)}

    def initial(self) -> State:
        """Return which slot announced each class last; -1: none."""
        return {"announced": np.full(self._numbers.networks.classes, -1.0, dtype=np.float32)}

    def prepared(self, visit: Visit, state: State, view: DeviceView) -> Visit:
        """See `Training.prepared`."""
        return self.usual.prepared(visit, state, view)

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what the steps charge."""
        return self.usual.events(stratum)

    def made(self, round: ClientRound) -> Iterator[Made]:
        """Yield what each client's visit makes, in order."""
        plan, slot = self._numbers.dpsgd, round.step.slot
        one = replace(plan, steps=1, learning_rate=1.0)
        # Others' weights come after the first round of a slot; until then nothing is borrowed.
        attends = self.method.peers > 0 and int(round.state["knowledge_of"][0]) == slot
        weights = LearningNumbers(sparse=self.method.sparse, drift=self.method.drift)
        learning = [
            Learning.started(weights, self._layout, round.state, view.carried["own"], slot) for view in round.views
        ]
        for _ in range(plan.steps):
            starts = np.stack([each.weights for each in learning])
            steps = round.trainer.visits(starts, round.visits, one, round.loss)
            for each, trained in zip(learning, steps, strict=True):
                each.step(-trained.update.astype(np.float32), plan.learning_rate, attends)
        for each in learning:
            update = each.base.astype(np.float64) - round.state["weights"]
            yield Made(update, None, {"own": self._layout.write(each.ended())})


@dataclass(frozen=True, kw_only=True)
class TaskWeights:
    """The channel of FedWeIT: each client's sparse weights of its last task, sent to all others by the server.

    Section 3.2 and the authors' code: others learn with what weight to take them. The server hands out those of
    `peers` clients, drawn by the slot's number, since devices of this size cannot keep everybody's; a client's own may
    be among them. With local noise they are post-processing of noisy gradients; they are single clients' all the same,
    seen by everybody, and count as not covered here.
    """

    kept: float
    peers: int

    def declared(self, networks: Networks) -> SideChannel:
        """See `Channel.declared`."""
        layout = layout_of(networks, self.kept, self.peers)
        return SideChannel(
            CHANNEL,
            "a client's own sparse weights of its last task, which tell which classes it trained on",
            (2, layout.kept),
            lag=1,
            of_classes=lambda sent: _last_rows(dense(sent, layout.size), networks),
        )

    def disclose(self, networks: Networks, weights: Floats, view: DeviceView, step: StepContext) -> Floats:
        """See `Channel.disclose`."""
        layout = layout_of(networks, self.kept, self.peers)
        if step.slot == 0:
            return np.zeros((2, layout.kept), dtype=np.float32)
        return np.asarray(layout.read(view.carried["own"], weights).adaptive[step.slot - 1], dtype=np.float32)

    def informed(self, networks: Networks, state: State, step: StepContext, disclosed: Floats) -> State:
        """See `Channel.informed`."""
        knowledge = np.zeros_like(state["knowledge"])
        chosen = np.random.default_rng(step.slot).permutation(len(disclosed))[: self.peers]
        knowledge[: len(chosen)] = disclosed[chosen]
        return {"knowledge": knowledge, "knowledge_of": np.full(1, float(step.slot), dtype=np.float32)}


def _last_rows(vector: Floats, networks: Networks) -> Floats:
    """Return the largest |weight| that leads to each class's output, (classes,); of all where no layer gives them."""
    classes, (weight, bias) = networks.classes, networks.shapes[-2:]
    if weight[0] != classes or bias != (classes,):
        return np.full(classes, float(np.abs(vector).max()), dtype=np.float32)
    rows = vector[-classes - math.prod(weight) : -classes].reshape(classes, -1)
    return np.asarray(np.abs(rows).max(axis=1), dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class FedWeitWithTransfer(FedWeit):
    """FedWeIT as published: clients see each other's sparse task weights, a side channel, and attend to some of them.

    Yoon et al. 2021 (ICML, arXiv 2003.03196, section 3.2): sum_j a_j A_j of other clients' last tasks is added to a
    client's weights, with attention a_j of its own, here from 0 to 1; what a closed task borrowed becomes its own.
    """

    peers: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel", TaskWeights(kept=self.kept, peers=self.peers))


class FedWeitSection(GradientSection):
    """FedWeIT on sums: a shared base, private masks and sparse weights."""

    kept: Probability = Field(0.2, description="share of the weights that a task's sparse weights may be")
    sparse: float = Field(
        1e-3, ge=0.0, allow_inf_nan=False, description="weight of the sparse weights' absolute values"
    )
    drift: float = Field(
        0.1, ge=0.0, allow_inf_nan=False, description="weight of the change of earlier tasks' models by the base"
    )

    @model_validator(mode="after")
    def _noise_is_on_the_device(self) -> Self:
        if self.noise == "shared":
            raise ValueError(
                "every device trains weights of its own, which no noise inside a sum covers: use noise = 'local'"
            )
        return self


class FedWeitTransferSection(FedWeitSection):
    """FedWeIT as published, with its side channel."""

    peers: int = Field(3, ge=1, le=100, description="clients whose sparse weights everybody gets in a task")


fedweit = GradientEntry(
    section=FedWeitTransferSection(),
    method=lambda section: FedWeitWithTransfer(
        kept=section.kept, sparse=section.sparse, drift=section.drift, peers=section.peers
    ),
    channels=(CHANNEL,),
)
fedweit_safe = GradientEntry(
    section=FedWeitSection(),
    method=lambda section: FedWeit(kept=section.kept, sparse=section.sparse, drift=section.drift),
)
