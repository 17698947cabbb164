"""The configuration sections of rows: one class per strategy, with its own numbers."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from secure_fcl.config.streams import Positive, Section

Probability = Annotated[float, Field(gt=0.0, le=1.0)]
RowName = Literal[
    "finetune", "replay", "fedavg", "fedprox", "fedewc", "fedcurv", "fedsi", "fedssi", "fedlwf", "flwf2t", "derpp",
    "fedagem", "glfc", "glfc_safe", "joint", "local_only", "class_sums", "analytic", "slda", "calm",
]  # fmt: skip
GradientName = Literal[
    "finetune",
    "replay",
    "fedavg",
    "fedprox",
    "fedewc",
    "fedcurv",
    "fedsi",
    "fedssi",
    "fedlwf",
    "flwf2t",
    "derpp",
    "fedagem",
    "glfc",
    "glfc_safe",
]
ChannelName = Literal["glfc.prototype_gradients"]
NoisePlace = Literal["local", "shared", "none"]


class GradientRow(Section):
    """A strategy that trains a network."""

    epsilon: float = Field(8.0, gt=0.0, description="budget of the worst cohort; inf with noise = 'none'")
    noise: NoisePlace = Field(
        "local",
        description="local: the client adds the full noise; shared: one clipped sum a round, noise shared inside it",
    )
    rounds: int = Field(0, ge=0, le=10_000, description="rounds per task; 0: training.rounds")
    learning_rate: float = Field(0.0, ge=0.0, allow_inf_nan=False, description="step size; 0: training.learning_rate")

    @model_validator(mode="after")
    def _budget_and_noise_agree(self) -> Self:
        _agree(self.epsilon, self.noise)
        return self


class WeightedRow(GradientRow):
    """FedAvg, weighted by numbers of examples."""

    count_noise: Positive = Field(
        8.0, description="noise multiplier of a client's number of examples over that of a step; local noise only"
    )


class AloneRow(GradientRow):
    """Every client trains a model of its own."""

    @model_validator(mode="after")
    def _nothing_is_summed(self) -> Self:
        if self.noise == "shared":
            raise ValueError("nothing is summed, so no sum can hold shared noise: use noise = 'local'")
        return self


class ProxRow(GradientRow):
    """FedProx."""

    mu: Positive = Field(0.1, description="weight of the proximal term")


class ElasticRow(GradientRow):
    """FedEWC."""

    strength: Positive = Field(10.0, description="weight of the penalty")
    decay: Probability = Field(1.0, description="what is left of old importances after a task; 1: all")


class CurvatureRow(ElasticRow):
    """FedCurv."""


class SynapticRow(GradientRow):
    """Synaptic Intelligence."""

    strength: Positive = Field(0.1, description="weight of the penalty")
    damping: Positive = Field(0.1, description="added to a weight's squared distance")


class SurrogateRow(SynapticRow):
    """FedSSI."""

    mix: Probability = Field(0.5, description="pull of the server's weights on surrogates, (1 - mix) / (2 mix)")


class DistillationRow(GradientRow):
    """FedLwF."""

    weight: Positive = Field(1.0, description="weight of the distillation")
    temperature: Positive = Field(2.0, description="softens both networks' outputs")
    balanced: bool = Field(False, description="weigh the terms 1/n and 1 - 1/n after n tasks instead")
    per_task: bool = Field(
        False, description="weight times the number of earlier tasks: one term each, for outputs that all tasks share"
    )

    @model_validator(mode="after")
    def _one_weighing(self) -> Self:
        if self.balanced and self.per_task:
            raise ValueError("balanced and per_task weigh the distillation in two ways; choose one")
        return self


class TwoTeachersRow(GradientRow):
    """FLwF-2T."""

    alpha: Probability = Field(0.5, description="weight of the cross-entropy")
    beta: Probability = Field(0.4, description="weight of the own old model; the rest is the server's")
    temperature: Positive = Field(2.0, description="softens the networks' outputs")

    @model_validator(mode="after")
    def _weights_leave_a_rest(self) -> Self:
        if self.alpha + self.beta > 1.0:
            raise ValueError(f"alpha + beta = {self.alpha + self.beta:g} is above 1; lower one of them")
        return self


class DarkRow(GradientRow):
    """DER++."""

    alpha: Positive = Field(0.5, description="weight of the distance to the stored outputs")
    beta: Positive = Field(0.5, description="weight of the cross-entropy on the memory")


class GradientMemoryRow(GradientRow):
    """Fed-A-GEM."""


class SumsRow(Section):
    """A strategy whose upload is a sum of bounded statistics, each released once."""

    epsilon: float = Field(2.0, gt=0.0, description="budget of the worst cohort; inf with noise = 'none'")
    noise: NoisePlace = Field("shared", description="Skellam shares inside the sum, full local noise, or none")
    scale_bits: int = Field(14, ge=4, le=24, description="a unit-norm feature vector is scaled to 2^scale_bits")

    @model_validator(mode="after")
    def _budget_and_noise_agree(self) -> Self:
        _agree(self.epsilon, self.noise)
        return self


class GlfcRow(GradientRow):
    """GLFC's loss on sums alone (GLFC-safe)."""

    new_error: Probability = Field(0.5, description="public constant that a new class's error is divided by")
    old_error: Probability = Field(0.5, description="public constant that an old class's error is divided by")


class GlfcProxyRow(GlfcRow):
    """GLFC with its proxy server, which reads a side channel."""


class ClassSumsRow(SumsRow):
    """Class sums of bounded features."""


class RefinedRow(SumsRow):
    """Sums of features of which there are two kinds."""

    features: Literal["plain", "refined"] = Field(
        "refined", description="plain: those of class_sums; refined: digits set upright, levels of faint motion"
    )


class MomentsRow(RefinedRow):
    """Streaming LDA: class sums and one second moment."""

    gram_share: float = Field(
        0.5, gt=0.0, lt=1.0, description="part of an example's squared weight that goes to the second moment"
    )


class AnalyticRow(MomentsRow):
    """Analytic federated class-incremental learning."""

    ridge: Positive = Field(1.0, description="added to the second moment's eigenvalues, beside what noise asks for")


class CalmRow(RefinedRow):
    """CALM, this toolkit's own: class sums, then the scatter of directions from the class means."""

    scatter_share: float = Field(
        0.1, gt=0.0, lt=1.0, description="part of the budget (in squared sensitivity over noise) that the scatter gets"
    )
    variations: bool = Field(True, description="let the scatter see turned copies of each window")


def _agree(epsilon: float, noise: str) -> None:
    if noise == "none" and not math.isinf(epsilon):
        raise ValueError("noise = 'none' gives no guarantee: set epsilon = inf beside it")
    if noise != "none" and math.isinf(epsilon):
        raise ValueError("epsilon = inf needs noise = 'none'")
