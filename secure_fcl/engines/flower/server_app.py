"""The ServerApp of Flower: runs a job that knows no Flower, and says how it ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from crypto.keys.roster import Roster
from evaluation.files import atomic_write
from evaluation.strict_json import to_json
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.grid import GridParties
from secure_fcl.engines.flower.names import JOB, OUTCOME, ServerJob
from secure_fcl.errors import SecureFclError

Reach = Callable[[Roster, int], GridParties]
"""Gives the parties behind a grid: of a roster, so many clients."""
Run = Callable[[ServerJob, Reach, Path], Literal["finished", "interrupted"]]
"""Runs a job; the folder is that of its file, for what is said and heard meanwhile."""


def server_app(run: Run) -> ServerApp:
    """Return the app that runs the job which the run's configuration names.

    A file beside the job says how it ended, for who started it. Whatever ends a job is raised on: Flower then lists
    the run as failed.
    """
    app = ServerApp()

    def main(grid: Grid, context: Context) -> None:
        require_release()
        path = Path(str(context.run_config[JOB]))
        outcome = path.with_name(OUTCOME)
        try:
            job = ServerJob.read(path)
            ended = run(job, partial(GridParties, grid, deadline=job.deadline, code=job.code or None), path.parent)
        except Exception as error:
            _say(outcome, "failed", str(error) if isinstance(error, SecureFclError) else type(error).__name__)
            raise
        _say(outcome, ended)

    app.main()(main)
    return app


def _say(path: Path, ended: str, why: str = "") -> None:
    atomic_write(path, to_json({"ended": ended, "why": why}))
