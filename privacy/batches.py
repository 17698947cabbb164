"""Poisson batches of strata, and the loss of each example before its gradient is clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from privacy.errors import InvalidParameter

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False, kw_only=True)
class Stratum:
    """Examples that share one public sampling rate. x: float32 (n, ...), y: int64 (n,); n may be 0.

    extra: float32 (n, e), columns of each example that its loss reads (a teacher's outputs, stored logits); None: no
    columns. All strata of a visit have equally many. weight: public factor of each *clipped* gradient (a replay
    weight), so that its noise multiplier is the plan's divided by the weight.

    Raises:
        InvalidParameter: q is outside [0, 1], the weight is not positive and finite, or x, y and extra differ in
            length.
    """

    x: torch.Tensor
    y: torch.Tensor
    q: float
    extra: torch.Tensor | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_rate(self.q)
        check_weight(self.weight)
        check_labels(self.y)
        if len(self.x) != len(self.y):
            raise InvalidParameter(f"{len(self.x)} examples but {len(self.y)} labels in one stratum")
        if self.extra is not None and (self.extra.ndim != 2 or len(self.extra) != len(self.y)):
            raise InvalidParameter(
                f"extra columns of shape {tuple(self.extra.shape)} for {len(self.y)} examples; give (n, columns)"
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch: x (B, ...), y int64 (B,), extra (B, e), and the number of each example's stratum, int64 (B,).

    weight: float32 (B,), each clipped gradient's factor; None: all 1.
    """

    x: torch.Tensor
    y: torch.Tensor
    extra: torch.Tensor
    stratum: torch.Tensor
    weight: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def part(self, first: int, end: int) -> Batch:
        """Return the examples from `first` up to `end`, which may lie beyond the last."""
        weight = None if self.weight is None else self.weight[first:end]
        x, y, extra, stratum = (t[first:end] for t in (self.x, self.y, self.extra, self.stratum))
        return Batch(x, y, extra, stratum, weight)

    def flattened(self) -> Batch:
        """Return the batch with its two leading axes (clients, examples) as one."""
        weight = None if self.weight is None else self.weight.flatten(0, 1)
        x, y, extra, stratum = (t.flatten(0, 1) for t in (self.x, self.y, self.extra, self.stratum))
        return Batch(x, y, extra, stratum, weight)


class ExampleLoss(Protocol):
    """The loss of each example, whose gradient is then clipped.

    *Law*: entry i depends on row i of `outputs` and of the batch, and on nothing else of the batch; the sensitivity of
    a clipped sum rests on it (`privacy.testing.check_example_loss` tries it).
    """

    def __call__(self, outputs: torch.Tensor, batch: Batch, /) -> torch.Tensor:
        """Return losses (B,) for the network's outputs (B, C); B may be 0."""


def cross_entropy(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return each example's cross-entropy, (B,)."""
    import torch

    if len(batch) and int(batch.y.max()) >= outputs.shape[1]:
        raise InvalidParameter(f"label {int(batch.y.max())} with {outputs.shape[1]} outputs; classes count from 0")
    return torch.nn.functional.cross_entropy(outputs, batch.y, reduction="none")


def check_rate(q: float) -> None:
    """Refuse a sampling rate that is not a probability.

    Raises:
        InvalidParameter: q is outside [0, 1] or not a number.
    """
    if not 0.0 <= q <= 1.0:
        raise InvalidParameter(f"sampling rate q={q} is outside [0, 1]; give a public probability")


def check_labels(y: torch.Tensor) -> None:
    """Refuse labels that no class has; -100 too, which torch's cross-entropy leaves out without a word.

    Raises:
        InvalidParameter: not a tensor, not int64, not (n,), or a negative label.
    """
    import torch

    if not isinstance(y, torch.Tensor):
        raise InvalidParameter(f"labels are a {type(y).__name__}; give an int64 tensor (n,) of classes from 0")
    if y.dtype != torch.int64 or y.ndim != 1:
        raise InvalidParameter(f"labels are {y.dtype} of shape {tuple(y.shape)}; give int64 (n,), classes from 0")
    if len(y) and int(y.min()) < 0:
        raise InvalidParameter(f"label {int(y.min())} is negative; classes count from 0, and none is left out")


def check_weight(weight: float) -> None:
    """Refuse a weight that cannot scale a gradient.

    Raises:
        InvalidParameter: the weight is not positive and finite.
    """
    if not 0.0 < weight < math.inf:
        raise InvalidParameter(f"weight={weight} must be positive and finite; leave a stratum out with q = 0")


def poisson_batch(strata: Sequence[Stratum], coins: torch.Generator) -> Batch:
    """Return one batch: each example of each stratum joins by its own coin of rate q. It may be empty."""
    import torch

    # float64: a float32 coin has 24 bits, and the rate would exceed a small q.
    chosen = [torch.rand(len(s.y), generator=coins, dtype=torch.float64) < s.q for s in strata]
    pairs = list(zip(strata, chosen, strict=True))
    sizes = [int(keep.sum()) for keep in chosen]
    columns = [_columns(s)[keep] for s, keep in pairs]
    stratum = torch.repeat_interleave(torch.arange(len(strata)), torch.tensor(sizes))
    weights = None if all(s.weight == 1.0 for s in strata) else torch.tensor([s.weight for s in strata])[stratum]
    return Batch(
        torch.cat([s.x[keep] for s, keep in pairs]),
        torch.cat([s.y[keep] for s, keep in pairs]),
        torch.cat(columns),
        stratum,
        weights,
    )


def _columns(stratum: Stratum) -> torch.Tensor:
    import torch

    if stratum.extra is not None:
        return stratum.extra
    return torch.zeros((len(stratum.y), 0), device=stratum.x.device)
