"""Data and small helpers of the sections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from attacks import Candidates

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def digits() -> Data:
    """scikit-learn's digits: x (1797, 64) in [0, 1] and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target.astype(np.int64)


def pool(data: Data, *, tasks: int = 1) -> Candidates:
    """All digits as candidates; two tasks are the classes 0-4 and 5-9."""
    x, y = data
    return Candidates(x, y, np.arange(len(x)), (y >= 5).astype(np.int64) * (tasks - 1))


class Seconds:
    """CPU seconds of a block, filled in when it ends."""

    value = 0.0


@contextmanager
def cpu() -> Iterator[Seconds]:
    out, begun = Seconds(), time.process_time()
    yield out
    out.value = time.process_time() - begun
