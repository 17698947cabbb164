"""Side channels: does anything that travels outside the sum tell of the data, although no ledger charged it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from attacks.errors import GameInvalid, TooFew, TranscriptInvalid
from attacks.games.attack import FloatArray
from attacks.games.blind import cross_fitted_scores
from attacks.games.play import Game
from attacks.games.views import View
from attacks.gradients.fidelity import Fidelity, fidelity
from attacks.gradients.inversion import InversionSettings
from attacks.gradients.portfolio import reconstruct_best
from evaluation.evidence import Interval, Score
from evaluation.intervals import clopper_pearson
from evaluation.roc import auc

if TYPE_CHECKING:
    import torch

SIDE_CHANNEL = Game("side channel", "do sizes, times or flags tell two data sets apart?")
"""Side channel (G-CHAN).

The challenger runs the protocol many times, with a coin b each: b = 1 on a data set D, b = 0 on a data set D'. The
adversary sees what the view's side channels reveal of a run (message sizes, times, class or task flags, prototypes) and
nothing of the sums. A channel is unaccounted if the adversary does better than chance although the ledger charges the
difference between D and D' nothing on that channel."""

_FOLDS, _PERMUTATIONS = 5, 200


@dataclass(frozen=True)
class ChannelFinding:
    """How well a channel tells two worlds apart.

    Attributes:
        auc: of a cross-fitted linear classifier, with the interval that chance allows about it.
        charged: epsilon that the ledger charged for the channel.
    """

    channel: str
    auc: Score
    charged: float

    @property
    def unaccounted(self) -> bool:
        """The channel tells the worlds apart and nothing was charged."""
        return self.charged == 0.0 and self.auc.low > 0.5


def message_features(view: View) -> FloatArray:
    """A fixed number of features of one run's side channels: (k,), k depends on the fields present only.

    Number of messages; mean, deviation, least, largest and sum of sizes and of times (logarithms); means of flags.

    Raises:
        FieldNotRevealed: the view has no message sizes.
        TranscriptInvalid: no message was recorded.
    """
    sizes = view.array("message_bytes").astype(np.float64)
    if not sizes.size:
        raise TranscriptInvalid("no message was recorded; record at least one")
    parts = [np.array([float(sizes.size)]), _summary(np.log1p(sizes))]
    if "message_seconds" in view.fields:
        parts.append(_summary(np.log(np.maximum(view.array("message_seconds").astype(np.float64), 1e-9))))
    for flags in ("class_flags", "task_flags"):
        if flags in view.fields:
            values = view.array(flags).astype(np.float64)
            parts.append(values.reshape(-1, values.shape[-1]).mean(axis=0) if values.ndim else values[None])
    return np.concatenate(parts)


def _summary(values: FloatArray) -> FloatArray:
    return np.array([values.mean(), values.std(), values.min(), values.max(), values.sum()])


def channel_finding(
    channel: str,
    features: FloatArray,
    world: NDArray[np.bool_],
    *,
    charged: float,
    seed: int = 0,
    confidence: float = 0.95,
) -> ChannelFinding:
    """Trains a classifier on some runs and judges it on the others.

    Args:
        channel: name for reports.
        features: (n, k), one row per independent run (`message_features`, say).
        world: bool (n,), the coins.
        charged: epsilon charged for what the channel reveals; 0 if the ledger does not know it.
        seed: public seed of folds and permutations.
        confidence: of the interval: AUC +- z standard deviations of the AUCs of 200 permuted coins.

    Raises:
        GameInvalid: shapes do not fit, or values are not finite.
        TooFew: one-sided coins, or fewer than 20 runs.
    """
    coins = np.asarray(world)
    fits = features.ndim == 2 and coins.shape == features.shape[:1] and np.isfinite(features).all()
    if not fits or len(coins) < 20:
        error = TooFew if fits else GameInvalid
        raise error(f"features {features.shape} and coins {coins.shape}: at least 20 runs of finite features")
    if coins.all() or not coins.any():
        raise TooFew("all runs are of one world; flip a coin per run")
    random = np.random.default_rng(seed)
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    truths = np.stack([coins, *(random.permutation(coins) for _ in range(_PERMUTATIONS))], axis=1).astype(np.float64)
    fold = random.permutation(len(coins)) % _FOLDS
    scores = cross_fitted_scores(scaled, fold, truths)
    aucs = np.array([auc(column, truth) for column, truth in zip(scores.T, truths.T > 0.5, strict=True)])
    half = float(norm.isf((1 - confidence) / 2) * aucs[1:].std())
    value = float(aucs[0])
    return ChannelFinding(
        channel,
        Score(
            value=value, low=max(0.0, value - half), high=min(1.0, value + half), confidence=confidence, n=len(coins)
        ),
        charged,
    )


def expose_prototype_gradients(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    gradients: torch.Tensor,
    truth: NDArray[np.floating],
    blind: NDArray[np.floating],
    pool: NDArray[np.floating],
    settings: InversionSettings | None = None,
) -> Fidelity:
    """Rebuilds prototypes from the gradients that clients send a proxy server outside the sum (Dong et al. 2022, GLFC).

    GLFC's server does so on purpose, to choose its old model; whoever reads the channel can do it too. A gradient is of
    one example, so labels are read off it and the portfolio applies (`portfolio.reconstruct_best`).

    Args:
        module: the small encoder that the channel uses, public.
        weights: (d,), its public weights.
        gradients: (m, d), as sent.
        truth: (m, ...), the prototypes; they judge only. GLFC perturbs them before it sends: give what was meant to
            stay private.
        blind: (m, ...), a guess without the channel.
        pool: (k, ...), examples a reconstruction could be mistaken for.
        settings: of the cosine attack.

    Raises:
        InversionInvalid: shapes that do not fit.
    """
    found = reconstruct_best(module, weights, gradients, truth.shape[1:], settings=settings)
    return fidelity(found.x, truth, blind, pool)


@dataclass(frozen=True, kw_only=True)
class PrototypeExposure:
    """Prototypes (means of `count` examples) whose nearest known example is one of those they were made from."""

    count: int
    n: int
    identified: float
    interval: Interval


def prototype_exposure(
    prototypes: NDArray[np.floating],
    members: NDArray[np.int64],
    pool: NDArray[np.floating],
    confidence: float = 0.95,
) -> tuple[PrototypeExposure, ...]:
    """Who is in a mean? One finding per number of examples behind a prototype.

    Args:
        prototypes: (p, d).
        members: (p, k), rows of the pool each was made from, -1 for none: prototypes of fewer than k.
        pool: (n, d), examples the adversary considers, members and others.
        confidence: of the Clopper-Pearson intervals.

    Returns:
        By count, ascending. A prototype of one example is that example.

    Raises:
        TranscriptInvalid: shapes do not fit, or a prototype of no example.
    """
    counts = (members >= 0).sum(axis=1)
    if prototypes.shape[1:] != pool.shape[1:] or len(members) != len(prototypes) or (counts == 0).any():
        raise TranscriptInvalid(
            f"prototypes {prototypes.shape}, members {members.shape}, pool {pool.shape}: each prototype needs at least "
            "one member, and the pool's width"
        )
    out = []
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        near = [int(((pool - prototypes[row]) ** 2).sum(axis=1).argmin()) for row in rows]
        hits = sum(who in members[row] for row, who in zip(rows, near, strict=True))
        interval = clopper_pearson(hits, len(rows), confidence)
        out.append(PrototypeExposure(count=int(count), n=len(rows), identified=hits / len(rows), interval=interval))
    return tuple(out)
