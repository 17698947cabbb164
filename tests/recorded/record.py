"""Record what five small runs write, so that a test can tell whether a change of the code changes a result.

    python tests/recorded/record.py [NAME ...] [--out FOLDER] [--workers N]

runs the configurations of this folder (all, or those named) and writes `<name>.json` of each. It knows the command
line and the files of a run folder (docs/files.md) and nothing of the packages, so it outlives any move inside them.

A recording is one flat object, one line per key, so that a diff of two shows what changed:

- `metrics/<n>`: the records of metrics.jsonl;
- `ledger/<row>/<n>`: what each entry charges; not the run's random name and the hashes over it;
- `budget/<row>`: what every cohort may be charged, shortened;
- `cost/<n>`: which sum a round was, of how many clients; not bytes and times, which differ from run to run;
- `transcript/<row>/<round>/<array>`, `memory/...`, `side-channels/...`: integers as a digest and their sum, other
  numbers as sum and norm. The digest is SHA-256 over dtype, shape and bytes (little-endian, C order);
- `certificate/...` and `certificate.txt/<n>`: without the ledger's head, which follows the run's random name;
- `attacks/...`: of the audit, what does not depend on times or on coins of the operating system;
- `recorded with`: versions and processor, which no test compares: where numbers differ, they may be why.

Noise comes from a fixed secret, which is no secret: it protects nothing but the runs made here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECRET = hashlib.sha256(b"tests/recorded").digest()
# Runs that are stopped as state.json is replaced for the n-th time, and continued in a new process. The fourth time is
# the end of the first task, after its three rounds; the round that follows is finished: a stop inside the second task.
STOPPED = {"resumed": 4}
STOPPED_CODE = 130


def command(arguments: list[str], log: Path, stop: tuple[Path, int] | None = None) -> int | None:
    """Run `python -m secure_fcl ...` in a process of its own and return its exit code.

    `stop`: Ctrl-C as the file is replaced for the n-th time. The process is forked from this one, so that the big
    libraries are loaded once for all runs.
    """
    process = multiprocessing.get_context("fork").Process(target=_command, args=(arguments, log, stop))
    process.start()
    process.join()
    return process.exitcode


def _command(arguments: list[str], log: Path, stop: tuple[Path, int] | None) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if stop:
        _interrupt(*stop)
    sys.argv = ["secure-fcl", *arguments]
    runpy.run_module("secure_fcl", run_name="__main__", alter_sys=True)


def _interrupt(path: Path, replaced: int) -> None:
    left = replaced

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "os.rename" and os.fspath(arguments[1]) == str(path):
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)

    sys.addaudithook(hook)


def run(name: str, runs: Path, workers: int | None) -> Path:
    """Run a configuration, stopped and continued where `STOPPED` says so, and return the run's folder."""
    folder, log = runs / name, runs / f"{name}.log"
    arguments = ["run", str(HERE / f"{name}.toml"), "--runs", str(runs), "--name", name]
    if workers is not None:
        arguments += ["--set", f"workers={workers}"]
    if name in STOPPED:
        _expect(STOPPED_CODE, command(arguments, log, (folder / "state.json", STOPPED[name])), log)
        arguments = ["run", "--resume", str(folder)]
    _expect(0, command(arguments, log), log)
    return folder


def _expect(expected: int, code: int | None, log: Path) -> None:
    if code != expected:
        said = log.read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{log.stem}: the run ended with {code} and not with {expected}; it said:\n{said}")


