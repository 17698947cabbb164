"""What all tests share: child processes of a run start from `nursery.py`, imports done, and not from nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NURSERY = Path(__file__).with_name("nursery.py")
REAL_STARTS = 2
"""So many processes of each program are started as users' are, so that one test alone waits for no nursery."""


GIVEN = "NURSERY_FD"
"""Names the socket of a nursery that is there already: every process of a program is forked from it then."""


class Nursery:
    """This side of `nursery.py`: started at the first request, ended with the test run."""

    def __init__(self, popen: Callable[..., Any]) -> None:
        self._popen = popen
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ended: dict[int, int] = {}

    def fork(self, program: str, argument: int, **options: Any) -> Forked:
        """Start a process of `program`, with the options of `subprocess.Popen` that pools and hosts use."""
        if self._control is None and GIVEN in os.environ:
            # A planted change is tried in a process that was forked together with a nursery.
            self._control = socket.socket(fileno=int(os.environ[GIVEN]))
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-P", str(NURSERY), str(theirs.fileno())]
                self._process = self._popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                    env=options["env"],
                )  # fmt: skip
        passed = options["pass_fds"]
        request = {"program": program, "argument": argument, "env": options["env"], "cwd": str(Path.cwd()),
                   "group": options["process_group"], "pass": passed}  # fmt: skip
        descriptors = [options["stdout"].fileno(), options["stderr"].fileno(), *passed]
        socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
        while (pid := self._receive()) is None:
            pass
        return Forked(self, pid)

    def ended(self, pid: int, timeout: float | None) -> int | None:
        """Return the exit code of a process; None if it has not ended after so many seconds."""
        assert self._control is not None
        end = None if timeout is None else time.monotonic() + timeout
        while pid not in self._ended:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._control], [], [], left)[0]:
                return None
            self._receive()
        return self._ended[pid]

    def _receive(self) -> int | None:
        """Read one report, and return the process that it says was started."""
        assert self._control is not None
        frame = self._control.recv(1 << 12)
        if not frame:
            raise RuntimeError("the nursery of test processes is gone; its error is above")
        report = json.loads(frame)
        if "ended" in report:
            self._ended[report["ended"]] = report["code"]
        started: int | None = report.get("started")
        return started

    def close(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait(10)


class Forked:
    """What pools and hosts use of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, 0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return self.returncode

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="run campaigns whole instead of a fixed sample of them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to a campaign's rest, unless all of it is asked for."""
    if config.getoption("--whole"):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("rest")])
    items[:] = [item for item in items if not item.get_closest_marker("rest")]


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Callable[[int, int], list[int]]:
    """`campaign(count, sample)`: which of the seeds 0..count-1 to run: with `--whole` all, else always the same."""

    def seeds(count: int, sample: int) -> list[int]:
        if request.config.getoption("--whole"):
            return list(range(count))
        return sorted(random.Random(request.node.nodeid.rpartition("::")[2]).sample(range(count), sample))

    return seeds


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[None]:
    """Workers and servers that tests start are forked, after the first few; what tests start otherwise is not."""
    real = subprocess.Popen
    made = Nursery(real)
    starts: dict[str, int] = {}

    class Popen(real):  # type: ignore[type-arg, misc, valid-type]
        def __new__(cls, command: Any, *args: Any, **options: Any) -> Any:
            match command:
                case [sys.executable, "-P", "-m", "secure_fcl.engines.worker" | "crypto.running.host" as name, number]:
                    starts[name] = starts.get(name, 0) + 1
                    if starts[name] > REAL_STARTS or GIVEN in os.environ:
                        return made.fork(name, int(number), **options)
            return super().__new__(cls)

    patch = pytest.MonkeyPatch()
    patch.setattr(subprocess, "Popen", Popen)
    yield
    patch.undo()
    made.close()
