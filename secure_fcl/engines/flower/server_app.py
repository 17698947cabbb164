"""The ServerApp: the product's own loop, with Flower's grid for its clients."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from crypto.keys.roster import Roster
from evaluation.files import JsonLines, atomic_write, read_text
from evaluation.strict_json import to_json
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.grid import GridParties
from secure_fcl.engines.flower.names import JOB, ServerJob
from secure_fcl.errors import SecureFclError
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted, Job
from secure_fcl.running.prepare import prepare

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run what is left of a run; `outcome.json` beside the job says how it ended, for who started it.

    Raises:
        SecureFclError: whatever ends a run; Flower then lists it as failed.
    """
    require_release()
    path = Path(str(context.run_config[JOB]))
    outcome = path.with_name("outcome.json")
    try:
        run_job(ServerJob.read(path), grid, path.parent)
    except Interrupted:
        _say(outcome, "interrupted")
        return
    except Exception as error:
        _say(outcome, "failed", str(error) if isinstance(error, SecureFclError) else type(error).__name__)
        raise
    _say(outcome, "finished")


def run_job(job: ServerJob, grid: Grid, beside: Path) -> None:
    """Run the loop of a job. Ticks of its progress go to `ticks.jsonl` in the folder `beside`; a file `stop` there
    ends it after the round.
    """
    folder = RunFolder.existing(Path(job.run), trust_code=True)  # who wrote the job has imported it
    prepared = prepare(folder.config())
    clients = prepared.scenario.clients
    parties = GridParties(grid, Roster.from_json(read_text(Path(job.roster))), clients, deadline=job.deadline)
    there = parties.wait(job.patience)
    logging.getLogger(__name__).info("%d of %d clients are present", len(there), clients)
    federation = Federation(clients=clients, parties=parties, lab=None, deadline=job.deadline)
    with JsonLines(beside / "ticks.jsonl") as ticks:
        Job(prepared, folder, federation, lambda tick: ticks.append(asdict(tick)), (beside / "stop").exists).run()


def _say(path: Path, ended: str, why: str = "") -> None:
    atomic_write(path, to_json({"ended": ended, "why": why}))
