"""Saved updates as a curious server would read them: which labels are behind them, and the examples themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AuditInvalid
from attacks.games.attack import Candidates
from attacks.gradients.inversion import InversionSettings
from attacks.gradients.labels import label_counts, label_of
from attacks.gradients.portfolio import reconstruct_best
from attacks.gradients.reconstruction import KNOWN_LABELS, blind_guesses, centred_correlation
from attacks.modules.functions import losses_of
from attacks.modules.layout import last_linear
from evaluation.evidence import Interval
from evaluation.intervals import clopper_pearson, mean_interval

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class UpdateAttack:
    """What one attack on saved updates achieved.

    Attributes:
        question: "labels" or "reconstruction".
        n: updates.
        value: mean share of labels right, or mean correlation with the example (centred per channel).
        blind: the same for a guess that saw no update.
        gain: interval of the value minus `blind`; NaN if one update gives none.
    """

    question: Literal["labels", "reconstruction"]
    n: int
    value: float
    blind: float
    gain: Interval


def attack_updates(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    updates: NDArray[np.float32],
    kind: Literal["gradient", "step"],
    truth: Candidates,
    reference: Candidates,
    seed: int = 0,
) -> tuple[tuple[UpdateAttack, ...], tuple[str, ...]]:
    """Read labels off updates and rebuild their examples, beside guesses that saw no update.

    Args:
        module: the architecture; BatchNorm is held at its running statistics.
        weights: (d,), the checkpoint at which the updates were taken.
        updates: (m, p), over the module's parameters: mean gradients of a batch, or steps of weights.
        kind: which of the two; a step is a gradient's opposite, of unknown size.
        truth: the examples behind the updates, B for each in their order; only judges.
        reference: examples of the same kind that are behind no update, for the blind guesses.
        seed: public, of the inversion's starts.

    Returns:
        The attacks, and what was not tried and why.

    Raises:
        AuditInvalid: the truth does not fit the updates.
        InversionInvalid: the module has no linear layer with bias, or a label has no reference.
    """
    if not len(truth) or len(truth) % len(updates):
        raise AuditInvalid(f"{len(truth)} true examples for {len(updates)} updates; give the same number for each")
    batch = len(truth) // len(updates)
    y = truth.y.reshape(len(updates), batch)
    head = last_linear(module)
    signs = updates if kind == "gradient" else -updates
    bias = [head.of(row)[1] for row in signs]
    if batch > 1:
        if kind == "step":
            return (), (
                f"updates: a step of {batch} examples has an unknown size; save mean gradients to count labels",
            )
        mean = _mean_probability(module, weights, reference, head.outputs)
        counts = np.stack([label_counts(batch * row, mean, batch) for row in bias])
        said = f"updates: rebuilding examples from {batch} at once; see attacks.gradients.extraction"
        return (_counted(counts, y, reference, head.outputs),), (said,)
    read = np.array([label_of(row) for row in bias])
    found = [_labels(read, truth.y)]
    found.append(_rebuilt(module, weights, signs, truth, reference, seed))
    return tuple(found), ()


def _mean_probability(
    module: torch.nn.Module, weights: NDArray[np.float32], reference: Candidates, classes: int
) -> Floats:
    losses = losses_of(module)
    columns = [losses(weights, reference.x, np.full(len(reference), label)) for label in range(classes)]
    return np.asarray(np.exp(-np.stack(columns)).mean(axis=1))


def _labels(read: NDArray[np.integer], y: NDArray[np.int64]) -> UpdateAttack:
    right, n = int((read == y).sum()), len(y)
    # The best constant guess for these very updates: chosen in the baseline's favour.
    blind = float(np.bincount(y).max() / n)
    exact = clopper_pearson(right, n)
    gain = Interval(low=exact.low - blind, high=exact.high - blind, confidence=exact.confidence)
    return UpdateAttack(question="labels", n=n, value=right / n, blind=blind, gain=gain)


def _counted(counts: NDArray[np.int64], y: NDArray[np.int64], reference: Candidates, classes: int) -> UpdateAttack:
    true = np.stack([np.bincount(row, minlength=classes) for row in y])
    usual = np.bincount(reference.y, minlength=classes)[:classes] / len(reference) * y.shape[1]
    guess = np.floor(usual)
    guess[np.argsort(-(usual - guess), kind="stable")[: int(y.shape[1] - guess.sum())]] += 1
    own, blind = (np.minimum(each, true).sum(axis=1) / y.shape[1] for each in (counts, guess[None]))
    return _paired("labels", own, blind)


def _rebuilt(
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    gradients: NDArray[np.float32],
    truth: Candidates,
    reference: Candidates,
    seed: int,
) -> UpdateAttack:
    import torch

    found = reconstruct_best(
        module, weights, torch.from_numpy(gradients.copy()), truth.x.shape[1:], methods=KNOWN_LABELS,
        settings=InversionSettings(seed=seed),
    )  # fmt: skip
    own = centred_correlation(found.x, truth.x)
    guesses = [centred_correlation(guess, truth.x) for guess in blind_guesses(truth.y, (reference.x, reference.y))]
    return _paired("reconstruction", own, max([*guesses, np.zeros(len(own))], key=lambda scores: float(scores.mean())))


def _paired(question: Literal["labels", "reconstruction"], own: Floats, blind: Floats) -> UpdateAttack:
    gain = mean_interval([*(own - blind)])
    return UpdateAttack(
        question=question, n=len(own), value=float(own.mean()), blind=float(blind.mean()), gain=gain.interval
    )
