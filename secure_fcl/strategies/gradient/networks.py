"""The networks of a gradient strategy in one process: who trains them, and what they put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy import AfterNoise, DpSgdPlan, DpSgdTrainer, ExampleLoss, RandomBytes, Stratum
from privacy.distributed import ClippedGradients
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.gradient.models import build_model, load_vector, logits, to_vector

if TYPE_CHECKING:
    import torch

    from privacy.stacked import StackedTrainer

TrainerName = Literal["opacus", "stacked"]
Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Visit:
    """One client's share of a round: its strata, its coins, what is done after its noise, its optimizer's moments.

    moments: float32, `plan.moments(P)`; None: the optimizer starts afresh.
    """

    strata: Sequence[Stratum]
    coins: RandomBytes
    after: AfterNoise | None = None
    moments: Floats | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """New weights minus old ones, float64 (P,), the visit's path integral if it was asked for, and moments likewise."""

    update: Vector
    path: Vector | None
    moments: Floats | None = None


class Trainer(Protocol):
    """Who trains the networks of a strategy: `Networks`, or one that leaves a part of them as it is."""

    def visits(
        self, weights: Floats, visits: Sequence[Visit], plan: DpSgdPlan, loss: ExampleLoss, path: bool = False
    ) -> Iterator[Trained]:
        """Yield what local training makes of the weights (P,), or each client's own (clients, P), in order."""

    def sums(
        self, weights: Floats, visits: Sequence[Visit], clipping_norm: float, loss: ExampleLoss
    ) -> Iterator[Vector]:
        """Yield the clipped gradient sum of one Poisson batch at every client, without noise, in order."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks of one architecture. One wrapped module per process: hooks are costly, and nothing of a visit stays."""

    kind: str
    shape: tuple[int, ...]
    classes: int
    seed: int
    torch_device: str = "cpu"
    trainer: TrainerName = "opacus"
    last_alone: bool = False

    def fresh(self) -> torch.nn.Sequential:
        """Return a new network with the public initial weights; its last layer if that stands alone."""
        import torch

        whole = build_model(self.kind, self.shape, self.classes, self.seed)
        return torch.nn.Sequential(whole[-1]) if self.last_alone else whole

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters, in the order of the flat vector."""
        return tuple(tuple(p.shape) for p in self.fresh().parameters() if p.requires_grad)

    @cached_property
    def last(self) -> Networks:
        """The last layer as a network of its own, on `features`."""
        return replace(self, last_alone=True)

    @property
    def frozen(self) -> int:
        """Number of weights before the last layer."""
        return len(self.initial) - len(self.last.initial)

    def features(self, weights: Floats, x: Floats) -> Floats:
        """Return the inputs (n, d) of the last layer in a network with these weights."""
        load_vector(self._evaluator, weights)
        return logits(self._evaluator[:-1], x)

    @cached_property
    def initial(self) -> Floats:
        """The public initial weights, float32 (P,)."""
        return to_vector(self.fresh())

    def outputs(self, weights: Floats, x: Floats) -> Floats:
        """Return the outputs (n, classes) of a network with these weights."""
        load_vector(self._evaluator, weights)
        return logits(self._evaluator, x)

    def visits(
        self, weights: Floats, visits: Sequence[Visit], plan: DpSgdPlan, loss: ExampleLoss, path: bool = False
    ) -> Iterator[Trained]:
        """Yield what local training makes of the weights at every client, in order.

        weights: (P,), where all start, or (clients, P).
        """
        import torch

        starts = torch.from_numpy(np.ascontiguousarray(weights)).to(self.torch_device).expand(len(visits), -1)
        carried = [None if v.moments is None else torch.tensor(v.moments, device=self.torch_device) for v in visits]
        if self.trainer == "opacus":
            for start, visit, own in zip(starts, visits, carried, strict=True):
                walked = torch.zeros_like(start) if path else None
                after = self._opacus.visit(start, visit.strata, plan, visit.coins, loss, visit.after, walked, own)
                yield _trained(after - start, walked, own)
            return
        paths = torch.zeros(starts.shape) if path else None
        told = [own for own in carried if own is not None]
        moments = torch.stack(told) if told else None
        stacked = self._stacked.visit(
            starts, [v.strata for v in visits], plan, [v.coins for v in visits], loss, [v.after for v in visits],
            paths, moments,
        )  # fmt: skip
        for k in range(len(visits)):
            yield _trained(
                stacked[k] - starts[k],
                None if paths is None else paths[k],
                None if moments is None else moments[k],
            )

    def sums(
        self, weights: Floats, visits: Sequence[Visit], clipping_norm: float, loss: ExampleLoss
    ) -> Iterator[Vector]:
        """Yield the clipped gradient sum of one Poisson batch at every client, without noise, in order."""
        import torch

        start = torch.from_numpy(weights).to(self.torch_device)
        if self.trainer == "opacus":
            for visit in visits:
                yield self._clipped.sum(start, visit.strata, clipping_norm, visit.coins, loss)
            return
        found = self._stacked.sums(start, [v.strata for v in visits], clipping_norm, [v.coins for v in visits], loss)
        for own in found:
            yield own.numpy().astype(np.float64)

    def squares(self, weights: Floats, visit: Visit, clipping_norm: float, loss: ExampleLoss) -> Vector:
        """Return the sum of squared clipped gradients of one Poisson batch, without noise, float64 (P,)."""
        import torch

        start = torch.from_numpy(weights).to(self.torch_device)
        if self.trainer == "stacked":
            return self._stacked.squares(start, visit.strata, clipping_norm, visit.coins, loss).numpy()
        return self._clipped.squares(start, visit.strata, clipping_norm, visit.coins, loss)

    @cached_property
    def _evaluator(self) -> torch.nn.Sequential:
        return self.fresh()

    @cached_property
    def _opacus(self) -> DpSgdTrainer:
        return DpSgdTrainer(self.fresh().to(self.torch_device))

    @cached_property
    def _clipped(self) -> ClippedGradients:
        return ClippedGradients(self.fresh().to(self.torch_device))

    @cached_property
    def _stacked(self) -> StackedTrainer:
        from privacy.stacked import StackedTrainer

        return StackedTrainer(self.fresh())


def _trained(update: torch.Tensor, path: torch.Tensor | None, moments: torch.Tensor | None) -> Trained:
    return Trained(
        update.cpu().numpy().astype(np.float64),
        path.cpu().numpy().astype(np.float64) if path is not None else None,
        moments.cpu().numpy() if moments is not None else None,
    )
