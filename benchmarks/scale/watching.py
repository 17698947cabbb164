"""CPU time and memory of a command and of all processes that come from it, read off /proc while it runs."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.1
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a command printed and used.

    `cpu_s` is up to a sample's time short for every process that ended. `peak_bytes`: most resident bytes of all at
    once, pages that several share counted for each.
    """

    output: str
    cpu_s: float
    peak_bytes: int


def watched(command: Sequence[str]) -> Watched:
    """Run a command to its end and return what it used.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    used: dict[tuple[int, int], float] = {}
    peak = 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        family = _family(process.pid)
        used |= {who: seconds for who, (seconds, _) in family.items()}
        peak = max(peak, sum(size for _, size in family.values()))
        time.sleep(SAMPLE_SECONDS)
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return Watched(output=output, cpu_s=sum(used.values()), peak_bytes=peak)


def _family(root: int) -> dict[tuple[int, int], tuple[float, int]]:
    """Return CPU seconds and resident bytes of a process and its descendants, by number and time of start."""
    found: dict[int, tuple[int, int, float, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                pages = int((entry / "statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            seconds = (int(fields[11]) + int(fields[12])) / _TICK
            found[int(entry.name)] = (int(fields[1]), int(fields[19]), seconds, pages * resource.getpagesize())
    family, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, *_) in found.items() if parent in family} - family
        grown, family = bool(more), family | more
    return {(pid, found[pid][1]): found[pid][2:] for pid in family if pid in found}
