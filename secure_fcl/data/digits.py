"""scikit-learn's handwritten digits, the small set that needs no download."""

from __future__ import annotations

import hashlib

import numpy as np

from secure_fcl.data.dataset import NO_CLIENT, Dataset

TRAIN_SIZE = 1_437
_SPLIT_NAME = "secure-fcl digits split 1"


def load_digits() -> Dataset:
    """Read the 1,797 grey images of 8 x 8 pixels.

    The split is a public function of the index alone: indices are ordered by sha256(name | index), the
    first 1,437 are `train`, the last 360 `test`. It is the same on every machine and library version.

    Returns:
        x float32 (1797, 1, 8, 8), pixel counts 0..16 divided by 16; client -1 throughout; every image is
        its own run.
    """
    from sklearn.datasets import load_digits as bundled

    pixels, labels = bundled(return_X_y=True)
    n = len(labels)
    order = sorted(range(n), key=lambda i: hashlib.sha256(f"{_SPLIT_NAME}|{i}".encode()).digest())
    train = np.zeros(n, dtype=np.bool_)
    train[order[:TRAIN_SIZE]] = True
    return Dataset(
        name="digits",
        x=(pixels.reshape(n, 1, 8, 8) / 16.0).astype(np.float32),
        y=labels.astype(np.int64),
        client=np.full(n, NO_CLIENT, dtype=np.int64),
        session=np.zeros(n, dtype=np.int64),
        run=np.arange(n, dtype=np.int64),
        position=np.zeros(n, dtype=np.int64),
        train=train,
        test=~train,
        classes=tuple(str(digit) for digit in range(10)),
        units="ink, 0 (none) to 1 (all 16 of a block's pixels)",
        source="Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998, CC BY 4.0 "
        "(copy in scikit-learn)",
    )
