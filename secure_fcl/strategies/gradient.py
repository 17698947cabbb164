"""Fine-tuning and replay: federated averaging of DP-SGD updates (McMahan et al. 2017, algorithm 1).

Replay is fine-tuning with a second Poisson stratum, the memory (experience replay; Chaudhry et al. 2019, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy import DpSgdPlan, DpSgdTrainer, Event, RandomBytes, Stratum
from secure_fcl.memory import Kept
from secure_fcl.models import build_model, load_vector, logits, to_vector
from secure_fcl.strategies.base import DeviceView, Examples, Floats, State, StepContext
from secure_fcl.strategies.contribution import Part, UploadSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class GradientStrategy:
    """DP-SGD on the device, the mean of the updates on the server.

    The noise is added by Opacus on the client, so what is sent is already private: clipping it coordinatewise,
    encoding it and summing it is post-processing, and so is the count of clipped entries that travels in the sum.
    """

    name: str
    plan: DpSgdPlan
    q_current: float
    memory_rate: float
    rounds: int
    upload_clip: float
    upload_bits: int
    model_kind: str
    shape: tuple[int, ...]
    classes: int
    seed: int
    device: str = "cpu"
    once_per_chunk: bool = field(default=False, init=False)

    @cached_property
    def upload(self) -> UploadSpec:
        """The update and the number of its entries beyond the bound."""
        size = len(self._initial)
        steps = 2 ** (self.upload_bits - 1) - 1
        # `saturated` travels in units of the whole vector so that it shares the update's scale and never clips.
        return UploadSpec(
            self.name,
            (Part("update", (size,), self.upload_clip), Part("saturated", (1,), self.upload_clip)),
            steps / self.upload_clip,
            None,
            None,
            "the update is private before it is sent (local DP-SGD)",
        )

    @property
    def kept(self) -> tuple[Kept, ...]:
        """See `Strategy.kept`: the model comes anew every round, so nothing is kept."""
        return ()

    def events(self, stratum: str) -> Mapping[Event, int]:
        """See `Strategy.events`."""
        return self.plan.events(self.q_current if stratum == "current" else self.memory_rate)

    def initial(self) -> State:
        """See `Strategy.initial`."""
        return {"weights": self._initial}

    def contribute(
        self, state: State, view: DeviceView, step: StepContext, coins: RandomBytes
    ) -> dict[str, NDArray[np.float64]]:
        """See `Strategy.contribute`."""
        update = self.update(state, view, self.plan, coins)
        saturated = np.count_nonzero(np.abs(update) > self.upload_clip)
        return {"update": update, "saturated": np.array([saturated / len(update) * self.upload_clip])}

    def update(self, state: State, view: DeviceView, plan: DpSgdPlan, coins: RandomBytes) -> NDArray[np.float64]:
        """Return new weights minus old ones after one visit of `plan`."""
        import torch

        weights = torch.from_numpy(state["weights"]).to(self.device)
        strata = [self._stratum(view.current, self.q_current), self._stratum(view.memory, self.memory_rate)]
        after = self._trainer.visit(weights, strata, plan, coins)
        return (after - weights).cpu().numpy().astype(np.float64)

    def _stratum(self, examples: Examples, q: float) -> Stratum:
        import torch

        x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
        return Stratum(x.to(self.device), y.to(self.device), q)

    def apply(self, state: State, step: StepContext, total: dict[str, NDArray[np.float64]], clients: int) -> State:
        """See `Strategy.apply`."""
        mean = total["update"] / clients
        return {"weights": (state["weights"].astype(np.float64) + mean).astype(np.float32)}

    def saturated(self, total: dict[str, NDArray[np.float64]]) -> int:
        """Return how many entries of all clients together were clipped by the encoder (stochastically rounded)."""
        size = len(total["update"])
        return round(float(total["saturated"][0]) / self.upload_clip * size)

    def scores(self, state: State, x: Floats) -> Floats:
        """See `Strategy.scores`."""
        load_vector(self._evaluator, state["weights"])
        return logits(self._evaluator, x)

    def network(self, state: State) -> torch.nn.Module:
        """Return a fresh network with the state's weights (for attacks and for use after the run)."""
        model = self._model()
        load_vector(model, state["weights"])
        return model

    def _model(self) -> torch.nn.Module:
        return build_model(self.model_kind, self.shape, self.classes, self.seed)

    @cached_property
    def _initial(self) -> Floats:
        return to_vector(self._model())

    @cached_property
    def _evaluator(self) -> torch.nn.Module:
        return self._model()

    @cached_property
    def _trainer(self) -> DpSgdTrainer:
        # One wrapped module per process: Opacus hooks are costly to attach and nothing of a visit stays in it.
        return DpSgdTrainer(self._model().to(self.device))
