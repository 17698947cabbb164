"""Labels read off the last layer's gradient: one label exactly, the counts of a batch nearly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.errors import InversionInvalid

Floats = NDArray[np.float64]


def label_of(bias_gradient: NDArray[np.floating]) -> int:
    """The label of the single example behind a last-layer bias gradient p - onehot(y) (Zhao et al. 2020, iDLG).

    Exact without noise, whatever the positive scale (clipping, learning rate): y has the only negative entry.

    Args:
        bias_gradient: (classes,), finite.

    Raises:
        InversionInvalid: not a finite vector.
    """
    values = _checked(bias_gradient)
    return int(values.argmin())


def label_counts(
    bias_gradient_sum: NDArray[np.floating], mean_probability: NDArray[np.floating], batch: int
) -> NDArray[np.int64]:
    """How many examples of each class a batch holds, from the sum of its last-layer bias gradients.

    The sum over the batch is (sum of predictions) - counts, so counts = batch * (mean prediction) - sum. The mean
    prediction is not known to the adversary; that of any similar data will do, better the less the model is trained
    (Ma et al. 2023, iLRG; Wainakh et al. 2022, LLG). Rounded to non-negative integers that add up to the batch.

    Args:
        bias_gradient_sum: (classes,), not divided by the batch size, not clipped.
        mean_probability: (classes,), estimate of the mean softmax output over the batch.
        batch: number of examples, at least 1.

    Raises:
        InversionInvalid: shapes differ, values are not finite, or the batch is empty.
    """
    total, guess = _checked(bias_gradient_sum), _checked(mean_probability)
    if total.shape != guess.shape or batch < 1:
        raise InversionInvalid(f"shapes {total.shape} and {guess.shape} must be alike, batch={batch} at least 1")
    raw = np.maximum(batch * guess - total, 0.0)
    raw = raw * batch / raw.sum() if raw.sum() > 0 else np.full(len(raw), batch / len(raw))
    counts: NDArray[np.int64] = np.floor(raw).astype(np.int64)
    left = batch - int(counts.sum())
    counts[np.argsort(-(raw - counts), kind="stable")[:left]] += 1
    return counts


def _checked(values: NDArray[np.floating]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InversionInvalid(f"a finite vector with one entry per class is needed, not shape {array.shape}")
    return array
