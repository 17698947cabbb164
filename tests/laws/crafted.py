"""Examples for law tests: far apart, so that who entered a sum can be read off it. Named `crafted:examples` in runs."""

from dataclasses import replace

import numpy as np

from privacy import RdpAccountant
from secure_fcl.data import Dataset

CLIENTS, CLASSES, EACH, SIZE = 6, 4, 10, 256
"""So many clients, classes, training examples of each class at each client, and pixels of an example."""

accountant = RdpAccountant()
"""Quick at the low noise that lets single examples be seen; the laws read the ledger, whoever counts its epsilon."""


def examples() -> Dataset:
    """Return examples in random directions, of which a fifth are faint: their gradients stay below a clipping norm."""
    rng = np.random.default_rng(7)
    client, y, number = (a.ravel() for a in np.meshgrid(range(CLIENTS), range(CLASSES), range(EACH + 1), indexing="ij"))
    n = len(y)
    length = np.where(np.arange(n) % 5 == 0, 1.5, rng.uniform(6.0, 18.0, n))
    x = rng.standard_normal((n, SIZE))
    x *= (length / np.linalg.norm(x, axis=1))[:, None]
    nothing, each = np.zeros(n, dtype=np.int64), np.arange(n)
    return Dataset(
        name="crafted", x=x.reshape(n, 1, 16, 16).astype(np.float32), y=y.astype(np.int64),
        client=client.astype(np.int64), session=nothing,
        run=each, position=nothing, train=number < EACH, test=number == EACH, classes=tuple("abcd"), units="none",
        source="made up",
    )  # fmt: skip


def zeros() -> Dataset:
    """Return the same examples with nothing in them: no gradient reaches the weights of a first layer."""
    made = examples()
    return replace(made, x=np.zeros_like(made.x))
