"""Measured points, one JSON line each, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Value = float | int | str
Point = Mapping[str, Value]
MACHINE = "machine"
LIBRARIES = ("numpy", "numba", "cryptography", "tenseal", "flwr")


class OtherMachine(ValueError):
    """The results in a file come from another machine or from other versions."""


@dataclass
class Results:
    """The points of one file; `once` measures what is not there yet."""

    path: Path
    points: dict[str, Point] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Results:
        """Read a file, or start one; raises OtherMachine if its points are of another machine or other versions."""
        here, found = describe_machine(), dict(cls.read(path).points)
        if found and found.get(MACHINE) != here:
            raise OtherMachine(
                f"{path} was measured elsewhere ({found.get(MACHINE)}, here {here}); "
                "start anew with --fresh, or give another file with --results."
            )
        results = cls(path, found)
        if not found:
            path.parent.mkdir(parents=True, exist_ok=True)
            results._append(MACHINE, here)
        return results

    @classmethod
    def read(cls, path: Path) -> Results:
        """The points of a file, of whatever machine, to show them; none if there is no file."""
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines]
        return cls(path, {entry.pop("point"): entry for entry in entries})

    def once(self, name: str, measure: Callable[[], Point]) -> Point:
        """The point `name`, measured now if it is not there; the load average at that time is noted with it."""
        if name not in self.points:
            measured = dict(measure())
            measured["load"] = round(os.getloadavg()[0], 1)
            self._append(name, measured)
        return self.points[name]

    def number(self, name: str, key: str) -> float | None:
        """One number of a point, or None if it was not measured."""
        value = self.points.get(name, {}).get(key)
        return None if value is None or isinstance(value, str) else float(value)

    def _append(self, name: str, point: Point) -> None:
        self.points[name] = point
        with self.path.open("a") as file:
            file.write(json.dumps({"point": name, **point}) + "\n")


def describe_machine() -> dict[str, Value]:
    """Processor, Python, OpenSSL and the libraries that the figures depend on."""
    from cryptography.hazmat.backends.openssl import backend

    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "openssl": backend.openssl_version_text(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
