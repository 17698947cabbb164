"""Penalties on the weights. They read released values only, act after the noise and cost no epsilon themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from privacy import AfterNoise, Pull, Quadratic
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.base import Floats, State, StepContext
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.method import Beside, Plain, Received, own_or
from secure_fcl.strategies.section import GradientSection, Positive, Probability


def anchored(state: State, strength: float) -> AfterNoise | None:
    """Return the pull of strength * Omega (w - w*)^2, Omega and w* as the server holds them; None while Omega is 0."""
    import torch

    if not state["importance"].any():
        return None
    importance, anchor = (torch.from_numpy(state[name]) for name in ("importance", "anchor"))
    return Quadratic.around(anchor, 2.0 * strength * importance)


@dataclass(frozen=True)
class Proximal(Plain):
    """FedProx: mu / 2 |w - server's weights|^2 on every local step (Li et al. 2020, arXiv 1812.06127, equation 2).

    Costs no epsilon. Zero at the first step of a visit, so with noise shared inside the sum, where a round is one step,
    it is fine-tuning to the last bit.
    """

    mu: float = 0.1

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        import torch

        return Pull(torch.from_numpy(state["weights"]), self.mu)


@dataclass(frozen=True, kw_only=True)
class ElasticWeights(Plain):
    """FedEWC: strength / 2 * sum over closed tasks of F (w - w*)^2, F the clients' summed Fisher information.

    Kirkpatrick et al. 2017 (arXiv 1612.00796, equation 3) with one penalty a task, kept as two vectors: the sum of
    F and the sum of F w*. `decay` below 1 forgets old tasks (online EWC; Schwarz et al. 2018, arXiv 1805.06370,
    section 4). The empirical Fisher information costs one release a task; the penalty itself costs nothing.
    """

    beside: frozenset[Beside] = frozenset({"fisher"})
    strength: float = 10.0
    decay: float = 1.0

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"diagonal": np.zeros_like(weights), "pull": np.zeros_like(weights)}

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        import torch

        if not state["diagonal"].any():
            return None
        diagonal, pull = (torch.from_numpy(state[name]) * self.strength for name in ("diagonal", "pull"))
        return Quadratic(diagonal, pull)

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        found = {name: state[name] for name in ("diagonal", "pull")}
        if step.phase == "close":
            found["diagonal"] = self.decay * state["diagonal"] + received.means["fisher"]
            found["pull"] = self.decay * state["pull"] + self._pull(received)
        return found

    def _pull(self, received: Received) -> Floats:
        return received.means["fisher"] * received.before


@dataclass(frozen=True)
class Curvature(ElasticWeights):
    """FedCurv: the clients' Fisher information around their own last models, as two sums (Shoham et al. 2019).

    arXiv 1910.07796, equations 6-8. The sums go out when a slot closes rather than every round, since each is a
    release; and they hold a client's own part, which the paper leaves out. With noise shared inside the sum no client
    has a model of its own, and it is FedEWC.
    """

    beside: frozenset[Beside] = frozenset({"fisher", "fisher_weights"})

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`."""
        return {"local": (size,)}

    def carry(self, carried: Mapping[str, Floats], local: Floats, step: StepContext) -> Mapping[str, Floats]:
        """See `Method.carry`."""
        return {"local": local}

    def _pull(self, received: Received) -> Floats:
        return received.means["fisher_weights"]


