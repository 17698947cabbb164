"""The ServerApp of Flower: the product's own loop, with Flower's grid for its clients."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from evaluation.files import JsonLines, atomic_write
from evaluation.strict_json import to_json
from secure_fcl.engines.deployed.folder import ServerFolder
from secure_fcl.engines.federation import deployed
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.grid import GridParties
from secure_fcl.engines.flower.names import JOB, OUTCOME, STOP, TICKS, ServerJob
from secure_fcl.errors import SecureFclError
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted, Job
from secure_fcl.running.prepare import Prepared, prepare_deployed

app = ServerApp()


def main(grid: Grid, context: Context) -> None:
    """Run what is left of a run; a file beside the job says how it ended, for who started it.

    Raises:
        SecureFclError: whatever ends a run; Flower then lists it as failed.
    """
    require_release()
    path = Path(str(context.run_config[JOB]))
    outcome = path.with_name(OUTCOME)
    try:
        run_job(ServerJob.read(path), grid, path.parent)
    except Interrupted:
        _say(outcome, "interrupted")
        return
    except Exception as error:
        _say(outcome, "failed", str(error) if isinstance(error, SecureFclError) else type(error).__name__)
        raise
    _say(outcome, "finished")


app.main()(main)


def run_job(job: ServerJob, grid: Grid, beside: Path) -> None:
    """Run the loop of a job. What a display shows goes to a file in the folder `beside`; another there ends it."""
    place = ServerFolder.read(Path(job.server))
    folder = RunFolder.existing(Path(job.run), trust_code=True)  # who wrote the job has imported it
    prepared = prepared_of(place)
    clients = place.calendar.clients
    parties = GridParties(grid, place.roster, clients, deadline=job.deadline, code=job.code or None)
    there = parties.wait(job.patience)
    logging.getLogger(__name__).info("%d of %d clients are present", len(there), clients)
    federation = deployed(parties, clients, place.digest, deadline=job.deadline)
    with JsonLines(beside / TICKS) as ticks:
        Job(prepared, folder, federation, lambda tick: ticks.append(asdict(tick)), (beside / STOP).exists).run()


def prepared_of(place: ServerFolder) -> Prepared:
    """Return the run as its server knows it: calendar and test set, and the keys of helper parties in its folder.

    Raises:
        SecureFclError: as `prepare_deployed`.
    """
    return prepare_deployed(place.config.model_copy(update={"identities": str(place.path)}), place.scenario())


def _say(path: Path, ended: str, why: str = "") -> None:
    atomic_write(path, to_json({"ended": ended, "why": why}))
