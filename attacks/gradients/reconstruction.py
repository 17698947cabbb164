"""How good reconstructions are, against what could be guessed without any gradient.

Uncentred correlation "finds" a signal wherever gravity or brightness dominates: a blind mean then scores
above .9. So every channel is centred first, and every score stands beside a blind guess with the same
label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.gradients.inversion import InversionSettings
from attacks.gradients.portfolio import Method, reconstruct_best
from attacks.gradients.worlds import GradientWorld
from evaluation.evidence import Score
from evaluation.intervals import mean_interval

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
_POOL = 300
KNOWN_LABELS: tuple[Method, ...] = ("analytic", "cosine", "iDLG")
"""The portfolio when labels are known; DLG would search for them."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Reconstruction in one world: means over the targets with t intervals.

    Attributes:
        world: "one client" or "sum of n".
        noise: "off" or "as ran".
        n: number of targets.
        correlation: of reconstruction and target, centred per channel, in [-1, 1].
        blind: of the best blind guess (mean, most typical member, a constant) and the target.
        gain: correlation minus blind, paired by target.
        clients: number of clients in what was observed; 1 for one client's own, which a secure sum hides.
    """

    world: str
    noise: str
    n: int
    correlation: Score
    blind: Score
    gain: Score
    clients: int = 1


def _directions(x: NDArray[np.floating]) -> Floats:
    """Rows centred per channel, flattened and scaled to norm 1; a constant row becomes 0. (m, k)."""
    rows = np.asarray(x, dtype=np.float64)
    by_channel = rows.reshape(*rows.shape[:2], -1) if rows.ndim > 2 else rows[:, None, :]
    centred = (by_channel - by_channel.mean(axis=2, keepdims=True)).reshape(len(rows), -1)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    tiny = norms <= 1e-9 * np.maximum(1.0, np.abs(by_channel).max(axis=(1, 2), initial=0.0)[:, None])
    return np.where(tiny, 0.0, centred / np.where(tiny, 1.0, norms))


def centred_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Correlation of matching rows after centring each channel: (m, channels, ...) or flat (m, d) -> (m,).

    A row that is constant in every channel correlates 0. Invariant under a positive scale of a row and an
    offset of any channel.

    Raises:
        InversionInvalid: shapes differ, or a value is not finite.
    """
    if first.shape != second.shape or first.ndim < 2 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InversionInvalid(f"arrays of shapes {first.shape} and {second.shape} must be alike, (m, ...), and finite")
    return np.asarray((_directions(first) * _directions(second)).sum(axis=1))


def blind_guesses(
    y: NDArray[np.integer], reference: tuple[NDArray[np.floating], NDArray[np.integer]]
) -> tuple[Floats, Floats]:
    """Two guesses that use no gradient and no target: the reference's mean and its most typical member.

    The most typical member is the one whose mean centred correlation with the others (at most 300) is
    highest.

    Args:
        y: (m,), labels of the targets.
        reference: (x, y) of examples of *other* people than the targets'.

    Returns:
        means and typical members, (m, ...) each.

    Raises:
        InversionInvalid: the reference lacks a label.
    """
    x_ref, y_ref = reference
    missing = sorted({int(label) for label in y} - {int(label) for label in y_ref})
    if missing:
        raise InversionInvalid(f"the reference has no example of label(s) {missing}; add some, or drop these targets")
    means, typical = {}, {}
    for label in {int(label) for label in y}:
        pool = np.asarray(x_ref[y_ref == label][:_POOL], dtype=np.float64)
        directions = _directions(pool)
        means[label] = pool.mean(axis=0)
        typical[label] = pool[int((directions @ directions.sum(axis=0)).argmax())]
    return np.stack([means[int(v)] for v in y]), np.stack([typical[int(v)] for v in y])


def reconstruct(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    worlds: Sequence[GradientWorld],
    targets: tuple[NDArray[np.floating], NDArray[np.integer]],
    reference: tuple[NDArray[np.floating], NDArray[np.integer]],
    settings: InversionSettings | None = None,
    confidence: float = 0.95,
    methods: Sequence[Method] = KNOWN_LABELS,
) -> tuple[Reconstruction, ...]:
    """Rebuilds every world's examples by the best of a portfolio and scores them, one `Reconstruction` per world.

    The blind score is that of the guess (mean, most typical member, or a constant, which scores 0) with the
    highest mean over these targets: chosen in the baseline's favour, so that the gain is, if anything, too
    small. With one target there is no interval (NaN).

    Args:
        module: the architecture.
        weights: (d,), the attacked model.
        worlds: from `build_gradient_worlds`, all for these targets.
        targets: (x, y); x only judges, the attack sees labels and gradients.
        reference: (x, y) of other people, for the blind guess.
        settings: of the cosine attack.
        confidence: of the t intervals, in (0, 1).
        methods: of `portfolio.reconstruct_best`, which keeps the best per target by the adversary's own measure.

    Raises:
        InversionInvalid: no worlds, shapes that do not fit, a label without reference.
    """
    import torch

    x, y = targets
    if not worlds or any(len(world.gradients) != len(x) for world in worlds):
        raise InversionInvalid(
            f"{len(worlds)} worlds for {len(x)} targets; give at least one world, each with one gradient per target"
        )
    observed = torch.cat([world.gradients for world in worlds])
    labels = np.tile(y, len(worlds))
    found = reconstruct_best(
        module, weights, observed, x.shape[1:], y=labels, methods=methods, settings=settings
    ).x  # fmt: skip
    # Guessing a constant correlates 0, so no blind adversary has to do worse than that.
    guesses = [np.zeros(len(x))]
    guesses += [centred_correlation(guess, np.asarray(x)) for guess in blind_guesses(y, reference)]
    blind = max(guesses, key=lambda values: float(values.mean()))
    results = []
    for number, world in enumerate(worlds):
        own = centred_correlation(found[number * len(x) : (number + 1) * len(x)], np.asarray(x))
        results.append(
            Reconstruction(
                world=world.world,
                noise=world.noise,
                n=len(x),
                correlation=mean_interval(own.tolist(), confidence),
                blind=mean_interval(blind.tolist(), confidence),
                gain=mean_interval((own - blind).tolist(), confidence),
                clients=world.clients,
            )
        )
    return tuple(results)