@dataclass(frozen=True, kw_only=True)
class SynapticIntelligence(Plain):
    """SI: strength * Omega (w - w*)^2, Omega the path integral of a task over its squared distance.

    Zenke et al. 2017 (arXiv 1703.04200, equations 3-5), on the mean of the clients' paths; w* are the weights after the
    last task. Reads noisy gradients only and costs no epsilon.
    """

    beside: frozenset[Beside] = frozenset({"path"})
    strength: float = 0.1
    damping: float = 0.1

    def initial(self, weights: Floats) -> State:
        """See `Method.initial`."""
        return {"walked": np.zeros_like(weights), "importance": np.zeros_like(weights), "anchor": weights.copy()}

    def after(self, state: State, carried: Mapping[str, Floats]) -> AfterNoise | None:
        """See `Method.after`."""
        return anchored(state, self.strength)

    def absorb(self, state: State, step: StepContext, received: Received) -> State:
        """See `Method.absorb`."""
        path = state["walked"] + received.means["path"]
        if not step.last:
            return {"walked": path, "importance": state["importance"], "anchor": state["anchor"]}
        moved = received.after - state["anchor"]
        gained = np.maximum(path, 0.0) / (moved**2 + self.damping)
        return {
            "walked": np.zeros_like(path), "importance": state["importance"] + gained, "anchor": received.after.copy(),
        }  # fmt: skip


@dataclass(frozen=True)
class SurrogateIntelligence(SynapticIntelligence):
    """FedSSI: SI whose paths are those of personalised surrogate models (Li et al. 2025, ICML, arXiv 2412.13779).

    Section 4: each client trains a second network v of its own with steps along grad L(v) + q (v - w), w the server's
    weights and q = (1 - mix) / (2 mix), and takes the contributions along v; mix 1 leaves v to itself. Ours: the pull
    is taken implicitly, v has a visit in every round, and the server uses the mean of the clients' paths, as sums have
    it. The surrogate's visit is charged like the client's own. With noise shared inside the sum no client has a model
    of its own, and it is SI.
    """

    surrogate: bool = True
    mix: float = 0.5

    def carried(self, size: int) -> Mapping[str, tuple[int, ...]]:
        """See `Method.carried`."""
        return {"surrogate": (size,)}

    def surrogate_start(self, state: State, carried: Mapping[str, Floats], step: StepContext) -> Floats:
        """See `Method.surrogate_start`."""
        return own_or(state["weights"], carried["surrogate"])

    def surrogate_after(self, state: State) -> AfterNoise | None:
        """See `Method.surrogate_after`."""
        import torch

        return Quadratic.around(torch.from_numpy(state["weights"]), (1.0 - self.mix) / (2.0 * self.mix))


class ProxSection(GradientSection):
    """FedProx."""

    mu: Positive = Field(0.1, description="weight of the proximal term")


def _steps_come_back(section: ProxSection, learning_rate: float) -> None:
    if learning_rate * section.mu >= 2.0:
        raise ConfigInvalid(
            f"fedprox.mu = {section.mu:g} at a learning rate of {learning_rate:g}: from mu times rate 2 on, steps "
            "leave the server's weights further each time; lower one of them"
        )


class ElasticSection(GradientSection):
    """FedEWC."""

    strength: Positive = Field(10.0, description="weight of the penalty")
    decay: Probability = Field(1.0, description="what is left of old importances after a task; 1: all")


class CurvatureSection(ElasticSection):
    """FedCurv."""


class SynapticSection(GradientSection):
    """Synaptic Intelligence."""

    strength: Positive = Field(0.1, description="weight of the penalty")
    damping: Positive = Field(0.1, description="added to a weight's squared distance")


class SurrogateSection(SynapticSection):
    """FedSSI."""

    mix: Probability = Field(0.5, description="pull of the server's weights on surrogates, (1 - mix) / (2 mix)")


fedprox = GradientEntry(section=ProxSection(), method=lambda section: Proximal(mu=section.mu), check=_steps_come_back)
fedewc = GradientEntry(
    section=ElasticSection(), method=lambda section: ElasticWeights(strength=section.strength, decay=section.decay)
)
fedcurv = GradientEntry(
    section=CurvatureSection(), method=lambda section: Curvature(strength=section.strength, decay=section.decay)
)
fedsi = GradientEntry(
    section=SynapticSection(),
    method=lambda section: SynapticIntelligence(strength=section.strength, damping=section.damping),
)
fedssi = GradientEntry(
    section=SurrogateSection(),
    method=lambda section: SurrogateIntelligence(strength=section.strength, damping=section.damping, mix=section.mix),
)
