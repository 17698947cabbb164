"""Several runs at once: processes that each run one cell after another, stopped, resumed and replaced as needed."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crypto.running.processes import child_environment
from secure_fcl.config import Config
from secure_fcl.engines.pool import available_cores
from secure_fcl.running.loop import Interrupted

STOP_SECONDS = 10.0
#: How often a run whose process was killed is continued before it counts as failed.
RESUMED = 2
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run to do: a name for it, its folder, and the worker processes that it may have."""

    name: str
    run: Path
    workers: int
    train_only: bool = False


@dataclass(frozen=True, kw_only=True)
class News:
    """What happened to a run; `done` of `total` rounds with "round", `sentence` with "failed" and "resumed"."""

    order: Order
    kind: Literal["started", "round", "finished", "failed", "interrupted", "resumed"]
    done: int = 0
    total: int = 0
    sentence: str = ""


def shares(
    configs: Iterable[Config], jobs: int | None, cores: int | None = None
) -> tuple[int, Callable[[Config], int]]:
    """Return how many runs go on at once, and how many workers a run of a configuration gets.

    Without `jobs`, as many as keep jobs times workers within the cores; a configuration with workers = 0 takes an equal
    share of what there is. The number of workers changes nothing that a run releases.
    """
    found = [*configs]
    cores = cores or available_cores()
    asked = max((config.workers for config in found), default=0)
    jobs = jobs or max(1, min(len(found), cores // max(1, asked)))
    return jobs, lambda config: config.workers or max(1, cores // jobs)


class _Member:
    """One process of the crew, and the thread that hears it."""

    def __init__(self, heard: queue.Queue[tuple[_Member, dict[str, Any] | None]]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # Out of the terminal's process group: Ctrl-C is the parent's, which then tells its crew.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "secure_fcl.studies.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, env=child_environment(), text=True, encoding="utf-8", process_group=0,
        )  # fmt: skip
        threading.Thread(target=self._hear, args=(heard,), daemon=True).start()

    def _hear(self, heard: queue.Queue[tuple[_Member, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            heard.put((self, json.loads(line)))
        heard.put((self, None))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Send an order; one that is gone is heard of in the same way as one that dies later."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            return

    def lost(self) -> str:
        """Return in words how the process ended."""
        code = self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}{': ' + lines[-1].strip()[:200] if lines else ''}"

    def close(self) -> None:
        """End the process: its input closes, and what does not end then is ended by process id."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        self._log.close()


class Crew:
    """Up to `jobs` processes that carry out orders. Use it in a `with` statement."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._heard: queue.Queue[tuple[_Member, dict[str, Any] | None]] = queue.Queue()
        self._idle: list[_Member] = []
        self._busy: dict[_Member, Order] = {}

    @property
    def processes(self) -> tuple[int, ...]:
        """Process ids of those at work."""
        return tuple(member.pid for member in self._busy)

    def work(self, orders: Iterable[Order], told: Callable[[News], None], stopped: Callable[[], bool]) -> None:
        """Carry out all orders; one that fails does not keep the others.

        A run whose process was killed is continued up to `RESUMED` times.

        Raises:
            Interrupted: `stopped()` became true; every run under way has saved its last round.
        """
        waiting, tries, stopping = deque(orders), dict[str, int](), False
        while waiting or self._busy:
            if not stopping and stopped():
                stopping = True
                for member in self._busy:
                    member.send({"stop": True})
            while waiting and not stopping and len(self._busy) < self._jobs:
                self._begin(waiting.popleft(), told)
            if not self._busy:
                break
            try:
                member, message = self._heard.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            order = self._busy.get(member)
            if order is None:
                # Idle ones that were killed must not be given the next order.
                self._idle = [one for one in self._idle if one is not member]
            elif message is not None:
                self._pass_on(member, order, message, told)
            elif (again := self._bury(member, order, tries, stopping, told)) is not None:
                waiting.appendleft(again)
        if stopping:
            raise Interrupted

    def _bury(
        self, member: _Member, order: Order, tries: dict[str, int], stopping: bool, told: Callable[[News], None]
    ) -> Order | None:
        """Take a process that ended off the crew, and return its order if it is to be continued."""
        del self._busy[member]
        how = member.lost()
        member.close()
        if stopping:
            return None
        times = tries[order.name] = tries.get(order.name, 0) + 1
        if times <= RESUMED:
            told(News(order=order, kind="resumed", sentence=f"its process ended with {how}"))
            return order
        told(News(order=order, kind="failed", sentence=f"its process ended {times} times, the last with {how}"))
        return None

    def _begin(self, order: Order, told: Callable[[News], None]) -> None:
        member = self._idle.pop() if self._idle else _Member(self._heard)
        self._busy[member] = order
        told(News(order=order, kind="started"))
        member.send({"run": str(order.run), "workers": order.workers, "train_only": order.train_only})

    def _pass_on(self, member: _Member, order: Order, message: dict[str, Any], told: Callable[[News], None]) -> None:
        if "end" in message:
            del self._busy[member]
            self._idle.append(member)
            told(News(order=order, kind=message["end"], sentence=message.get("sentence", "")))
        else:
            told(News(order=order, kind="round", done=message["done"], total=message["total"]))

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for member in [*self._busy, *self._idle]:
            member.close()
        self._busy, self._idle = {}, []
