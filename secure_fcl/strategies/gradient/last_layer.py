"""Training of the last layer alone: the rest of the network stays as it is and turns inputs into features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from privacy import AfterNoise, DpSgdPlan, ExampleLoss, Stratum
from secure_fcl.strategies.base import Floats
from secure_fcl.strategies.gradient.networks import Networks, Trained, Vector, Visit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class LastLayer:
    """Does what `Networks` does in training, with gradients of the last layer alone.

    They are clipped on their own, so an example's whole clipping norm is spent on what is sent. Updates and sums have
    the length of all weights, with zeros where nothing is trained. The features come from where training starts.
    """

    networks: Networks

    @property
    def _frozen(self) -> int:
        return self.networks.frozen

    def visits(
        self, weights: Floats, visits: Sequence[Visit], plan: DpSgdPlan, loss: ExampleLoss, path: bool = False
    ) -> Iterator[Trained]:
        """See `Networks.visits`."""
        starts = np.broadcast_to(weights, (len(visits), weights.shape[-1]))
        own = [self._visit(start, visit) for start, visit in zip(starts, visits, strict=True)]
        for made in self.networks.last.visits(starts[:, self._frozen :], own, plan, loss, path):
            yield Trained(self._whole(made.update), None if made.path is None else self._whole(made.path))

    def sums(
        self, weights: Floats, visits: Sequence[Visit], clipping_norm: float, loss: ExampleLoss
    ) -> Iterator[Vector]:
        """See `Networks.sums`."""
        own = [self._visit(weights, visit) for visit in visits]
        for found in self.networks.last.sums(weights[self._frozen :], own, clipping_norm, loss):
            yield self._whole(found)

    def _visit(self, weights: Floats, visit: Visit) -> Visit:
        strata = [self._stratum(weights, stratum) for stratum in visit.strata]
        return Visit(strata, visit.coins, None if visit.after is None else self._after(weights, visit.after))

    def _stratum(self, weights: Floats, stratum: Stratum) -> Stratum:
        import torch

        features = self.networks.features(weights, stratum.x.cpu().numpy())
        return replace(stratum, x=torch.from_numpy(features).to(stratum.x.device))

    def _after(self, weights: Floats, after: AfterNoise) -> AfterNoise:
        """Return `after` on gradients and weights of the last layer; it itself reads whole vectors."""
        import torch

        body = torch.from_numpy(weights[: self._frozen])

        def change(gradient: torch.Tensor, own: torch.Tensor, learning_rate: float) -> torch.Tensor:
            before = body.to(gradient.device, gradient.dtype)
            whole = after(torch.cat([torch.zeros_like(before), gradient]), torch.cat([before, own]), learning_rate)
            return whole[self._frozen :]

        return change

    def _whole(self, last: Vector) -> Vector:
        return np.concatenate([np.zeros(self._frozen), last])
