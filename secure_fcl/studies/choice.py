"""[private_selection] of a study: how the best cell is chosen so that the choice itself is charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from privacy import Event, SkellamRelease
from privacy.selection import NegativeBinomial, PoissonRuns, Runs
from secure_fcl.config.explain import explain
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.section import Section

Metric = Literal["micro", "task_mean", "class_mean", "worst_client", "forgetting"]


class _Asked(Section):
    """The section as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distribution: Literal["negative-binomial", "poisson"]
    eta: float | None = Field(None, gt=-1.0)
    gamma: float | None = Field(None, gt=0.0, lt=1.0)
    mean: float | None = Field(None, ge=1.0, le=100_000.0)
    delta: float = Field(1e-5, gt=0.0, lt=1.0)
    score: Metric = "micro"
    test_data: Literal["public", "private"]
    score_noise: float | None = Field(None, gt=0.0, lt=1e12)

    @model_validator(mode="after")
    def _law_is_whole(self) -> Self:
        if self.distribution == "poisson":
            if self.mean is None or self.gamma is not None or self.eta is not None:
                raise ValueError("distribution = 'poisson' needs mean alone; leave eta and gamma out")
        elif self.eta is None or (self.gamma is None) == (self.mean is None):
            raise ValueError("distribution = 'negative-binomial' needs eta, and either gamma or mean")
        elif self.mean is not None and not self.mean > 1.0:
            raise ValueError("mean = 1 leaves nothing to choose from; give more than 1")
        return self

    @model_validator(mode="after")
    def _score_is_charged(self) -> Self:
        if self.test_data == "public":
            if self.score_noise is not None:
                raise ValueError("score_noise is for test_data = 'private'; leave it out")
        elif self.score != "micro" or self.score_noise is None:
            raise ValueError(
                "test_data = 'private' needs score = 'micro', a count that one example changes by one, and "
                "score_noise, the standard deviation of the noise on that count"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How the best run is chosen; Papernot and Steinke 2022.

    Attributes:
        runs: law of the number of runs.
        delta: of the choice as a whole.
        score: metric of a finished run that is compared; a smaller forgetting is better.
        score_noise: standard deviation of Skellam noise on the number of test examples that are right; None where the
            test examples are declared public, so that scoring them reveals nothing but the model.
    """

    runs: Runs
    delta: float
    score: Metric
    score_noise: float | None

    @property
    def score_event(self) -> Event | None:
        """What scoring one run charges; None on public data."""
        return None if self.score_noise is None else SkellamRelease(variance=self.score_noise**2, l2=1.0, l1=1.0)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object; nothing of what was drawn."""
        law = self.runs
        named = {"eta": law.eta, "gamma": law.gamma} if isinstance(law, NegativeBinomial) else {}
        return {
            "distribution": "negative-binomial" if named else "poisson",
            **named,
            "mean": law.mean,
            "delta": self.delta,
            "score": self.score,
            "score_noise": self.score_noise,
        }


def choice_of(section: Mapping[str, Any], where: str) -> Choice:
    """Return what a section [private_selection] asks for.

    Raises:
        ConfigInvalid: names the key.
    """
    try:
        asked = _Asked.model_validate(section)
    except ValidationError as error:
        raise ConfigInvalid(f"{where}: {explain(error, 'private_selection', _Asked)}") from None
    return Choice(runs=_law(asked), delta=asked.delta, score=asked.score, score_noise=asked.score_noise)


def _law(asked: _Asked) -> Runs:
    if asked.distribution == "poisson":
        return PoissonRuns(mean=asked.mean or 1.0)
    eta = asked.eta or 0.0
    if asked.gamma is not None:
        return NegativeBinomial(eta=eta, gamma=asked.gamma)
    return NegativeBinomial.of_mean(eta, asked.mean or 1.0)
