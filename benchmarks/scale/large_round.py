"""`python -m benchmarks.scale.large_round tls|flower ENTRIES`: one masked round of a large upload, and what it takes.

Five deployed devices, each in a process of its own, send ENTRIES numbers under `secagg`, noise shared in the sum; they
train nothing. Prints one JSON object with the peak resident memory of every process; what a round of a thousand entries
takes is what the same processes take bare.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scale.large_sums import VARIABLE
from secure_fcl.config import load_config
from secure_fcl.running.folder import RunFolder

CLIENTS = 5


def settings_of(engine: str) -> list[str]:
    """Return the settings of the one round."""
    return [
        'rows=["benchmarks.scale.large_sums:sums"]', "data.name=digits", "scenario.partition=iid",
        f"scenario.clients={CLIENTS}", "scenario.tasks=1", "attacks.enabled=false", "transcript=latest",
        "protection=secagg", "privacy.max_dropouts=1", "privacy.colluders=1", f"engine={engine}", "flower.nodes=own",
        "flower.deadline=900",
    ]  # fmt: skip


class Peaks:
    """Peak resident bytes of this process's descendants by what they are, read while they live."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self._ended = threading.Event()

    def _look(self) -> None:
        while not self._ended.wait(0.25):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and (name := _name_of(entry)):
                    self.bytes[name] = max(self.bytes.get(name, 0), _high_water(entry))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look until the block ends."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        yield
        self._ended.set()
        thread.join()


def _name_of(entry: Path) -> str:
    """Return what a process of the round is called, "" for any other."""
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    here = any(str(word).startswith(str(_PLACE)) for word in words) if _PLACE else False
    if not here:
        return ""
    if "client" in words and "--folder" in words:
        return Path(words[words.index("--folder") + 1]).name
    return Path(words[1]).name if len(words) > 1 else ""


def _high_water(entry: Path) -> int:
    try:
        lines = (entry / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


_PLACE = ""


def over_tls(out: Path) -> Path:
    """Run the round over TLS, and return the run's folder."""
    import subprocess

    from benchmarks.tls import deployment
    from secure_fcl.serving import Server, Serving

    place_of_server, devices, _ = deployment(out / "parties", settings_of("tls"))
    processes: list[subprocess.Popen[bytes]] = []

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        for place in devices if not processes else ():
            at = f"127.0.0.1:{serves.port}"
            command = [sys.executable, "-P", "-m", "secure_fcl", "client", "--folder", str(place), "--server", at]
            processes.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))

    serving = Serving(address=("127.0.0.1", 0), patience=300.0, deadline=600.0)
    serves = Server(place_of_server, serving, say)
    try:
        serves.run()
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    return serves.run_path


def over_flower(out: Path) -> Path:
    """Run the round under Flower, on SuperNodes beside client processes, and return the run's folder."""
    from secure_fcl.running.over_flower import train_over_flower
    from secure_fcl.running.prepare import prepare

    prepared = prepare(load_config(None, settings_of("flower")))
    folder = RunFolder.create(out, prepared.config, "run")
    with folder.locked():
        train_over_flower(prepared, folder, lambda tick: None)
    return folder.path


def main() -> None:
    """Run, and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.large_round", description=__doc__)
    parser.add_argument("engine", choices=["tls", "flower"])
    parser.add_argument("entries", type=int)
    given = parser.parse_args()
    os.environ[VARIABLE] = str(given.entries)
    begun, peaks = time.perf_counter(), Peaks()
    global _PLACE
    with tempfile.TemporaryDirectory() as place, peaks.watching():
        _PLACE = place
        run = (over_tls if given.engine == "tls" else over_flower)(Path(place))
        cost = json.loads((run / "cost.jsonl").read_text().splitlines()[0])
    found = {
        "engine": given.engine, "entries": given.entries, "wall_s": round(time.perf_counter() - begun, 1),
        "round_s": round(cost["wall"], 1), "bytes_up": cost["bytes_up"],
        "peak_mb": {name: round(size / 1e6) for name, size in sorted(peaks.bytes.items())},
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
