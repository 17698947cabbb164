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
from secure_fcl.strategies.gradient.last_split import Split, split_at_last
from secure_fcl.strategies.gradient.models import build_model, is_own, load_vector, logits, to_vector, without_frozen
from secure_fcl.strategies.gradient.own_models import own_network

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
    """Networks of one architecture. One wrapped module per process: hooks are costly, and nothing of a visit stays.

    `kind` is a name of `build_model`, or `module:name` of the user's own; `replace_layers`: whether layers of such a
    network that DP-SGD forbids are replaced.
    """

    kind: str
    shape: tuple[int, ...]
    classes: int
    seed: int
    torch_device: str = "cpu"
    trainer: TrainerName = "opacus"
    last_alone: bool = False
    replace_layers: bool = False

    def fresh(self) -> torch.nn.Module:
        """Return a new network with the public initial weights; its last layer if that stands alone."""
        import torch

        whole = self._built()
        return torch.nn.Sequential(self._split(whole).last) if self.last_alone else whole

    def _built(self) -> torch.nn.Module:
        if not is_own(self.kind):
            return build_model(self.kind, self.shape, self.classes, self.seed)
        return own_network(self.kind, self.shape, self.classes, self.seed, self.replace_layers).module

    def _split(self, whole: torch.nn.Module) -> Split:
        return split_at_last(whole, self.kind, self.shape)

    @property
    def replaced(self) -> tuple[str, ...]:
        """What of a network of the user's own was replaced, in words."""
        if not is_own(self.kind):
            return ()
        made = own_network(self.kind, self.shape, self.classes, self.seed, self.replace_layers)
        return tuple(f"{one.name} ({one.layer}) by {one.replacement}" for one in made.replaced)

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
        return logits(self._body, x)

    @cached_property
    def initial(self) -> Floats:
        """The public initial weights, float32 (P,)."""
        return to_vector(self.fresh())

    def loaded(self, weights: Floats) -> torch.nn.Module:
        """Return a fresh network with these weights, frozen ones as buffers."""
        model = self.fresh()
        load_vector(model, weights)
        return without_frozen(model)

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
                after = self.opacus.visit(start, visit.strata, plan, visit.coins, loss, visit.after, walked, own)
                yield _trained(after - start, walked, own)
            return
        paths = torch.zeros(starts.shape) if path else None
        told = [own for own in carried if own is not None]
        moments = torch.stack(told) if told else None
        stacked = self.stacked.visit(
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
        found = self.stacked.sums(start, [v.strata for v in visits], clipping_norm, [v.coins for v in visits], loss)
        for own in found:
            yield own.numpy().astype(np.float64)

    def squares(self, weights: Floats, visit: Visit, clipping_norm: float, loss: ExampleLoss) -> Vector:
        """Return the sum of squared clipped gradients of one Poisson batch, without noise, float64 (P,)."""
        import torch

        start = torch.from_numpy(weights).to(self.torch_device)
        if self.trainer == "stacked":
            return self.stacked.squares(start, visit.strata, clipping_norm, visit.coins, loss).numpy()
        return self._clipped.squares(start, visit.strata, clipping_norm, visit.coins, loss)

    def magnitudes(self, weights: Floats, visit: Visit, clipping_norm: float, loss: ExampleLoss) -> Vector:
        """Return the sum of absolute clipped gradients of one Poisson batch, without noise, float64 (P,).

        Client by client whatever the trainer is: it is taken once a task.
        """
        import torch

        start = torch.from_numpy(weights).to(self.torch_device)
        return self._clipped.magnitudes(start, visit.strata, clipping_norm, visit.coins, loss)

    @cached_property
    def _evaluator(self) -> torch.nn.Module:
        return self.fresh()

    @cached_property
    def _body(self) -> torch.nn.Module:
        return self._split(self._evaluator).body

    @cached_property
    def opacus(self) -> DpSgdTrainer:
        """Who trains client by client."""
        return DpSgdTrainer(self.fresh().to(self.torch_device))

    @cached_property
    def _clipped(self) -> ClippedGradients:
        return ClippedGradients(self.fresh().to(self.torch_device))

    @cached_property
    def stacked(self) -> StackedTrainer:
        """Who trains all clients at once."""
        from privacy.stacked import StackedTrainer

        return StackedTrainer(self.fresh())


def _trained(update: torch.Tensor, path: torch.Tensor | None, moments: torch.Tensor | None) -> Trained:
    return Trained(
        update.cpu().numpy().astype(np.float64),
        path.cpu().numpy().astype(np.float64) if path is not None else None,
        moments.cpu().numpy() if moments is not None else None,
    )
