"""The best of several reconstructions: one attack alone understates what a gradient gives away by tens of decibels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.gradients.inversion import InversionSettings, analytic_linear, invert
from attacks.gradients.labels import label_of
from attacks.gradients.polish import misfit, polish
from attacks.modules.functions import GradientOf, gradients_of
from attacks.modules.layout import first_linear, last_linear

if TYPE_CHECKING:
    import torch

Method = Literal["analytic", "cosine", "iDLG", "DLG"]
ALL_METHODS: tuple[Method, ...] = ("analytic", "cosine", "iDLG", "DLG")


@dataclass(frozen=True, eq=False)
class Portfolio:
    """The best reconstruction of each target, chosen by the adversary's own measure.

    Attributes:
        x: float32 (m, *shape).
        y: (m,), the labels used.
        method: which the winner of each target began with.
        mismatch: {method: (m,)}, 1 - cosine of the gradient of the method's result, polished if that is nearer, and the
            observed one, 0 if alike.
    """

    x: NDArray[np.float32] = field(repr=False)
    y: NDArray[np.int64]
    method: tuple[Method, ...]
    mismatch: dict[Method, NDArray[np.float64]]


def match_gradients(
    gradient_of: GradientOf,
    target: torch.Tensor,
    shape: tuple[int, ...],
    *,
    y: int | None,
    classes: int,
    iterations: int = 100,
    seed: int = 0,
) -> tuple[NDArray[np.float32], int]:
    """One example by L-BFGS on the squared distance of gradients, the label known (iDLG) or optimised too (DLG).

    Zhu et al. 2019 (DLG) and Zhao et al. 2020 (iDLG): exact for twice differentiable activations, poor for ReLU.

    Args:
        gradient_of: (x (1, ...), y (1,)) -> (1, d), differentiable; for DLG it must take label probabilities
            (1, classes) as well (`modules.gradients_of` does: cross-entropy knows both).
        target: (d,), finite.
        shape: of the example.
        y: the label; None searches over label probabilities (DLG).
        classes: number of labels.
        iterations: of L-BFGS.
        seed: public seed of the start.

    Returns:
        The example and its label.

    Raises:
        InversionInvalid: target is not a finite vector.
    """
    import torch

    if target.ndim != 1 or not bool(target.isfinite().all()):
        raise InversionInvalid(f"target {tuple(target.shape)} must be a finite vector (d,)")
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((1, *shape), generator=generator).requires_grad_()
    soft = torch.randn((1, classes), generator=generator).requires_grad_()
    labels = None if y is None else torch.tensor([y])
    optimiser = torch.optim.LBFGS(
        [x] if y is not None else [x, soft], max_iter=iterations, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )
    scale = 1.0 / target.square().sum().clamp_min(1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        rows = gradient_of(x, soft.softmax(dim=1) if labels is None else labels)
        value = (rows[0] - target).square().sum() * scale
        torch.autograd.backward(value)
        return value.detach()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = x.detach()[0].nan_to_num().numpy().copy()
    return found, int(soft.argmax()) if y is None else y


def reconstruct_best(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    target: torch.Tensor,
    shape: tuple[int, ...],
    *,
    y: NDArray[np.integer] | None = None,
    methods: Sequence[Method] = ALL_METHODS,
    settings: InversionSettings | None = None,
) -> Portfolio:
    """Reconstructs single examples from their gradients by every method that applies, and keeps the best of each.

    Every method's result is polished (`polish.polish`). Kept is what is most probable: by the misfit of the gradient's
    direction, as far as 1e-4, and by smoothness, without which a result that reproduces the gradient but keeps the
    start's noise where the gradient does not see it looks as good as the example.

    Args:
        module: the attacked architecture; its last linear layer gives the logits.
        weights: (d,), the model at which the gradients were taken.
        target: (m, d), one example's gradient per row, clipped or noised as it was sent.
        shape: of one example, channels first.
        y: (m,), labels if known; None reads them off the last layer's bias gradient.
        methods: to try; "analytic" is skipped unless the first layer is linear with bias.
        settings: of the cosine attack; L-BFGS takes at most half as many iterations, and 100.

    Raises:
        InversionInvalid: no method applies, or shapes that do not fit.
        LossesInvalid: the weight vector does not fit the module.
    """
    head, entry = last_linear(module), first_linear(module)
    read = [label_of(head.of(row.numpy())[1]) for row in target]
    labels = np.array(read if y is None else np.asarray(y), dtype=np.int64)
    gradient_of, found = gradients_of(module, weights), dict[Method, NDArray[np.float32]]()
    iterations = min(100, max(1, (settings or InversionSettings()).steps // 2))
    guessed = dict.fromkeys(methods, labels)
    for method in methods:
        if method == "analytic" and entry is not None:
            found[method] = np.stack([_analytic(entry.of(row.numpy()), shape) for row in target])
        elif method == "cosine":
            found[method] = invert(gradient_of, target, labels, shape, settings).x
        elif method in ("iDLG", "DLG"):
            pairs = [
                match_gradients(
                    gradient_of,
                    row,
                    shape,
                    y=None if method == "DLG" else int(label),
                    classes=head.outputs,
                    iterations=iterations,
                    seed=number,
                )
                for number, (row, label) in enumerate(zip(target, labels, strict=True))
            ]
            found[method] = np.stack([x for x, _ in pairs])
            guessed[method] = np.array([label for _, label in pairs], dtype=np.int64)
    if not found:
        raise InversionInvalid(f"none of {list(methods)} applies; the cosine attack applies to any module")
    return _best(gradients_of(module, weights, double=True), target, found, guessed)


#: Misfits below this are alike: how far descents end from each other where directions of x hardly move the gradient.
_RESOLUTION = 1e-4
#: Scores (in nats) closer than this are alike, and the method that came nearest by itself is taken.
_ALIKE = 1.0


def _best(
    gradient_of: GradientOf,
    target: torch.Tensor,
    found: dict[Method, NDArray[np.float32]],
    guessed: dict[Method, NDArray[np.int64]],
) -> Portfolio:
    """Of every method's result and the polished one, the most probable given gradient and smoothness."""
    order = list(found)
    tries, labels = list(found.values()), [guessed[method] for method in order]
    polished = [polish(gradient_of, x, y, target) for x, y in zip(tries, labels, strict=True)]
    pairs = np.stack([np.stack(tries), np.stack(polished)])
    left = np.stack([[_misfits(gradient_of, x, y, target) for x, y in zip(xs, labels, strict=True)] for xs in pairs])
    score = target.shape[1] * np.log(np.hypot(left, _RESOLUTION)) + _roughness(pairs)
    chosen, index = list[Method](), []
    for row in range(len(target)):
        near = score[:, :, row] <= score[:, :, row].min() + _ALIKE
        which = int(np.where(near.any(axis=0), left[0, :, row], np.inf).argmin())
        index.append((int(np.where(near[:, which], left[:, which, row], np.inf).argmin()), which, row))
        chosen.append(order[which])
    x = np.stack([pairs[place] for place in index]) if index else tries[0]
    y = np.array([labels[which][row] for _, which, row in index], dtype=np.int64)
    # |a - b|^2 of two directions is 2 (1 - cosine).
    mismatch = {method: left[:, number].min(axis=0) ** 2 / 2 for number, method in enumerate(order)}
    return Portfolio(x, y, tuple(chosen), mismatch)


def _misfits(
    gradient_of: GradientOf, x: NDArray[np.float32], y: NDArray[np.int64], target: torch.Tensor
) -> NDArray[np.float64]:
    import torch

    rows = gradient_of(torch.from_numpy(x).double(), torch.from_numpy(y)).detach()
    found: NDArray[np.float64] = misfit(rows, target).numpy()
    return found


def _roughness(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Minus the log likelihood of neighbours' differences, Laplace at its best scale; (..., m, channels, *axes).

    Directions of x in which a gradient hardly changes keep the start's noise, and nothing but smoothness tells a
    result with that noise from one without. Flat vectors have no neighbours: 0.
    """
    total = np.zeros(x.shape[:3])
    for axis in range(4, x.ndim):
        differences = np.abs(np.diff(x.astype(np.float64), axis=axis)).reshape(*x.shape[:3], -1)
        if differences.shape[-1]:
            total += differences.shape[-1] * np.log(differences.mean(axis=-1) + _RESOLUTION)
    return total


def _analytic(parts: tuple[NDArray[np.float32], NDArray[np.float32]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    weight, bias = parts
    if not bias.any():
        return np.zeros(shape, dtype=np.float32)
    return analytic_linear(weight, bias).reshape(shape).astype(np.float32)
