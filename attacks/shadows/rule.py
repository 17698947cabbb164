"""What every trainer of shadow models has in common: the update rule and the shape of its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ShadowsInvalid

Weights = NDArray[np.float32]
Schedule = NDArray[np.int64]
Seeds = NDArray[np.int64]
Data = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Examples x (n, ...) and labels y (n,)."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Stochastic gradient descent with momentum on cross-entropy, with or without DP-SGD's clipping and noise.

    One step moves by `learning_rate` times the momentum buffer of (sum of the batch's gradients, each clipped to
    `clip_norm` if given, plus noise of standard deviation `noise_multiplier * clip_norm`) / `denominator`.

    Attributes:
        learning_rate: positive.
        momentum: in [0, 1).
        clip_norm: None leaves gradients as they are.
        noise_multiplier: at least 0; above 0 a clip norm is needed.
        denominator: a public constant; None takes the number of slots per batch, empty ones included.
    """

    learning_rate: float
    momentum: float = 0.0
    clip_norm: float | None = None
    noise_multiplier: float = 0.0
    denominator: float | None = None

    def __post_init__(self) -> None:
        positive = [self.learning_rate, *(v for v in (self.clip_norm, self.denominator) if v is not None)]
        if not all(math.isfinite(v) and v > 0 for v in positive) or not 0.0 <= self.momentum < 1.0:
            raise ShadowsInvalid(
                f"learning rate, clip norm and denominator {positive} must be positive and finite, momentum "
                f"{self.momentum} in [0, 1)"
            )
        if not 0.0 <= self.noise_multiplier < math.inf or (self.noise_multiplier > 0 and self.clip_norm is None):
            raise ShadowsInvalid(
                f"noise multiplier {self.noise_multiplier} with clip norm {self.clip_norm}: it must be finite, at "
                "least 0, and noise needs a clip norm to be scaled by"
            )

    def divisor(self, slots: int) -> float:
        """What the gradient sum of a batch with so many slots is divided by."""
        return float(slots if self.denominator is None else self.denominator)


class ShadowTrainer(Protocol):
    """Trains many models of one architecture, each on its own batches; weights are flat vectors of one layout."""

    @property
    def label(self) -> str:
        """Names architecture and initialisation, not the way it is computed: part of a cache's key."""

    def initial(self, seeds: NDArray[np.int64]) -> Weights:
        """Fresh weights, one model per seed, (M, d)."""

    def train(
        self, weights: Weights, data: Data, schedule: Schedule, rule: Rule, noise_seeds: Seeds | None = None
    ) -> Weights:
        """Weights after the schedule.

        Args:
            weights: (M, d), where each model starts. Not changed.
            data: x (n, ...) and y (n,), shared by all models.
            schedule: int64 (M, T, B), rows of the data in every batch; -1 marks an empty slot.
            rule: the update rule, momentum starting at 0.
            noise_seeds: (M,), seeds of each model's noise; needed exactly if the rule has noise.

        Raises:
            ShadowsInvalid: shapes do not fit, or a row is out of range.
        """

    def losses(self, weights: Weights, x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cross-entropy of every model on every example, float64 (M, n), from logits (`functions.label_losses`)."""


def checked(weights: Weights, data: Data, schedule: Schedule, rule: Rule, noise_seeds: Seeds | None) -> None:
    """Refuses inputs of `ShadowTrainer.train` that do not fit together.

    Raises:
        ShadowsInvalid: see there.
    """
    n = len(data[0])
    fits = (
        weights.ndim == 2
        and schedule.ndim == 3
        and schedule.dtype == np.int64
        and schedule.shape[0] == weights.shape[0]
        and len(data[1]) == n
    )
    if not fits or (schedule.size and (int(schedule.min()) < -1 or int(schedule.max()) >= n)):
        raise ShadowsInvalid(
            f"weights {weights.shape}, {n} examples with {len(data[1])} labels and a schedule {schedule.dtype} "
            f"{schedule.shape}; needed are (M, d), as many labels as examples, and int64 (M, T, B) from -1 to n - 1"
        )
    if (rule.noise_multiplier > 0) != (noise_seeds is not None):
        raise ShadowsInvalid(
            f"noise multiplier {rule.noise_multiplier} with noise seeds {noise_seeds}: give one seed per model "
            "exactly if there is noise"
        )


def present_rows(schedule: Any) -> tuple[Any, Any]:
    """Row numbers with empty slots set to row 0, and a float mask of the slots that are filled (torch tensors)."""
    return schedule.clamp_min(0), (schedule >= 0).float()
