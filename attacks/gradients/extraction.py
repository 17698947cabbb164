"""Exemplar extraction from rehearsal (G-EXT): pictures of the replay memory, out of an update that replayed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.games.play import Game
from attacks.gradients.fidelity import Fidelity, fidelity, matched
from attacks.gradients.inversion import InversionSettings, invert
from attacks.gradients.reconstruction import Reconstruction, blind_guesses, centred_correlation
from attacks.modules.local_updates import batch_gradients_of, clipped_batch_gradients_of
from evaluation.intervals import mean_interval

if TYPE_CHECKING:
    import torch

EXTRACTION = Game("exemplar extraction", "what do the replayed examples look like?")
"""Exemplar extraction (G-EXT).

A client's update is computed on a batch of new examples and r replayed ones. The adversary knows the model, the update
and the labels of the batch, and returns as many examples as there were. Each replayed example is paired with one of
them (Hungarian method); what counts is its PSNR above that of a blind guess of the same label."""


def extract_exemplars(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    update: NDArray[np.floating],
    labels: NDArray[np.integer],
    shape: tuple[int, ...],
    settings: InversionSettings | None = None,
) -> NDArray[np.float32]:
    """Examples (B, *shape) whose mean gradient matches the update's direction, by the cosine attack.

    Args:
        module: the architecture.
        weights: (d,), where the gradient was taken.
        update: (d,), the mean gradient of the batch, up to a positive factor.
        labels: (B,), of the whole batch, new and replayed (`labels.label_counts` estimates them).
        shape: of one example.
        settings: of the attack.

    Raises:
        InversionInvalid: empty batch, or an update that is not finite.
    """
    import torch

    if not len(labels):
        raise InversionInvalid("the batch has no labels; give one per example of the batch")
    target = torch.from_numpy(np.asarray(update, dtype=np.float32))[None]
    gradient_of = batch_gradients_of(module, weights)
    found: NDArray[np.float32] = invert(
        gradient_of, target, np.asarray(labels)[None], (len(labels), *shape), settings
    ).x[0]
    return found


def judge_extraction(
    found: NDArray[np.floating],
    replayed: NDArray[np.floating],
    blind: NDArray[np.floating],
    pool: NDArray[np.floating],
    *,
    peak: float = 1.0,
) -> Fidelity:
    """Quality on the replayed examples alone, each paired with one reconstruction.

    Args:
        found: (B, ...), reconstructions of the whole batch.
        replayed: (r, ...), the replayed examples, r at most B.
        blind: (r, ...), a guess per replayed example without any gradient.
        pool: (k, ...), other examples that a reconstruction could be mistaken for.
        peak: of the signal.

    Raises:
        InversionInvalid: shapes that do not fit.
    """
    return fidelity(found[matched(found, replayed)], replayed, blind, pool, peak=peak)


def stage_extraction(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    batches: tuple[NDArray[np.float32], NDArray[np.int64]],
    replayed: int,
    reference: tuple[NDArray[np.floating], NDArray[np.integer]],
    *,
    clip_norm: float,
    noise: float,
    settings: InversionSettings | None = None,
    seed: int = 0,
) -> Reconstruction:
    """Plays extraction on staged batches and judges the replayed examples by correlation, for signals of any scale.

    Every replayed example is paired with one reconstruction of its batch (Hungarian method on correlations); the blind
    guesses of the batch's labels are given the same choice.

    Args:
        module: the architecture.
        weights: (d,), where the gradient was taken.
        batches: x (m, B, ...) and y (m, B); the last `replayed` of every batch come from the memory.
        replayed: r, 1 to B.
        reference: (x, y) of other people, for the blind guess; holds every label of the batches.
        clip_norm: of every example's gradient.
        noise: standard deviation per coordinate of the noise on the batch's sum, in gradient units.
        settings: of the attack.
        seed: public seed of the noise.

    Raises:
        InversionInvalid: sizes that do not fit, or a label without reference.
    """
    import torch

    x, y = batches
    count, size = y.shape
    if not 1 <= replayed <= size or not count:
        raise InversionInvalid(f"{replayed} of batches {y.shape} are replayed; at least one batch and one of each")
    gradient_of = clipped_batch_gradients_of(module, weights, clip_norm)
    sent = gradient_of(torch.from_numpy(x.copy()), torch.from_numpy(y.copy())).detach()
    draw = torch.randn(sent.shape, generator=torch.Generator().manual_seed(seed))
    found = invert(gradient_of, sent + noise / size * draw, y, x.shape[1:], settings).x
    own, blind = [], []
    for number in range(count):
        truth = x[number, size - replayed :]
        guesses = [_paired(guess, truth) for guess in blind_guesses(y[number], reference)]
        own += _paired(found[number], truth).tolist()
        blind += max(guesses, key=lambda values: float(values.mean())).tolist()
    gains = [a - b for a, b in zip(own, blind, strict=True)]
    world = f"{replayed} replayed in a batch of {size}, one client"
    return Reconstruction(
        world=world, noise="as ran" if noise > 0 else "off", n=len(own), correlation=mean_interval(own),
        blind=mean_interval(blind), gain=mean_interval(gains),
    )  # fmt: skip


def _paired(found: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of every true example with the reconstruction paired with it, (r,)."""
    from scipy.optimize import linear_sum_assignment

    table = np.stack([centred_correlation(np.broadcast_to(row, found.shape), found) for row in truth])
    rows, columns = linear_sum_assignment(-table)
    return np.asarray(table[rows, columns])
