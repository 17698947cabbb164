"""Federated DP-SGD with any method on top: updates with their own noise, or gradient sums with noise shared inside.

"local" (and "none"): every client trains for some steps and sends its update, private before it is sent; the server
takes the mean (McMahan et al. 2017, algorithm 1). "shared": every client sends one clipped gradient sum at the
server's weights, the noise is added inside the secure sum, and the server steps (central DP-SGD without a curator); a
round is one step there, so whatever a method does between local steps is zero.

Here is what is alike in both; what is sent, costs and becomes of it is in `uploads/`, from the public `numbers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from privacy import DpSgdPlan, Event, RandomBytes, Stratum
from secure_fcl.strategies.base import Contribution, DeviceView, Examples, Floats, Phase, State, StepContext
from secure_fcl.strategies.base import Stratum as StratumName
from secure_fcl.strategies.contribution import UploadSpec, Values
from secure_fcl.strategies.gradient.last_layer import LastLayer
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.method import Method, Plain
from secure_fcl.strategies.gradient.networks import Networks, Trainer, Visit
from secure_fcl.strategies.gradient.numbers import Encoding, LearntNorm, Numbers, Rates, Sends
from secure_fcl.strategies.gradient.public_inputs import PublicInputs
from secure_fcl.strategies.gradient.uploads.choice import Uploads, chosen
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.side_channels import Disclosed, SideChannel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False, kw_only=True)
class GradientStrategy:
    """A method on federated DP-SGD.

    Attributes:
        dpsgd: steps, clipping, noise and step size; with shared noise it has one step, and `momentum` is the server's.
        shared: whether the noise is added inside the sum. `dpsgd.noise_multiplier` 0: no noise anywhere.
        fisher_noise: noise multiplier of Fisher information; 0: none.
        count_noise: noise multiplier of a client's number of examples, where it is its weight; 0: none.
        last_from: the slot from which only the last layer is trained; None: never.
        examples: public bound on the examples of one chunk.
        keep_moments: whether a client's optimizer goes on at its next visit; its moments are then kept on the device.
        persons: whether the unit is a client. It joins a round by one coin of its own, of the current rate, with all
            of its current examples.
        sends: what it sends where the noise is shared; a difference for persons alone, after `dpsgd.steps` steps.
        learnt: how the norm of a person's vector is learnt; None: it is given.
        public: the run's public inputs, for methods that read them; None: made up for the networks' own inputs.
        slots: of the calendar, for methods that keep something of each.

    Raises:
        ValueError: moments are to be kept where only the last layer is trained from some slot on.
    """

    name: str
    dpsgd: DpSgdPlan
    rates: Rates
    rounds: int
    networks: Networks
    examples: int
    method: Method = field(default_factory=Plain)
    encoding: Encoding = field(default_factory=Encoding)
    shared: bool = False
    fisher_noise: float = 0.0
    count_noise: float = 0.0
    groups: tuple[int, ...] | None = None
    last_from: int | None = None
    keep_moments: bool = False
    persons: bool = False
    sends: Sends = "gradient"
    learnt: LearntNorm | None = None
    public: PublicInputs | None = None
    slots: int = 2
    once_per_chunk: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.keep_moments and self.last_from is not None:
            raise ValueError(f"last_from={self.last_from} trains the last layer alone, whose moments cannot be kept")

    @property
    def memory_rate(self) -> float:
        """See `Strategy.memory_rate`."""
        return self.rates.memory

    @property
    def q_current(self) -> float:
        """Public Poisson rate of the current chunk."""
        return self.rates.current

    @cached_property
    def numbers(self) -> Numbers:
        """Its public numbers, which both ends of its uploads read."""
        return Numbers(
            name=self.name,
            dpsgd=self.dpsgd,
            rates=self.rates,
            networks=self.networks,
            method=self.method,
            examples=self.examples,
            encoding=self.encoding,
            shared=self.shared,
            fisher_noise=self.fisher_noise,
            count_noise=self.count_noise,
            groups=self.groups,
            keep_moments=self.keep_moments,
            persons=self.persons,
            sends=self.sends,
            learnt=self.learnt,
            given=self.public,
            slots=self.slots,
            last_from=self.last_from,
        )

    @cached_property
    def _sent(self) -> Uploads:
        return chosen(self.numbers)

    @property
    def head(self) -> Head:
        """The public label set."""
        return self.numbers.head

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.numbers.size

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """See `Strategy.carried`."""
        return self._sent.training.carried

    @property
    def columns(self) -> int:
        """See `Strategy.columns`."""
        return self.networks.classes if self.method.stored else 0

    @cached_property
    def uploads(self) -> Mapping[Phase, UploadSpec]:
        """See `Strategy.uploads`."""
        return {phase: upload.declare() for phase, upload in self._sent.of.items()}

    def events(self, stratum: StratumName, phase: Phase = "train") -> Mapping[Event, int]:
        """See `Strategy.events`."""
        return self._sent.of[phase].events(stratum)

    def sampled(self, stratum: StratumName, phase: Phase = "train") -> tuple[float, ...]:
        """See `Strategy.sampled`."""
        return self._sent.of[phase].sampled(stratum)

    def initial(self) -> State:
        """See `Strategy.initial`."""
        weights = self.networks.initial
        return {"weights": weights, **self._sent.training.initial(), **self.method.initial(weights)}

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """See `Strategy.contribute`."""
        return next(self.contribute_all(state, [view], step, [coins]))

    def contribute_all(
        self, state: State, views: Sequence[DeviceView], step: StepContext, coins: Sequence[RandomBytes]
    ) -> Iterator[Contribution]:
        """See `Strategy.contribute_all`."""
        round = ClientRound(
            trainer=self.trainer(step.slot),
            state=state,
            step=step,
            views=views,
            visits=[self.visit(state, view, own) for view, own in zip(views, coins, strict=True)],
            loss=self.method.loss(self.head, state, step),
        )
        yield from self._sent.of[step.phase].fill(round)

    def update(self, state: State, view: DeviceView, plan: DpSgdPlan, coins: RandomBytes) -> Values:
        """Return new weights minus old ones after one visit of `dpsgd` with the first round's loss (for attacks)."""
        loss = self.method.loss(self.head, state, StepContext(slot=0, round=0, classes=()))
        trainer = self.trainer(0)
        return next(trainer.visits(state["weights"], [self.visit(state, view, coins)], plan, loss)).update

    def trainer(self, slot: int) -> Trainer:
        """Return who trains in a slot: the whole network, or its last layer alone."""
        alone = self.last_from is not None and slot >= self.last_from
        return LastLayer(self.networks) if alone else self.networks

    def visit(self, state: State, view: DeviceView, coins: RandomBytes) -> Visit:
        """Return what one client trains on, with the columns that the loss reads."""
        import torch

        teachers = self.method.teacher_weights(state, view.carried)

        def stratum(examples: Examples, q: float, weight: float = 1.0) -> Stratum:
            taught = [self.networks.outputs(weights, examples.x) for weights in teachers]
            if self.method.stored:
                nothing = np.zeros((len(examples), self.columns), dtype=np.float32)
                taught.append(nothing if examples.columns is None else examples.columns)
            extra = torch.from_numpy(np.concatenate(taught, axis=1)) if taught else None
            x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
            device = self.networks.torch_device
            extra = extra.to(device) if extra is not None else None
            return Stratum(x=x.to(device), y=y.to(device), q=q, extra=extra, weight=weight)

        # A client's one coin is tossed where its sum is made.
        current = 1.0 if self.persons else self.rates.current
        # Steps of its own follow the mean of its own examples: nothing leaves but what is clipped as a whole.
        mean = 1.0 / max(1, len(view.current)) if self.sends == "difference" else 1.0
        strata = [stratum(view.current, current, mean), stratum(view.memory, self.rates.memory)]
        return self._sent.training.prepared(Visit(strata, coins), state, view)

    @property
    def side_channels(self) -> tuple[SideChannel, ...]:
        """See `Discloses.side_channels`."""
        return () if self.method.channel is None else (self.method.channel.declared(self.networks),)

    def disclose(self, state: State, view: DeviceView, step: StepContext) -> Mapping[str, Floats]:
        """See `Discloses.disclose`."""
        if self.method.channel is None:
            return {}
        made = self.method.channel.disclose(self.networks, state["weights"], view, step)
        return {self.method.channel.declared(self.networks).name: made}

    def informed(self, state: State, step: StepContext, disclosed: Disclosed) -> State:
        """See `Discloses.informed`."""
        if self.method.channel is None:
            return state
        name = self.method.channel.declared(self.networks).name
        return {**state, **self.method.channel.informed(self.networks, state, step, disclosed[name])}

    def columns_of(self, state: State, examples: Examples) -> Floats:
        """See `Strategy.columns_of`."""
        if not self.method.stored:
            return np.zeros((len(examples), 0), dtype=np.float32)
        return self.networks.outputs(state["weights"], examples.x)

    def apply(self, state: State, step: StepContext, total: dict[str, Values], clients: int) -> State:
        """See `Strategy.apply`."""
        new, received = self._sent.of[step.phase].read(state, step, total, clients)
        return {**new, **self.method.absorb({**state, **new}, step, received)}

    def scores(self, state: State, x: Floats) -> Floats:
        """See `Strategy.scores`."""
        return self.method.scores(self.networks, state, x)

    def network(self, state: State) -> torch.nn.Module:
        """Return a fresh network with the state's weights, frozen ones as buffers (for attacks and after the run)."""
        return self.method.network(self.networks, state)
