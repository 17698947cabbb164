"""The process that runs cells for a study, one after the other. Run as `python -m secure_fcl.studies.worker`.

Orders come in on standard input and news go out on standard output, a JSON object a line. The parent's end of the pipe
closing is an order to stop after the round under way, so that a study that was killed leaves nobody at work.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from secure_fcl.running.folder import RunFolder

#: How long the round of an earlier process may take to end before a run counts as in use.
IN_USE_SECONDS = 60.0


def run_one(order: dict[str, Any], tell: Callable[[dict[str, Any]], None], stopped: Callable[[], bool]) -> None:
    """Run what is left of the run that an order names, and tell how it ended: finished, interrupted or failed.

    Args:
        order: `run`: its folder; `workers`: processes for it; `train_only`: neither attacks nor report.
        tell: of every round, and of the end, with a sentence if it failed.
        stopped: whether to stop after the round under way.
    """
    from secure_fcl.runner import execute, train
    from secure_fcl.running.folder import RunFolder
    from secure_fcl.running.kept_noise import as_begun
    from secure_fcl.running.loop import Interrupted
    from secure_fcl.running.prepare import prepare

    try:
        # The parent has compared the folder's configuration, and so the code it names, with the study file's.
        folder = RunFolder.existing(Path(order["run"]), trust_code=True)
        prepared = as_begun(prepare(folder.config()), folder)
        own = prepared.config.model_copy(update={"workers": order["workers"]})
        prepared = replace(prepared, config=own)
        _await(folder)
        if order["train_only"]:
            with folder.locked():
                train(prepared, folder, lambda tick: tell({"done": tick.done, "total": tick.total}), stopped)
        else:
            execute(prepared, folder, lambda tick: tell({"done": tick.done, "total": tick.total}), stopped=stopped)
    except Interrupted:
        tell({"end": "interrupted"})
    except Exception as error:
        tell({"end": "failed", "sentence": _sentence(error, order)})
    else:
        tell({"end": "finished"})


def _await(folder: RunFolder) -> None:
    """Wait while the process of a study that was killed comes to the end of its round."""
    from secure_fcl.errors import RunInUse

    end = time.monotonic() + IN_USE_SECONDS
    while True:
        try:
            with folder.locked():
                return
        except RunInUse:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _sentence(error: Exception, order: dict[str, Any]) -> str:
    from attacks.errors import AttackError
    from crypto.errors import CryptoError
    from evaluation.errors import EvaluationError
    from privacy.errors import PrivacyError
    from secure_fcl.engines.simulation import SIMULATION
    from secure_fcl.errors import SecureFclError

    if isinstance(error, SecureFclError | CryptoError | PrivacyError | AttackError | EvaluationError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its permissions and the disk"
    # A trace may quote values of the data, so it goes where nothing is promised.
    trace = Path(order["run"]) / SIMULATION / "error.txt"
    try:
        trace.parent.mkdir(exist_ok=True)
        trace.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return f"{type(error).__name__} where none was expected"
    return f"{type(error).__name__} where none was expected; see {trace}"


def _listen(source: TextIO, orders: queue.Queue[dict[str, Any] | None], stop: threading.Event) -> None:
    for line in source:
        order = json.loads(line)
        if "stop" in order:
            stop.set()
        else:
            orders.put(order)
    stop.set()
    orders.put(None)


def main() -> None:
    """Serve until standard input ends."""
    # What libraries print must not get between the news.
    news = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin, orders, stop), daemon=True).start()

    def tell(message: dict[str, Any]) -> None:
        try:
            news.write(json.dumps(message) + "\n")
        except BrokenPipeError:
            stop.set()

    while (order := orders.get()) is not None:
        run_one(order, tell, stop.is_set)


if __name__ == "__main__":
    main()
