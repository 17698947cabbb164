"""DP-FTRL on one device: examples in the order they came, once or as often as planned, correlated noise, no sampling.

Kairouz et al. 2021 (arXiv 2103.00039) with the tree, Denisov et al. 2022 (arXiv 2202.08312) with other factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy.batches import ExampleLoss, Stratum, cross_entropy
from privacy.distributed import ClippedGradients
from privacy.errors import InvalidParameter
from privacy.matrix import PrefixStream, StreamEnded
from privacy.participation import Attendance
from privacy.randomness import RandomBytes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class FtrlPlan:
    """A one-pass training as public numbers.

    After step t the weights are those at the start minus learning_rate / denominator times the noisy sum of the first
    t clipped gradient sums (unconstrained follow-the-regularised-leader, which without noise is SGD).

    *Guarantee*: `stream.event` for one example, in as many steps as `stream.participation` allows, added or removed;
    the noise belongs to the device (or a trusted curator) and never leaves it.

    Raises:
        InvalidParameter: a number is not positive and finite.
    """

    stream: PrefixStream
    denominator: float
    learning_rate: float

    def __post_init__(self) -> None:
        for name in ("denominator", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidParameter(f"{name}={getattr(self, name)} must be positive and finite")


class FtrlTrainer:
    """Trains over one stream; the model is wrapped by Opacus's hooks, as in `ClippedGradients`.

    Raises:
        UnsuitableModel: as `DpSgdTrainer`.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._gradients = ClippedGradients(model)

    def train(
        self,
        weights: torch.Tensor,
        steps: Sequence[tuple[torch.Tensor, torch.Tensor]],
        plan: FtrlPlan,
        random: RandomBytes,
        loss: ExampleLoss = cross_entropy,
        *,
        examples: Sequence[Sequence[int]],
    ) -> torch.Tensor:
        """Return the weights after every step, (len(steps), P), from `weights` (flat, not changed in place).

        steps: (x, y) of each step in the order of the stream; a step may be empty.
        examples: for each step the numbers of its examples, in any numbering that tells them apart.

        Raises:
            StreamEnded: more steps than the stream was planned for.
            ParticipationRefused: an example in more steps, or nearer ones, than that; nothing was trained.
            InvalidParameter: the weights do not fit the model, or not every example has a number.
        """
        import torch

        if len(steps) > plan.stream.factor.steps:
            raise StreamEnded(
                f"{len(steps)} steps of a stream of {plan.stream.factor.steps}; plan a longer one before it starts"
            )
        _attended(plan, steps, examples)
        noise = torch.from_numpy(plan.stream.noise(self._gradients.dimension, random))
        start, total = weights.double(), torch.zeros(self._gradients.dimension, dtype=torch.float64)
        now, found = weights, []
        for number, (x, y) in enumerate(steps):
            whole = [Stratum(x=x, y=y, q=1.0)]
            total += torch.from_numpy(self._gradients.sum(now, whole, plan.stream.clipping_norm, random, loss))
            step = plan.learning_rate / plan.denominator
            now = (start - step * (total + noise[number])).to(weights.dtype)
            found.append(now)
        return torch.stack(found) if found else weights.new_zeros((0, weights.numel()))


def _attended(
    plan: FtrlPlan, steps: Sequence[tuple[torch.Tensor, torch.Tensor]], examples: Sequence[Sequence[int]]
) -> None:
    """Refuse a stream whose examples take part otherwise than planned, before any of it is used."""
    sizes = [len(y) for _, y in steps]
    if [len(own) for own in examples] != sizes:
        raise InvalidParameter(
            f"numbers for {sum(map(len, examples))} examples in {len(examples)} steps, where the stream has "
            f"{sum(sizes)} in {len(sizes)}; give each example of each step its number"
        )
    attendance = Attendance(plan.stream.participation)
    for own in examples:
        attendance.take(own)