def recording(folder: Path) -> dict[str, Any]:
    """Return the recording of a run folder."""
    found: dict[str, Any] = {"recorded with": _environment(folder)}
    found |= {f"metrics/{n}": record for n, record in enumerate(_lines(folder / "metrics.jsonl"))}
    for n, record in enumerate(_lines(folder / "cost.jsonl")):
        found[f"cost/{n}"] = {key: record[key] for key in ("row", "task", "round", "upload", "clients")}
    for path in sorted((folder / "ledger").glob("*.jsonl")):
        for n, entry in enumerate(_lines(path)):
            what = {key: value for key, value in entry["what"].items() if key != "run"}
            found[f"ledger/{path.stem}/{n}"] = {"what": what, "charges": entry["charges"]}
        found[f"budget/{path.stem}"] = _budget(json.loads(path.with_suffix(".budget.json").read_text()))
    for part in ("transcript", "side-channels"):
        for path in sorted((folder / part).rglob("*.npz")):
            found |= _arrays(path.relative_to(folder).with_suffix("").as_posix(), path)
    for path in sorted((folder / "simulation").glob("memory-*.npz")):
        found |= _arrays(path.stem.replace("-", "/"), path)
    return found | dict(_certificate(folder)) | dict(_attacks(folder / "attacks.json"))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _budget(budget: dict[str, Any] | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    counts = [found["count"] for cohort in budget["cohorts"] for found in cohort["events"]]
    shortened = {"cohorts": len(budget["cohorts"]), "events in all": [len(counts), sum(counts)]}
    return {key: value for key, value in budget.items() if key != "cohorts"} | shortened


def _arrays(where: str, path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {f"{where}/{name}": _shortened(file[name]) for name in sorted(file.files)}


def _shortened(array: np.ndarray) -> dict[str, Any]:
    """Return dtype, shape and sum of an array, with a digest of integers or the norm of other numbers."""
    about = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype.kind in "iub":
        content = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
        digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + content).hexdigest()
        return about | {"sum": int(array.sum(dtype=object)) if array.size else 0, "sha256": digest}
    wide = array.astype(np.float64)
    return about | {"sum": float(wide.sum()), "norm": float(np.sqrt((wide**2).sum()))}


def _certificate(folder: Path) -> Iterator[tuple[str, Any]]:
    certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    for row, fields in certificate.pop("rows").items():
        for key, value in fields.items():
            if key not in ("ledger_head", "version"):
                yield f"certificate/{row}/{key}", value
    # Digests of files follow the run's random name.
    left_out = ("version", "files", "devices")
    yield "certificate", {key: value for key, value in certificate.items() if key not in left_out}
    lines = (folder / "certificate.txt").read_text(encoding="utf-8").splitlines()
    for n, line in enumerate(lines):
        if not line.startswith("version:"):
            yield f"certificate.txt/{n}", line.partition(", head ")[0] if line.startswith("ledger:") else line


def _attacks(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.exists():
        return
    for key, value in json.loads(path.read_text(encoding="utf-8")).items():
        # Times, and what made the file: the next commit is another.
        if key in ("seconds", "cpu_seconds", "commit", "versions"):
            continue
        if isinstance(value, list):
            yield from ((f"attacks/{key}/{n}", item) for n, item in enumerate(value))
        else:
            yield f"attacks/{key}", value


def _environment(folder: Path) -> dict[str, Any]:
    import torch

    found = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    packages = {key: found["packages"][key] for key in ("torch", "numpy", "scipy", "dp-accounting", "opacus")}
    return {"python": found["python"], "machine": found["machine"], "vectors": torch.backends.cpu.get_cpu_capability(),
            **packages}  # fmt: skip


def dump(found: dict[str, Any]) -> str:
    """Return a recording as JSON, one line per key."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()) + "\n}\n"


def main() -> None:
    """Run and write what the arguments name."""
    names = sorted(path.stem for path in HERE.glob("*.toml"))
    parser = argparse.ArgumentParser(description="Record what small runs write.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all without any")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the recordings")
    parser.add_argument("--workers", type=int, help="worker processes, instead of those of the configurations")
    wanted = parser.parse_args()
    if unknown := set(wanted.names) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; the configurations are {', '.join(names)}")
    # The code beside this file runs, not an installed copy, in the workers as well.
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(ROOT))
    _preload()
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(temporary).resolve()
        secret = runs / "secret"
        secret.write_bytes(SECRET)
        os.environ["SECURE_FCL_NOISE_SECRET_FILE"] = str(secret)
        for name in wanted.names or names:
            text = dump(recording(run(name, runs, wanted.workers)))
            (wanted.out / f"{name}.json").write_text(text, encoding="utf-8")


def _preload() -> None:
    for name in ("torch", "opacus", "scipy.stats", "matplotlib.figure"):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
