"""Best CPU time of a few repetitions: on a shared machine the least disturbed one says most."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the smallest CPU seconds of `repeats` calls."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return min(times)
