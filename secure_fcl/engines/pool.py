"""The local pool: worker processes, one per core, each playing its share of the clients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait

from crypto.running.processes import child_environment
from secure_fcl.engines.commands import Ask, Command, Failed, LabAsk, Reply
from secure_fcl.engines.link import Link
from secure_fcl.engines.parties import Answer, Party, party_of
from secure_fcl.errors import FrameRefused, WorkerLost
from secure_fcl.references import environment

STOP_SECONDS = 5.0


class WorkerPool:
    """The `Simulation` of one machine: starts workers and groups what clients are asked by worker.

    Workers start with the first ask: a run with nothing left to do starts none. Use it in a `with` statement.

    Raises:
        WorkerLost: a worker ended or reported an error; the message is one sentence, the worker's trace is a note.
    """

    def __init__(self, workers: int, clients: int) -> None:
        count = max(1, min(workers or available_cores(), clients))
        self.parts = [[party_of(k) for k in range(w, clients, count)] for w in range(count)]
        self._present = tuple(party_of(k) for k in range(clients))
        self._channels: list[Link] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        # Clients of each worker whose answer is still out.
        self._owed = [0] * count
        self._number = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "secure_fcl.engines.worker", str(theirs.fileno())]
            self._processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                    pass_fds=(theirs.fileno(),), env={**child_environment(), **environment()},
                    # Out of the terminal's process group: Ctrl-C is the parent's, also while a worker still imports.
                    process_group=0,
                )
            )  # fmt: skip
        self._channels.append(Link(Connection(ours.detach())))

    @property
    def processes(self) -> tuple[int, ...]:
        """Process ids of the workers; none before the first ask."""
        return tuple(process.pid for process in self._processes)

    def present(self) -> tuple[Party, ...]:
        """See `Parties`."""
        return self._present

    def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties`. A worker that still owes answers to an earlier ask is asked when it has given them."""
        while len(self._channels) < len(self.parts):
            self._start()
        self._number += 1
        mine = [{party: asks[party] for party in share if party in asks} for share in self.parts]
        to_ask = {place for place, share in enumerate(mine) if share}
        end = None if deadline is None else time.monotonic() + deadline
        asked: set[int] = set()
        while True:
            for place in [place for place in to_ask if not self._owed[place]]:
                self._send(place, mine[place])
                to_ask.remove(place)
                asked.add(place)
            busy = {place for place in to_ask | asked if self._owed[place]}
            left = None if end is None else max(0.0, end - time.monotonic())
            ready = wait([self._channels[place].fileno() for place in busy], left) if busy else []
            if not ready:
                return
            for place in busy:
                if self._channels[place].fileno() in ready:
                    yield from self._answers(place)

    def _send(self, place: int, asks: Mapping[Party, Command]) -> None:
        try:
            self._channels[place].send(self._number, asks)
        except OSError as error:
            raise self._lost(place) from error
        self._owed[place] = len(asks)

    def _answers(self, place: int) -> Iterator[Answer]:
        """Yield what one batch of a worker answers; what is late, and nobody waits for any more, is passed over."""
        try:
            number, replies = self._channels[place].receive()
        except (EOFError, OSError) as error:
            raise self._lost(place) from error
        self._owed[place] -= len(replies)
        if number != self._number:
            return
        for party, reply in replies.items():
            if isinstance(reply, Failed):
                lost = WorkerLost(f"a worker stopped with {reply.error}: {reply.text}")
                lost.add_note(reply.trace)
                raise lost
            if not isinstance(reply, Reply):
                raise FrameRefused(f"{party} answered with {type(reply).__name__}, which is no answer")
            yield Answer(party=party, reply=reply)

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
        """End all workers: a closed channel is their sign, then terminate by process id. May be called again."""
        for link in self._channels:
            link.close()
        for process in self._processes:
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._channels, self._processes = [], []
        self._log.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def available_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
