"""Federated DP-SGD with any method on top: updates with their own noise, or gradient sums with noise shared inside.

"local" (and "none"): every client trains for some steps and sends its update, private before it is sent; the server
takes the mean (McMahan et al. 2017, algorithm 1). "shared": every client sends one clipped gradient sum at the
server's weights, the noise is added inside the secure sum, and the server steps (central DP-SGD without a curator); a
round is one step there, so whatever a method does between local steps is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from privacy import DpSgdPlan, Event, ExampleLoss, NonPrivate, RandomBytes, SampledGaussian, Stratum
from secure_fcl.strategies.base import Contribution, DeviceView, Examples, Floats, Phase, State, StepContext
from secure_fcl.strategies.base import Stratum as StratumName
from secure_fcl.strategies.contribution import UploadSpec, Values
from secure_fcl.strategies.gradient import uploads as beside
from secure_fcl.strategies.gradient.last_layer import LastLayer
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.method import Method, Plain, Received
from secure_fcl.strategies.gradient.models import load_vector
from secure_fcl.strategies.gradient.networks import Networks, Trained, Trainer, Visit
from secure_fcl.strategies.side_channels import Disclosed, SideChannel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rates:
    """Public Poisson rates of the strata, and of the current chunk when Fisher information is summed over it."""

    current: float
    memory: float = 0.0
    fisher: float = 1.0


@dataclass(frozen=True)
class Encoding:
    """Bounds and integer steps of uploads: what a coordinate may be, and how finely it is told.

    update_clip, update_bits: of an update with its own noise. sum_clip (in clipping norms), scale_bits (integers per
    clipping norm): of a gradient sum that gets its noise inside. fisher_bits: of one entry of Fisher information.
    """

    update_clip: float = 0.5
    update_bits: int = 17
    sum_clip: float = 4.0
    scale_bits: int = 14
    fisher_bits: int = 24


@dataclass(frozen=True, eq=False)
class GradientStrategy:
    """A method on federated DP-SGD.

    Attributes:
        plan: steps, clipping, noise and step size; with shared noise it has one step, and `momentum` is the server's.
        shared: whether the noise is added inside the sum. `plan.noise_multiplier` 0: no noise anywhere.
        fisher_noise: noise multiplier of Fisher information; 0: none.
        count_noise: noise multiplier of a client's number of examples, where it is its weight; 0: none.
        last_from: the slot from which only the last layer is trained; None: never.
        examples: public bound on the examples of one chunk.
        keep_moments: whether a client's optimizer goes on at its next visit; its moments are then kept on the device.

    Raises:
        ValueError: moments are to be kept where only the last layer is trained from some slot on.
    """

    name: str
    plan: DpSgdPlan
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
    def head(self) -> Head:
        """The public label set."""
        return Head(self.networks.classes, self.groups)

    @cached_property
    def size(self) -> int:
        """Number of weights."""
        return len(self.networks.initial)

    @property
    def kept(self) -> Mapping[str, tuple[int, ...]]:
        """See `Strategy.kept`."""
        if self.shared:
            return {}
        moments = {"moments": (self.plan.moments(self.size),)} if self.keep_moments else {}
        return {**self.method.kept(self.size), **moments}

    @property
    def columns(self) -> int:
        """See `Strategy.columns`."""
        return self.networks.classes if self.method.stored else 0

    @cached_property
    def uploads(self) -> Mapping[Phase, UploadSpec]:
        """See `Strategy.uploads`."""
        train = beside.gradient_upload(self) if self.shared else beside.update_upload(self)
        found: dict[Phase, UploadSpec] = {"train": train}
        if "fisher" in self.method.beside:
            found["close"] = beside.fisher_upload(self)
        return found

    def events(self, stratum: StratumName, phase: Phase = "train") -> Mapping[Event, int]:
        """See `Strategy.events`."""
        if self.shared:
            return {}
        if phase == "close":
            return self._fisher_events() if stratum == "current" else {}
        rate = self.rates.current if stratum == "current" else self.rates.memory
        found = self.plan.events(rate)
        if self.method.surrogate:
            found += self.plan.events(rate)
        if stratum == "current" and self.method.mean == "weighted":
            found[beside.count_event(self)] += 1
        if stratum == "memory" and "reference" in self.method.beside:
            found += replace(self.plan, steps=1).events(rate)
        return found

    def _fisher_events(self) -> Mapping[Event, int]:
        if self.fisher_noise == 0.0:
            return {NonPrivate("Fisher information without noise"): 1}
        return {SampledGaussian(self.rates.fisher, self.fisher_noise): 1}

    def sampled(self, stratum: StratumName, phase: Phase = "train") -> tuple[float, ...]:
        """See `Strategy.sampled`."""
        if not self.shared:
            return ()
        if phase == "close":
            return (self.rates.fisher,) if stratum == "current" else ()
        if stratum == "current":
            return (self.rates.current,)
        releases = 2 if "reference" in self.method.beside else 1
        return (self.rates.memory,) * releases if self.rates.memory > 0.0 else ()

    def initial(self) -> State:
        """See `Strategy.initial`."""
        weights = self.networks.initial
        velocity = {"velocity": np.zeros_like(weights)} if self.shared and self.plan.momentum else {}
        return {"weights": weights, **velocity, **self.method.initial(weights)}

    def contribute(self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes) -> Contribution:
        """See `Strategy.contribute`."""
        return next(self.contribute_all(state, [view], step, [coins]))

    def contribute_all(
        self, state: State, views: Sequence[DeviceView], step: StepContext, coins: Sequence[RandomBytes]
    ) -> Iterator[Contribution]:
        """See `Strategy.contribute_all`."""
        visits = [self.visit(state, view, own) for view, own in zip(views, coins, strict=True)]
        loss = self.method.loss(self.head, state, step)
        if step.phase == "close":
            for view, visit in zip(views, visits, strict=True):
                yield beside.fisher(self, state, view, visit)
        elif self.shared:
            trainer = self.trainer(step.slot)
            found = trainer.sums(state["weights"], visits, self.plan.clipping_norm, loss)
            for visit, own in zip(visits, found, strict=True):
                yield Contribution({"gradient": own, **beside.reference_sum(self, trainer, state, visit, loss)})
        else:
            yield from self._updates(self.trainer(step.slot), state, views, visits, step, loss)

    def _updates(
        self, trainer: Trainer, state: State, views: Sequence[DeviceView], visits: Sequence[Visit], step: StepContext,
        loss: ExampleLoss,
    ) -> Iterator[Contribution]:  # fmt: skip
        starts = np.stack([self.method.start(state, view.kept, step) for view in views])
        walks = "path" in self.method.beside and not self.method.surrogate
        made = trainer.visits(starts, visits, self.plan, loss, walks)
        seconds = self._surrogates(trainer, state, views, visits, step, loss)
        for view, visit, start, trained, second in zip(views, visits, starts, made, seconds, strict=True):
            walked = trained if second is None else replace(trained, path=second[1].path)
            local = (start + trained.update).astype(np.float32)
            kept = dict(self.method.keep(view.kept, local, step))
            if trained.moments is not None:
                kept["moments"] = trained.moments
            if second is not None:
                kept["surrogate"] = (second[0] + second[1].update).astype(np.float32)
            yield Contribution(beside.update_parts(self, trainer, state, visit, walked, loss), kept)

    def _surrogates(
        self, trainer: Trainer, state: State, views: Sequence[DeviceView], visits: Sequence[Visit], step: StepContext,
        loss: ExampleLoss,
    ) -> Iterator[tuple[Floats, Trained] | None]:  # fmt: skip
        """Yield where each client's surrogate started and what its visit made of it; None where there are none."""
        if not self.method.surrogate:
            yield from [None] * len(visits)
            return
        starts = np.stack([self.method.surrogate_start(state, view.kept, step) for view in views])
        after = self.method.surrogate_after(state)
        own = [replace(visit, after=after, moments=None) for visit in visits]
        yield from zip(starts, trainer.visits(starts, own, self.plan, loss, path=True), strict=True)

    def update(self, state: State, view: DeviceView, plan: DpSgdPlan, coins: RandomBytes) -> Values:
        """Return new weights minus old ones after one visit of `plan` with the first round's loss (for attacks)."""
        loss = self.method.loss(self.head, state, StepContext(0, 0, ()))
        trainer = self.trainer(0)
        return next(trainer.visits(state["weights"], [self.visit(state, view, coins)], plan, loss)).update

    def trainer(self, slot: int) -> Trainer:
        """Return who trains in a slot: the whole network, or its last layer alone."""
        alone = self.last_from is not None and slot >= self.last_from
        return LastLayer(self.networks) if alone else self.networks

    def visit(self, state: State, view: DeviceView, coins: RandomBytes) -> Visit:
        """Return what one client trains on, with the columns that the loss reads."""
        import torch

        teachers = self.method.teacher_weights(state, view.kept)

        def stratum(examples: Examples, q: float) -> Stratum:
            taught = [self.networks.outputs(weights, examples.x) for weights in teachers]
            if self.method.stored:
                nothing = np.zeros((len(examples), self.columns), dtype=np.float32)
                taught.append(nothing if examples.columns is None else examples.columns)
            extra = torch.from_numpy(np.concatenate(taught, axis=1)) if taught else None
            x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
            device = self.networks.device
            return Stratum(x.to(device), y.to(device), q, extra.to(device) if extra is not None else None)

        strata = [stratum(view.current, self.rates.current), stratum(view.memory, self.rates.memory)]
        if self.shared:
            return Visit(strata, coins)
        moments = view.kept["moments"] if self.keep_moments else None
        return Visit(strata, coins, self.method.after(state, view.kept), moments)

    @property
    def side_channels(self) -> tuple[SideChannel, ...]:
        """See `Discloses.side_channels`."""
        return () if self.method.channel is None else (self.method.channel.declared(self.networks),)

    def disclose(self, state: State, view: DeviceView, step: StepContext) -> Mapping[str, Floats]:
        """See `Discloses.disclose`."""
        if self.method.channel is None:
            return {}
        made = self.method.channel.disclose(self.networks, state["weights"], view.current)
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
        before = state["weights"]
        if step.phase == "close":
            received = Received(before, before, beside.fisher_means(self, before, total, clients), 0.0)
            return {**state, **self.method.absorb(state, step, received)}
        if self.shared:
            new, means = self._server_step(state, total, clients)
        else:
            new = {"weights": beside.averaged(self, before, total, clients)}
            means = beside.means(self, total, clients)
        received = Received(before, new["weights"], means, self.plan.learning_rate)
        return {**new, **self.method.absorb({**state, **new}, step, received)}

    def _server_step(self, state: State, total: dict[str, Values], clients: int) -> tuple[State, beside.Means]:
        import torch

        before = state["weights"].astype(np.float64)
        share = self.plan.denominator * clients
        noisy = total["gradient"] / share
        means = beside.reference_mean(total, share)
        # The reference of this very round, not of the one before: both were summed at the same weights.
        change = self.method.after({**state, **{n: m for n, m in means.items() if n in state}}, {})
        gradient = noisy
        if change is not None:
            moved = change(torch.from_numpy(noisy), torch.from_numpy(before), self.plan.learning_rate)
            gradient = moved.numpy()
        new: State = {}
        if self.plan.momentum:
            gradient = self.plan.momentum * state["velocity"].astype(np.float64) + gradient
            new["velocity"] = gradient.astype(np.float32)
        after = before - self.plan.learning_rate * gradient
        if "path" in self.method.beside:
            means["path"] = (-noisy * (after - before)).astype(np.float32)
        return {"weights": after.astype(np.float32), **new}, means

    def scores(self, state: State, x: Floats) -> Floats:
        """See `Strategy.scores`."""
        return self.networks.outputs(state["weights"], x)

    def network(self, state: State) -> torch.nn.Module:
        """Return a fresh network with the state's weights (for attacks and for use after the run)."""
        model = self.networks.fresh()
        load_vector(model, state["weights"])
        return model
