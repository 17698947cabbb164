from collections.abc import Callable

import numpy as np
import pytest

from secure_fcl.data import NO_CLIENT, Dataset


@pytest.fixture(scope="session")
def make_data() -> Callable[..., Dataset]:
    """`make_data(run_lengths, classes, windows_per_reading, natural, seed)`: runs of one label, two thirds to train."""

    def make(
        run_lengths: list[int], classes: int = 3, windows_per_reading: int = 2, natural: int = 0, seed: int = 0
    ) -> Dataset:
        rng = np.random.default_rng(seed)
        run = np.repeat(np.arange(len(run_lengths)), run_lengths)
        n = len(run)
        train = (run % 3) > 0
        owner = rng.integers(0, natural, size=len(run_lengths))[run] if natural else np.full(n, NO_CLIENT)
        return Dataset(
            name="made",
            x=rng.normal(size=(n, 6, 8)).astype(np.float32),
            y=rng.integers(0, classes, size=len(run_lengths))[run].astype(np.int64),
            client=owner.astype(np.int64),
            session=np.where(train, 1, 2).astype(np.int64),
            run=run.astype(np.int64),
            position=np.concatenate([np.arange(m) for m in run_lengths]).astype(np.int64),
            train=train,
            test=~train,
            classes=tuple("abcdefghij"[:classes]),
            units="none",
            windows_per_reading=windows_per_reading,
        )

    return make
