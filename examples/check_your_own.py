"""A server, an accountant and a memory of one's own, each wrong in one way, and `secure-fcl check` finds each.

On the command line, in this folder: `secure-fcl check check_your_own:evens`, and so on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crypto.keys.secrecy import holds_secrets
from crypto.protocols.plain import plain
from crypto.wire.messages import Aggregate, Item
from privacy import Event, RdpAccountant


@holds_secrets
class Evens:
    """A server that rounds every sum down to an even number."""

    name = "server"

    def __init__(self, inner: Any) -> None:
        self.inner, self.start = inner, inner.start

    def on(self, item: Item) -> Iterable[Item]:
        """Answer as the inner server does, with sums rounded down."""
        items = self.inner.on(item)
        return tuple(replace(out, total=out.total // 2 * 2) if isinstance(out, Aggregate) else out for out in items)


class Cheap(RdpAccountant):
    """Claims half of what is spent."""

    def epsilon(self, events: Mapping[Event, int], delta: float) -> float:
        """Return too little."""
        return 0.5 * super().epsilon(events, delta)


class Lowest:
    """Keeps the lowest coins, so that a new example pushes an old one out, and says that none does."""

    private, displaces_others, capacity = True, False, 5

    def close(self, task: int, held: Any, arrived: Any, draws: Any, x: Any, y: Any) -> Any:
        """Return what is kept after a task."""
        both = held.plus(arrived)
        return both.where(np.isin(np.arange(len(both)), np.argsort(draws[both.item])[:5]))


evens, cheap = replace(plain, party=lambda seat: Evens(plain.party(seat))), Cheap()

if __name__ == "__main__":
    for name in ("evens", "cheap", "Lowest"):
        command = [sys.executable, "-m", "secure_fcl", "check", f"check_your_own:{name}"]
        code = subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode
        print(f"exit code {code}\n", flush=True)
