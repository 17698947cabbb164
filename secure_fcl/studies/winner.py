"""The best run of a private choice as it may be shown: its certificate is the choice's, and nothing tells its turn."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluation.files import atomic_write, read_jsonl
from evaluation.strict_json import to_json
from privacy import Ledger
from secure_fcl.config.outside import described
from secure_fcl.engines.simulation import SIMULATION
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.runner import write_report
from secure_fcl.running import certificate_parts as parts
from secure_fcl.running.bonds import files_of, rollback, signed_heads
from secure_fcl.running.certificate import row_certificate, write_certificate
from secure_fcl.running.folder import Progress, RunFolder
from secure_fcl.running.pins import Pins, digest_of, state_text
from secure_fcl.running.prepare import prepare
from secure_fcl.studies.bound import Bound
from secure_fcl.studies.choice import Choice
from secure_fcl.studies.grid import Cell

_ENVIRONMENT = "environment.json"


def without_hour(folder: RunFolder) -> None:
    """Take the hour out of what a run that has not begun says of itself: it would tell which of the runs it was."""
    about = {key: value for key, value in folder.about().items() if key != "started"}
    atomic_write(folder.path / _ENVIRONMENT, to_json(about, indent=2) + "\n")
    digests = {name: digest_of(folder.path / name) for name in ("config.toml", _ENVIRONMENT)}
    atomic_write(folder.path / "state.json", state_text(asdict(Progress()), Pins(files=digests)))


def _without_durations(folder: RunFolder) -> None:
    """Take the durations out of the records of costs: they depend on what else ran beside."""
    path = folder.path / "cost.jsonl"
    records = [record | {"seconds": {}, "wall": None} for record in read_jsonl(path).records]
    atomic_write(path, "".join(to_json(record) + "\n" for record in records))
    folder.pin(path)


def publish(run: Path, place: Path, cell: Cell, choice: Choice, cost: Bound) -> None:
    """Move a finished run out of the hidden folder, with the certificate of the choice; may be called again.

    What scores games on a simulation is left out, as for publication, as are all measures on test data that are not
    declared public, and all durations. Every file gets the same hour.

    Raises:
        RunFolderError: the run's files do not fit one another.
    """
    folder = RunFolder.existing(run, trust_code=True)
    with folder.locked():
        shutil.rmtree(run / SIMULATION, ignore_errors=True)
        progress = folder.recall()
        _without_durations(folder)
        if choice.score_noise is not None:
            progress = replace(progress, metrics=0)
            atomic_write(run / "metrics.jsonl", "")
            folder.pin(run / "metrics.jsonl")
        ((plan, multiplier),) = prepare(cell.config).rows
        with Ledger(folder.ledger_path(plan.name)) as ledger:
            row = _of_the_choice(plan, row_certificate(plan, ledger, multiplier), choice, cost)
        heads = signed_heads(run)
        bonds = {"files": files_of(run), "devices": heads, "rollback": rollback(heads)}
        for path in write_certificate(run, {plan.name: row}, described(cell.config.model_dump()), bonds):
            folder.pin(path)
        folder.save_progress(progress)
        write_report(folder)
    now = time.time()
    for path in [*run.rglob("*"), run]:
        os.utime(path, (now, now))
    run.rename(place)


def _of_the_choice(plan: RowPlan, row: dict[str, Any], choice: Choice, cost: Bound) -> dict[str, Any]:
    """Return a row's certificate with the choice's epsilon in place of the run's own, which nobody may claim now."""
    law = choice.to_json()
    shape = f", eta {law['eta']:g}, gamma {law['gamma']:.4g}" if "eta" in law else ""
    noise = f"with Skellam noise of standard deviation {choice.score_noise} on the count, charged"
    data = "on test data declared public" if choice.score_noise is None else f"on private test data, {noise}"
    chosen = (
        f"the cell of the study's grid, charged: the best of a hidden number of runs over {cost.cells} cells "
        f"({law['distribution']}{shape}, mean {law['mean']:.4g}) by {choice.score} {data}; epsilon is that of the "
        "choice against the worst cell (Papernot and Steinke 2022)"
    )
    hidden = (
        "nobody sees how many runs there were, any other of them, or how long they took; against the server, and "
        "whoever reads the machine while it chooses, every run counts, and no bound is given"
    )
    changed: dict[str, Any] = {
        "epsilon": cost.epsilon,
        "accountant": "RDP of a private choice",
        "delta": cost.delta,
        "delta_parts": {"accountant": cost.accounting, "overflow and excess of all runs": cost.delta - cost.accounting},
        "unit": parts.unit(plan, None),
        "epsilon_of_one_reading": None,
        "epsilon_of_one_run": row["epsilon"],
        "cohorts": [],
        "budget": None,
        "epsilon_of_what_ran": None,
        "chosen_on_data": [*row["chosen_on_data"], chosen],
        "assumptions": [*row["assumptions"], hidden],
        "private_selection": law | cost.to_json(),
    }
    if choice.score_noise is None:
        changed["evaluation"] = ["accuracies on test windows, which the study declares public"]
    else:
        changed["evaluation"] = ["the score alone, with its noise: no other measure on test data is in this folder"]
    return {key: value for key, value in row.items() if not key.endswith("_built_in")} | changed
