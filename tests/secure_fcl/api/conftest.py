from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import secure_fcl


@pytest.fixture(scope="session")
def opened(run_tiny: Callable[..., Any]) -> secure_fcl.Run:
    """A finished run of four kinds of strategy, opened."""
    rows = 'rows=["replay","class_sums","calm","local_only"]'
    path: Path = run_tiny(rows, "privacy.max_dropouts=0").path
    return secure_fcl.open(path)
