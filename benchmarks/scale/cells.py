"""What is measured, and the lines in which results are kept: one process a cell, resumable."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.scale.watching import watched

Line = dict[str, Any]

#: Hidden units of the network of 64 features and 10 classes: 14,036 and 1,000,010 parameters.
SMALL, LARGE = 187, 13_333
MASKS = "secagg+"

#: Every protection, and up to how many clients its runs are measured.
MOST = {"plain": 10_000, "helper": 10_000, "bfv": 1_000, MASKS: 1_000, "secagg": 300, "mpc": 1_000}

#: Runs on HAPT, by kind of cell: settings beside the product's own.
HAPT = {"hapt": ()}
HAPT_ROUNDS = 300

#: Rounds of the longer run, ours and Flower's.
_RACES = {(SMALL, "plain"): (42, 13), (SMALL, MASKS): (12, 3), (LARGE, "plain"): (4, 3), (LARGE, MASKS): (4, 2)}
_ECHO = "benchmarks.scale.echo:echo"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run. `what`: scale, race and echo (ours), peer (Flower's), or a key of `HAPT`, whose `hidden` is 0."""

    what: str
    clients: int
    protection: str
    hidden: int
    rounds: int

    @property
    def name(self) -> str:
        """The name under which its line is kept."""
        return " ".join(str(value) for value in asdict(self).values())


def cells(peer: bool) -> Iterator[Cell]:
    """Yield every cell, small ones first; Flower's only where there is a Python that has it."""
    # All protections of as many clients one after the other, so that their ratios are of one stretch of time.
    for clients in (10, 30, 100, 300, 1_000, 10_000):
        for protection, most in MOST.items():
            if clients <= most:
                yield Cell(what="scale", clients=clients, protection=protection, hidden=SMALL, rounds=2)
    for what in HAPT:
        for protection in ("plain", MASKS):
            yield Cell(what=what, clients=30, protection=protection, hidden=0, rounds=HAPT_ROUNDS)
    for (hidden, protection), (most, theirs) in _RACES.items():
        # Two lengths of run: what one more round costs is their difference.
        for what in ("race", "echo"):
            for rounds in (2, most):
                yield Cell(what=what, clients=100, protection=protection, hidden=hidden, rounds=rounds)
        for rounds in (1, theirs) if peer else ():
            yield Cell(what="peer", clients=100, protection=protection, hidden=hidden, rounds=rounds)


def run_missing(path: Path, peer: str) -> dict[str, Line]:
    """Run the cells that have no line in the file; append each as it ends, and return all by name.

    `peer`: a Python with Flower, empty for none.
    """
    found = read(path)
    for cell in cells(bool(peer)):
        if cell.name in found:
            continue
        print(f"{cell.name} ...", file=sys.stderr, flush=True)
        found[cell.name] = asdict(cell) | _measured(cell, peer)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found[cell.name]) + "\n")
    return found


def read(path: Path) -> dict[str, Line]:
    """Return the lines of a file by the names of their cells."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {_name_of(line): line for line in lines}


def _name_of(line: Mapping[str, Any]) -> str:
    return " ".join(str(line[key]) for key in ("what", "clients", "protection", "hidden", "rounds"))


def _measured(cell: Cell, peer: str) -> Line:
    if cell.what in HAPT:
        ours = [sys.executable, "-m", "benchmarks.scale.hapt_run", cell.protection, str(cell.rounds)]
        return _watched([*ours, *HAPT[cell.what]])
    arguments = [str(cell.clients), cell.protection, str(cell.hidden), str(cell.rounds)]
    script = str(Path(__file__).with_name("flower_run.py"))
    command = [peer, script] if cell.what == "peer" else [sys.executable, "-m", "benchmarks.scale.one_run"]
    echo = [f'rows=["{_ECHO}"]', f"{_ECHO}.noise=none", f"{_ECHO}.epsilon=inf"] if cell.what == "echo" else []
    return _watched([*command, *arguments, *echo])


def _watched(command: Sequence[str]) -> Line:
    done = watched(command)
    measured: Line = json.loads(done.output.splitlines()[-1])
    return measured | {"cpu_s": done.cpu_s, "peak_bytes": done.peak_bytes}
