"""Whose updates are averaged, and with which weights: FedAvg as published, and no averaging at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Mean, Plain, own_or
from secure_fcl.strategies.section import GradientSection, Positive


@dataclass(frozen=True)
class Weighted(Plain):
    """FedAvg: the mean of updates weighted by numbers of examples (McMahan et al. 2017, arXiv 1602.05629, algorithm 1).

    Two sums: each update times its client's weight, and the weights. A client's number of examples is private, so with
    local noise it gets noise of its own in every round, charged beside the steps; the product of a private update and a
    private weight is post-processing. With noise shared inside the sum the summed gradient of all examples is weighted
    by itself, no weight is needed, and it is fine-tuning.
    """

    mean: Mean = "weighted"


@dataclass(frozen=True)
class Alone(Plain):
    """The lower bound: every client trains a model of its own on its own stream, and nothing of it is summed.

    The epsilon is that of a client's model towards whoever gets it. Each client takes part in the sums with a single
    zero, since every strategy has an upload.
    """

    mean: Mean = "none"
    own: bool = True

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`."""
        return {"own": (size,)}

    def start(self, state: State, carried: Mapping[str, Floats], step: StepContext) -> Floats:
        """See `Method.start`."""
        return own_or(state["weights"], carried["own"])

    def carry(self, carried: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """See `Method.carry`."""
        return {"own": local}


class WeightedSection(GradientSection):
    """FedAvg, weighted by numbers of examples."""

    count_noise: Positive = Field(
        8.0, description="noise multiplier of a client's number of examples over that of a step; local noise only"
    )


class AloneSection(GradientSection):
    """Every client trains a model of its own."""

    @model_validator(mode="after")
    def _nothing_is_summed(self) -> Self:
        if self.noise == "shared":
            raise ValueError("nothing is summed, so no sum can hold shared noise: use noise = 'local'")
        return self


fedavg = GradientEntry(section=WeightedSection(), method=lambda section: Weighted())
local_only = GradientEntry(section=AloneSection(), method=lambda section: Alone(), attackable=False)
