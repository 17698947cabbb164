"""Worker processes, one per core, each playing its share of the clients."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.running.processes import child_environment
from secure_fcl.engines.channel import AnyArray, Channel
from secure_fcl.errors import WorkerLost

STOP_SECONDS = 5.0
Reply = tuple[dict[str, Any], dict[str, Any]]


class WorkerPool:
    """Starts workers, hands them commands, yields their replies. Use it in a `with` statement.

    Raises:
        WorkerLost: a worker ended or reported an error; the message is one sentence, the worker's trace is a note.
    """

    def __init__(self, workers: int, clients: int) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        count = max(1, min(workers or available_cores(), clients))
        self.shares = [list(range(w, clients, count)) for w in range(count)]
        self._channels: list[Channel] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(count):
                self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "secure_fcl.engines.worker", str(theirs.fileno())]
            self._processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                    pass_fds=(theirs.fileno(),), env=child_environment(),
                    # Out of the terminal's process group: Ctrl-C is the parent's, also while a worker still imports.
                    process_group=0,
                )
            )  # fmt: skip
        self._channels.append(Channel(Connection(ours.detach())))

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(process.pid for process in self._processes)

    def everyone(self, meta: Mapping[str, Any], arrays: Mapping[str, AnyArray] | None = None) -> Iterator[Reply]:
        """Send one command to all workers and yield replies as they come, until each has given its last.

        A reply "sent" announces more from the same worker; any other ends its answer.
        """
        self._send([dict(meta)] * len(self._channels), [arrays] * len(self._channels))
        yield from self._replies()

    def each(self, metas: list[dict[str, Any]], arrays: list[dict[str, NDArray[np.float64]]]) -> Iterator[Reply]:
        """Send every worker its own command and yield replies as `everyone` does."""
        self._send(metas, arrays)
        yield from self._replies()

    def _send(self, metas: list[dict[str, Any]], arrays: Any) -> None:
        for place, channel in enumerate(self._channels):
            try:
                channel.send(metas[place], arrays[place])
            except OSError as error:
                raise self._lost(place) from error

    def _replies(self) -> Iterator[Reply]:
        busy = dict(enumerate(self._channels))
        while busy:
            ready = wait([c.fileno() for c in busy.values()])
            for place, channel in list(busy.items()):
                if channel.fileno() not in ready:
                    continue
                try:
                    reply = channel.receive()
                except (EOFError, OSError) as error:
                    raise self._lost(place) from error
                if reply[0]["re"] == "error":
                    lost = WorkerLost(f"a worker stopped with {reply[0]['type']}: {reply[0]['text']}")
                    lost.add_note(reply[0]["trace"])
                    raise lost
                if reply[0]["re"] != "sent":
                    del busy[place]
                yield reply

    def _lost(self, place: int) -> WorkerLost:
        try:
            code: int | None = self._processes[place].wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        reason = f": {lines[-1].strip()[:300]}" if lines else ""
        return WorkerLost(
            f"worker {place} (process {self._processes[place].pid}) ended with exit code {code}{reason}. "
            "The run can be continued with --resume"
        )

    def close(self) -> None:
        """End all workers: ask, wait, then terminate by process id. May be called again."""
        for channel in self._channels:
            with contextlib.suppress(OSError):
                channel.send({"do": "stop"})
            channel.close()
        for process in self._processes:
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._channels = []
        self._log.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def available_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
