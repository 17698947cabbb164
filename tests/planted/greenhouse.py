"""A process that has imported other people's packages and nothing of ours, and forks a pytest for each planted change.

Imports are most of what the tests of one change cost: pytest, two workers and the nursery of workers each took seconds
for packages that no change touches. What is forked here imports the project anew, from the changed copy. The nursery
(`tests/nursery.py`) of a forked pytest is forked with it, and told of by the environment.
`planting.py` starts this file as `python -P greenhouse.py FD` and speaks JSON with it over the socket FD.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = frozenset({"secure_fcl", "crypto", "privacy", "attacks", "evaluation", "benchmarks", "tests"})
NURSERY, NURSERY_FD = ROOT / "tests" / "nursery.py", "NURSERY_FD"


def others() -> list[str]:
    """Names of the modules of others that our programs and pytest import, found in a process that ends afterwards."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        nursery: dict[str, Any] = runpy.run_path(str(NURSERY))
        for name in ("pytest", "hypothesis", *nursery["PROGRAMS"], *nursery["LATER"]):
            importlib.import_module(name)
        names = [name for name in sys.modules if name.partition(".")[0] not in OURS and not name.startswith("__")]
        with os.fdopen(writer, "w") as pipe:
            pipe.write("\n".join(names))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found = pipe.read().split("\n")
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("what the project imports could not be found; the error is above")
    return found


def warm() -> None:
    found = others()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in found:
            # Some are made by their packages and cannot be asked for by name.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    mine = [name for name in sys.modules if name.partition(".")[0] in OURS]
    if mine:
        raise RuntimeError(f"{mine} came with the packages of others: a change in it would not be seen")


def become(request: dict[str, Any]) -> int:
    """In the forked process: set the place and the environment, fork the nursery, run pytest."""
    import numpy as np

    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:0] = [request["cwd"], *request["env"]["PYTHONPATH"].split(os.pathsep)]
    np.random.seed()  # noqa: NPY002 - a fresh process has a state of its own
    random.seed()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        try:
            # It imports nothing of ours before the first worker is asked for.
            if theirs.recv(1, socket.MSG_PEEK):
                sys.argv = [str(NURSERY), str(theirs.fileno())]
                runpy.run_path(str(Path(request["cwd"]) / "tests" / "nursery.py"), run_name="__main__")
        finally:
            os._exit(1)
    theirs.close()
    os.environ[NURSERY_FD] = str(ours.fileno())
    sys.argv = ["pytest", *request["arguments"]]
    import pytest

    return int(pytest.main(request["arguments"]))


def serve(control: socket.socket) -> None:
    """Run one pytest after the other, each in a fork of its own, until whoever asks is gone."""
    while frame := control.recv(1 << 16):
        pid = os.fork()
        if pid == 0:
            control.close()
            code = 3
            try:
                code = become(json.loads(frame))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        control.send(json.dumps({"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}).encode())


if __name__ == "__main__":
    # Ctrl-C is the test run's; its end ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
