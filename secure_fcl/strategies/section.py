"""Sections of the configuration: their base, and what the section of every strategy holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crypto.protocols.outside import names_code

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Probability = Annotated[float, Field(gt=0.0, le=1.0)]
NoisePlace = Literal["local", "shared", "none"]


OTHER_FEATURES = (
    "general: of any shape, without constants of a sensor; module:function: your own, clipped to norm 1 on the device"
)


def _features_of(*names: str) -> tuple[AfterValidator, Any]:
    def check(name: str) -> str:
        if name in names or names_code(name):
            return name
        raise ValueError(f"use {', '.join(names)}, or module:function of your own")

    return AfterValidator(check), Field(json_schema_extra={"enum": [*names, "module:function"]})


PlainFeatures = Annotated[str, *_features_of("plain", "general")]
CalmFeatures = Annotated[str, *_features_of("auto", "plain", "refined", "rhythm", "general")]
RefinedFeatures = Annotated[str, *_features_of("plain", "refined", "general")]


class Section(BaseModel):
    """A table of the configuration file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class StrategySection(Section):
    """What a run decides about any strategy: its budget, and where its noise is added."""

    epsilon: float = Field(gt=0.0, description="budget of the worst cohort; inf with noise = 'none'")
    noise: NoisePlace = Field(description="where the noise is added")
    norm_bound: float = Field(
        0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="largest L2 norm of what one client sends a round, its share of noise aside: honest clients clip, "
        "and whoever exceeds it is left out of the sum, seen on shares alone; 0: not checked",
    )
    close_norm_bound: float = Field(
        0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="the same for what is sent once when a task closes; 0: not checked",
    )

    @property
    def norm_bounds(self) -> Mapping[Literal["train", "close"], float]:
        """The bound on the norm of each phase's upload; 0: none."""
        return {"train": self.norm_bound, "close": self.close_norm_bound}

    @model_validator(mode="after")
    def _budget_and_noise_agree(self) -> Self:
        if self.noise == "none" and not math.isinf(self.epsilon):
            raise ValueError("noise = 'none' gives no guarantee: set epsilon = inf beside it")
        if self.noise != "none" and math.isinf(self.epsilon):
            raise ValueError("epsilon = inf needs noise = 'none'")
        return self


class GradientSection(StrategySection):
    """A strategy that trains a network."""

    epsilon: float = Field(8.0, gt=0.0, description="budget of the worst cohort; inf with noise = 'none'")
    noise: NoisePlace = Field(
        "local",
        description="local: the client adds the full noise; shared: one clipped sum a round, noise shared inside it",
    )
    rounds: int = Field(0, ge=0, le=10_000, description="rounds per task; 0: training.rounds")
    learning_rate: float = Field(0.0, ge=0.0, allow_inf_nan=False, description="step size; 0: training.learning_rate")


class SumsSection(StrategySection):
    """A strategy whose upload is a sum of bounded statistics, each released once."""

    epsilon: float = Field(2.0, gt=0.0, description="budget of the worst cohort; inf with noise = 'none'")
    noise: NoisePlace = Field("shared", description="Skellam shares inside the sum, full local noise, or none")
    scale_bits: int = Field(14, ge=4, le=24, description="a unit-norm feature vector is scaled to 2^scale_bits")


class RefinedSection(SumsSection):
    """Sums of features of which there are two kinds."""

    features: RefinedFeatures = Field(
        "refined",
        description="plain: those of class_sums; refined: digits set upright, levels of faint motion; "
        f"{OTHER_FEATURES}",
    )
