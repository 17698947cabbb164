"""Exemplar extraction from rehearsal (G-EXT): pictures of the replay memory, out of an update that replayed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid
from attacks.fidelity import Fidelity, fidelity, matched
from attacks.games import Game
from attacks.inversion import InversionSettings, invert
from attacks.local_updates import batch_gradients_of

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
