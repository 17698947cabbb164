"""What may be done to a noisy gradient before the step: terms that read only released or public values.

Opacus overwrites `p.grad` with the noisy sum, so a penalty on the weights that was added to the loss does nothing.
Here it acts after the noise, where it is post-processing and costs no epsilon, as long as what it reads (anchors,
importances, a reference gradient) was released before, at its own charge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from privacy.errors import InvalidParameter

if TYPE_CHECKING:
    import torch


class AfterNoise(Protocol):
    """A change of the noisy mean gradient of one model, before the optimizer's step."""

    def __call__(self, gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float, /) -> torch.Tensor:
        """Return the gradient to step with, flat (P,), for the noisy mean gradient and the weights, flat (P,).

        `learning_rate`: by which the step is proportional to what is returned; 0 where it is not, as with Adam.
        """


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The gradient of sum(diagonal * w^2 / 2 - pull * w), taken implicitly.

    Every penalty lambda / 2 * sum(F * (w - anchor)^2) is one with diagonal = lambda * F and pull = lambda * F * anchor,
    and so is every sum of such penalties. The step that follows solves the penalty at the new weights,
    (gradient + diagonal * w - pull) / (1 + learning_rate * diagonal), the proximal step of plain SGD: it tends to the
    anchor for a stiff coordinate instead of overshooting, and to the explicit gradient for a small one. With Adam
    (learning_rate 0) it is the explicit gradient: no step of Adam's is longer for a stiff penalty.

    Raises:
        InvalidParameter: the vectors differ in shape, or the diagonal has a negative entry or one that is not finite.
    """

    diagonal: torch.Tensor
    pull: torch.Tensor

    def __post_init__(self) -> None:
        import torch

        if self.diagonal.shape != self.pull.shape:
            raise InvalidParameter(f"diagonal {tuple(self.diagonal.shape)} and pull {tuple(self.pull.shape)} differ")
        if not bool(torch.isfinite(self.diagonal).all()) or bool((self.diagonal < 0).any()):
            raise InvalidParameter("the diagonal of a penalty must be finite and at least 0; clip noisy importances")

    @staticmethod
    def around(anchor: torch.Tensor, importance: torch.Tensor | float) -> Quadratic:
        """Return the penalty importance / 2 * |w - anchor|^2, entry by entry."""
        import torch

        diagonal = torch.zeros_like(anchor) + importance
        return Quadratic(diagonal, diagonal * anchor)

    def __call__(self, gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float, /) -> torch.Tensor:
        """See `AfterNoise`."""
        explicit = gradient + self.diagonal * weights - self.pull
        return explicit / (1.0 + learning_rate * self.diagonal)


@dataclass(frozen=True, eq=False)
class Pull:
    """The explicit gradient of strength / 2 * |w - anchor|^2, added; exactly nothing at the anchor itself.

    Unlike `Quadratic` it changes no step that starts at the anchor, and it overshoots where learning_rate * strength
    is above 1, without bound above 2.
    """

    anchor: torch.Tensor
    strength: float

    def __call__(self, gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float, /) -> torch.Tensor:
        """See `AfterNoise`."""
        return gradient + self.strength * (weights - self.anchor)


@dataclass(frozen=True, eq=False)
class Projection:
    """A-GEM's rule: a gradient that opposes the reference loses that component (Chaudhry et al. 2019, equation 11).

    A reference of zeros changes nothing.
    """

    reference: torch.Tensor

    def __call__(self, gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float, /) -> torch.Tensor:
        """See `AfterNoise`."""
        reference = self.reference.to(gradient.dtype)
        overlap, size = gradient @ reference, reference @ reference
        if float(overlap) >= 0.0 or float(size) == 0.0:
            return gradient
        return gradient - overlap / size * reference


@dataclass(frozen=True)
class Chain:
    """Several changes, one after the other."""

    parts: Sequence[AfterNoise]

    def __call__(self, gradient: torch.Tensor, weights: torch.Tensor, learning_rate: float, /) -> torch.Tensor:
        """See `AfterNoise`."""
        for part in self.parts:
            gradient = part(gradient, weights, learning_rate)
        return gradient
