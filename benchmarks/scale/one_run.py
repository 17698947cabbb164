"""One run in a process of its own, which prints one JSON object; `benchmarks.scale.watching` adds CPU and memory.

`python -m benchmarks.scale.one_run CLIENTS PROTECTION HIDDEN ROUNDS [a.b=c ...]`
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scale.population import VARIABLE


def settings(clients: int, protection: str, hidden: int, rounds: int) -> list[str]:
    """Return the settings of a federated averaging run: one step a round at every client, noise on the device."""
    return [
        "data.source=benchmarks.scale.population:people", 'rows=["fedavg"]', "fedavg.epsilon=8",
        "scenario.partition=iid", f"scenario.clients={clients}", "scenario.tasks=1", f"training.rounds={rounds}",
        "training.steps=1", f"training.model=mlp:{hidden}:tanh", "training.trainer=stacked", "attacks.enabled=false",
        "transcript=latest", f"protection={protection}", f"privacy.max_dropouts={min(3, max(0, clients - 4))}",
    ]  # fmt: skip


def main(clients: int, protection: str, hidden: int, rounds: int, more: list[str]) -> None:
    """Run, and print the costs."""
    os.environ[VARIABLE] = str(clients)
    from secure_fcl.config import load_config
    from secure_fcl.runner import train
    from secure_fcl.running.folder import RunFolder
    from secure_fcl.running.prepare import prepare

    begun = time.perf_counter()
    prepared = prepare(load_config(None, [*settings(clients, protection, hidden, rounds), *more]))
    wire = prepared.rows[0][0].wire()
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder.create(Path(place), prepared.config, "run")
        with folder.locked():
            train(prepared, folder)
        costs = [json.loads(line) for line in (folder.path / "cost.jsonl").read_text().splitlines()]
    walls = sorted(cost["wall"] for cost in costs[1:] or costs)
    found = {
        "clients": clients, "protection": protection, "parameters": wire.source.length, "rounds": rounds,
        "round_s": walls[len(walls) // 2],
        "wall_s": time.perf_counter() - begun, "bytes_up": sum(cost["bytes_up"] for cost in costs) / len(costs),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
