from collections.abc import Callable

import numpy as np
import pytest

from privacy import RandomBytes

Keyed = Callable[[int], RandomBytes]


@pytest.fixture(scope="session")
def keyed() -> Keyed:
    """A stream of bytes for each key; equal keys give equal streams."""
    return lambda key: np.random.default_rng(key).bytes
