"""What Flower's ServerApp runs: the product's own loop, with Flower's grid for its clients."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from evaluation.files import JsonLines
from secure_fcl.engines.deployed.folder import ServerFolder
from secure_fcl.engines.federation import deployed
from secure_fcl.engines.flower.names import STOP, TICKS, ServerJob
from secure_fcl.engines.flower.server_app import Reach, server_app
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted, Job
from secure_fcl.running.prepare import Prepared, prepare_deployed


def run_job(job: ServerJob, reach: Reach, beside: Path) -> Literal["finished", "interrupted"]:
    """Run the loop of a job. What a display shows goes to a file in the folder `beside`; another there ends it.

    Raises:
        SecureFclError: whatever ends a run.
    """
    place = ServerFolder.read(Path(job.server))
    folder = RunFolder.existing(Path(job.run), trust_code=True)  # who wrote the job has imported it
    prepared = prepared_of(place)
    clients = place.calendar.clients
    parties = reach(place.roster, clients)
    there = parties.wait(job.patience)
    logging.getLogger(__name__).info("%d of %d clients are present", len(there), clients)
    federation = deployed(parties, clients, place.digest, deadline=job.deadline)
    with JsonLines(beside / TICKS) as ticks:
        try:
            Job(prepared, folder, federation, lambda tick: ticks.append(asdict(tick)), (beside / STOP).exists).run()
        except Interrupted:
            return "interrupted"
    return "finished"


def prepared_of(place: ServerFolder) -> Prepared:
    """Return the run as its server knows it: calendar and test set, and the keys of helper parties in its folder.

    Raises:
        SecureFclError: as `prepare_deployed`.
    """
    return prepare_deployed(place.config, place.scenario())


app = server_app(run_job)
