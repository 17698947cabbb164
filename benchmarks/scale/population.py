"""Made-up clients: four examples each of ten classes in 64 features, as many clients as a run wants.

Costs are measured on them, not accuracies: what an example holds changes no cost.
"""

from __future__ import annotations

import os

import numpy as np

from secure_fcl.data import NO_CLIENT, Dataset

FEATURES, CLASSES, EACH = 64, 10, 4
VARIABLE = "SECURE_FCL_BENCH_CLIENTS"
"""How many clients the data are for; workers inherit it."""


def people() -> Dataset:
    """Return the examples of all clients, and as many to test on as one client in ten has."""
    clients = int(os.environ[VARIABLE])
    rng = np.random.default_rng(7)
    train = clients * EACH
    n = train + max(CLASSES * 10, min(train // 10, 2_000))
    y = np.arange(n, dtype=np.int64) % CLASSES
    centres = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    x = 0.1 * (centres[y] + rng.normal(size=(n, FEATURES)).astype(np.float32))
    zeros, trained = np.zeros(n, dtype=np.int64), np.arange(n) < train
    return Dataset(
        name="people", x=x, y=y, client=np.full(n, NO_CLIENT, dtype=np.int64), session=zeros, run=zeros,
        position=np.arange(n, dtype=np.int64), train=trained, test=~trained,
        classes=tuple(f"class {label}" for label in range(CLASSES)), units="none", windows_per_reading=1,
        source="made up",
    )  # fmt: skip
