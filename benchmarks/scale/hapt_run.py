"""Replay on HAPT in a process of its own, with shared noise and secure sums or with neither: `one_run` on real data.

`python -m benchmarks.scale.hapt_run PROTECTION ROUNDS [a.b=c ...]`; `plain` is without noise, all else with it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

TASKS = 6


def settings(protection: str, rounds: int) -> list[str]:
    """Return the settings of a run that is otherwise the product's own."""
    noise = ["replay.noise=none", "replay.epsilon=inf"] if protection == "plain" else ["replay.noise=shared"]
    return [
        "data.name=hapt", "scenario.clients=30", f"scenario.tasks={TASKS}", 'rows=["replay"]', "workers=1",
        f"training.rounds={rounds // TASKS}", "attacks.enabled=false", "transcript=latest", f"protection={protection}",
        *noise,
    ]  # fmt: skip


def main(protection: str, rounds: int, more: list[str]) -> None:
    """Run, and print the costs."""
    from secure_fcl.config import load_config
    from secure_fcl.runner import train
    from secure_fcl.running.folder import RunFolder
    from secure_fcl.running.prepare import prepare

    begun = time.perf_counter()
    prepared = prepare(load_config(None, [*settings(protection, rounds), *more]))
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder.create(Path(place), prepared.config, "run")
        with folder.locked():
            train(prepared, folder)
    print(json.dumps({"wall_s": time.perf_counter() - begun, "parameters": prepared.rows[0][0].wire().source.length}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
