"""Two builds of the masking server and the machine's floor, in turn: `python -m benchmarks.crypto.race --before TREE`.

TREE is a checkout of the build to compare with (`git worktree add TREE COMMIT`). Each build runs in a process of its
own, prepared once; every repetition takes the floor, the build before and this one on one and two threads, with and
without numba where it is installed, one after the other, so that a busy moment of the machine strikes all of them.
Medians; processor time beside the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.crypto.results import Point, Results
from crypto.keys.tagging import make_tag
from crypto.protocols.masks.stream import accelerator, by_counter, by_gcm, fastest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "benchmarks-crypto.jsonl"
CLIENTS, LENGTH, DROPOUT = 1000, 1_000_000, 0.05
FLOOR_PIECE = 1 << 17


def floor(length: int, masks: int, vectors: int, vector_bytes: int) -> tuple[float, float]:
    """Seconds (processor, clock) of the key streams of all masks, one addition each, and one GMAC a vector."""
    room, zeros, total = bytearray(FLOOR_PIECE), bytes(FLOOR_PIECE), np.zeros(length, dtype=np.uint32)
    stream, vector, key = np.frombuffer(room, dtype=np.uint32), bytes(vector_bytes), bytes(32)
    make = by_gcm if fastest() is by_gcm else by_counter
    cpu, wall = time.process_time(), time.perf_counter()
    for first in range(0, masks, 64):
        streams = [make(key).update_into for _ in range(min(64, masks - first))]
        for start in range(0, length, stream.size):
            piece = total[start : start + stream.size]
            for draw in streams:
                draw(zeros[: piece.nbytes] if piece.nbytes < FLOOR_PIECE else zeros, room)
                np.add(piece, stream[: piece.size], out=piece)
    for _ in range(vectors):
        make_tag(key, bytes(12), vector)
    return time.process_time() - cpu, time.perf_counter() - wall


class Build:
    """One build in a process of its own."""

    def __init__(self, tree: Path, clients: int, length: int, dropout: float) -> None:
        worker = Path(__file__).with_name("race_worker.py")
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", str(worker), str(clients), str(length), str(dropout)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree
        )
        self.shape: dict[str, Any] = self._read()

    def run(self, threads: int, compiled: bool) -> dict[str, float]:
        """One sum of this build's server."""
        assert self._process.stdin is not None
        print(threads, int(compiled), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a build ended before it answered; see its message above")
        found: dict[str, Any] = json.loads(line)
        return found


def race(before: Path, repeats: int, clients: int, length: int, dropout: float) -> dict[str, Point]:
    """The medians of `repeats` turns, by runner."""
    builds = {"before": Build(before, clients, length, dropout), "now": Build(ROOT, clients, length, dropout)}
    shape = builds["now"].shape
    drops = math.ceil(dropout * clients)
    left = clients - drops
    masks = round(left + drops * shape["neighbours"] * left / (clients - 1))
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(repeats):
        cpu, wall = floor(length, masks, left, shape["bytes"])
        found["floor"].append({"cpu_s": cpu, "wall_s": wall})
        found["before"].append(builds["before"].run(1, True))
        for compiled in (False, True) if accelerator() is not None else (False,):
            for threads in (1, 2):
                with_what = "with numba" if compiled else "NumPy alone"
                found[f"now, {with_what}, {threads}"].append(builds["now"].run(threads, compiled))
        print({name: round(runs[-1]["cpu_s"], 2) for name, runs in found.items()}, file=sys.stderr, flush=True)
    for build in builds.values():
        build.close()
    common = {"clients": clients, "length": length, "dropped": drops, "masks": masks, "repeats": repeats}
    return {
        f"race {name}": {**common, **{key: statistics.median(run[key] for run in runs) for key in runs[0]}}
        for name, runs in found.items()
    }


def main() -> int:
    """Race, print the medians, and with --keep add them to the points of the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crypto.race", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the build to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--dropout", type=float, default=DROPOUT)
    parser.add_argument("--keep", action="store_true", help="add the points to a file of results")
    parser.add_argument("--results", type=Path, default=KEPT, help="that file (default: docs/benchmarks-crypto.jsonl)")
    options = parser.parse_args()
    points = race(options.before, options.repeats, options.clients, options.length, options.dropout)
    for name, point in points.items():
        print(name, json.dumps(point))
    if options.keep:
        results = Results.open(options.results)
        for name, point in points.items():
            results.once(name, lambda point=point: point)  # type: ignore[misc]
    return 0


if __name__ == "__main__":
    sys.exit(main())
