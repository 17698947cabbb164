"""A process that has imported what worker and server processes import, and forks them for a test run.

Imports are most of what a process of a tiny run costs (2.5 s of 3.3 s), and the suite starts hundreds. A forked
process is one of its own all the same: own process group, descriptors, environment, exit code, death.
`tests/conftest.py` starts it as `python -P nursery.py FD` and speaks JSON with it over the socket FD.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

PROGRAMS = ("secure_fcl.engines.worker", "crypto.running.host")
# What the programs import later, in the middle of a run.
LATER = ("torch", "sklearn.datasets", "dp_accounting.rdp.rdp_privacy_accountant", "opacus.grad_sample",
         "opacus.validators")  # fmt: skip
FREE = 512
"""Descriptors from here on are nobody's."""


def warm() -> None:
    from crypto.protocols.mpc.crypten_backend import load_crypten

    for name in (*PROGRAMS, *LATER):
        importlib.import_module(name)
    with contextlib.suppress(Exception):
        # Without CrypTen, tests that need it say so themselves.
        load_crypten()


def become(request: dict[str, Any], descriptors: list[int]) -> int | None:
    """In the forked process: turn into `python -P -m PROGRAM FD` with the environment and files asked for."""
    import numpy as np

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if request["group"] is not None:
        os.setpgid(0, request["group"])
    moved = [fcntl.fcntl(given, fcntl.F_DUPFD, FREE) for given in descriptors]
    for given in descriptors:
        os.close(given)
    for held, wanted in zip(moved, (1, 2, *request["pass"]), strict=True):
        os.dup2(held, wanted)
        os.close(held)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    np.random.seed()  # noqa: NPY002 - a fresh process has a state of its own
    program: Any = importlib.import_module(request["program"])
    try:
        code: int | None = program.main(request["argument"])
    except Exception:
        traceback.print_exc()
        return 1
    return code


def serve(control: socket.socket) -> int | None:
    """Fork on demand and report every exit, until the test run is gone; in a forked process, return its exit code."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children = 0
    while True:
        ready, _, _ = select.select([control, reader], [], [])
        if reader in ready:
            os.read(reader, 1024)
            while children:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                children -= 1
                control.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())
        if control in ready:
            frame, descriptors, _, _ = socket.recv_fds(control, 1 << 18, 16)
            if not frame:
                return 0
            pid = os.fork()
            if pid == 0:
                for unused in (reader, writer, control.detach()):
                    os.close(unused)
                return become(json.loads(frame), descriptors)
            children += 1
            for given in descriptors:
                os.close(given)
            control.send(json.dumps({"started": pid}).encode())


if __name__ == "__main__":
    # Ctrl-C is the test run's; its end ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm()
    gc.freeze()
    mine = socket.socket(fileno=int(sys.argv[1]))
    code = serve(mine)
    # What is registered for the end runs; tearing down the modules that were only borrowed would cost a second.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
