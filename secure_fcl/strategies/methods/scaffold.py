"""SCAFFOLD: control variates against the drift of clients, as a second sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from privacy import AfterNoise, Event
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.base import Contribution, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Plain, Received
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.uploads.choice import Uploads
from secure_fcl.strategies.gradient.uploads.gradient_sum import GradientSumUpload
from secure_fcl.strategies.gradient.uploads.update import UpdateUpload
from secure_fcl.strategies.gradient.uploads.upload import ClientRound
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits
from secure_fcl.strategies.section import GradientSection, Probability

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Corrected:
    """A constant added to every noisy gradient."""

    constant: torch.Tensor

    def __call__(self, gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float, /) -> torch.Tensor:
        """See `AfterNoise`."""
        return gradient + self.constant.to(gradient.dtype)


@dataclass(frozen=True, kw_only=True)
class Scaffold(Plain):
    """SCAFFOLD: a client's steps are corrected by where all clients go and it alone went, from a second sum.

    Karimireddy et al. 2020 (ICML, arXiv 1910.06378, algorithm 1, option II): steps along g - c_i + c, and c_i becomes
    c_i - c + (x - y_i) / (steps * rate), the mean noisy gradient of the visit. The changes of all c_i are summed and
    move c by their mean. Everything is made of noisy gradients: two sums, no charge beyond the steps. `correction` 1 is
    the paper's; 0 is averaging. With noise shared inside the sum no client takes steps of its own, and it is
    fine-tuning.
    """

    correction: float = 1.0

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`."""
        return {"control": (size,)}

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"control": np.zeros_like(weights)}

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        import torch

        if "control" not in carried:
            return None
        return Corrected(torch.from_numpy(self.correction * (state["control"] - carried["control"])))

    def carry(self, carried: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """See `Method.carry`; the new control comes with the update, see `ControlledUpdate`."""
        return {"control": carried["control"]}

    def uploads(self, numbers: Numbers) -> Uploads:
        """See `SendsOwn.uploads`.

        Raises:
            ConfigInvalid: steps that are not those of plain SGD, whose mean gradient an update does not tell.
        """
        if numbers.shared:
            sums = GradientSumUpload(numbers)
            return Uploads(sums, {"train": sums})
        if numbers.dpsgd.momentum or numbers.dpsgd.optimizer != "sgd":
            raise ConfigInvalid(
                f"{numbers.name} reads a client's mean gradient off its update, which only plain SGD tells: set "
                "training.optimizer = 'sgd' and training.momentum = 0"
            )
        visits = LocalVisits(numbers)
        return Uploads(visits, {"train": ControlledUpdate(self, UpdateUpload(numbers, visits), numbers)})


@dataclass(frozen=True, eq=False)
class ControlledUpdate:
    """The update of a visit, and the change of the client's control in the same units: what a visit's steps make of it.

    Post-processing of noisy gradients, which charges nothing.
    """

    method: Scaffold
    usual: UpdateUpload
    numbers: Numbers

    @cached_property
    def _unit(self) -> float:
        return self.numbers.dpsgd.learning_rate * self.numbers.dpsgd.steps

    def declare(self) -> UploadSpec:
        """Return the update and the change of the control, with the same bound."""
        usual = self.usual.declare()
        clip = self.numbers.encoding.update_clip
        return replace(usual, parts=(*usual.parts, Part("control", (self.numbers.size,), clip)))

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what the visit charges."""
        return self.usual.events(stratum)

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return no rate: all noise is the clients' own."""
        return ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's update and change of control; it keeps the control as sent, clipped where that is."""
        clip, common = self.numbers.encoding.update_clip, self.method.correction * round.state["control"]
        for view, made in zip(round.views, self.usual.fill(round), strict=True):
            own = view.carried["control"]
            mean = -made.parts["update"] / self._unit - common + self.method.correction * own
            change: Values = np.clip((mean - own) * self._unit, -clip, clip)
            kept = {**made.carried, "control": (own + change / self._unit).astype(np.float32)}
            yield Contribution({**made.parts, "control": change}, kept)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights moved by the mean update, and the control moved by the mean change."""
        new, received = self.usual.read(state, step, total, clients)
        control = state["control"] + total["control"] / clients / self._unit
        return {**new, "control": control.astype(np.float32)}, received


class ScaffoldSection(GradientSection):
    """SCAFFOLD."""

    correction: Probability = Field(1.0, description="weight of the control variates; 1: as published")


scaffold = GradientEntry(section=ScaffoldSection(), method=lambda section: Scaffold(correction=section.correction))
