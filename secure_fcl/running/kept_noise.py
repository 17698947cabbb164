"""The noise with which the rows of a folder began: a run that goes on adds no other, whatever a new run would be given.

A tighter accountant asks for less noise at the same budget. A row's budget was laid down when it began, event by event,
and admits no event of other noise.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

from evaluation.run_folder import mapping
from privacy import RdpAccountant
from secure_fcl.config import Config
from secure_fcl.errors import RunFolderError
from secure_fcl.rows.budgets import kept_budget, planned_budget
from secure_fcl.rows.build import calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import Prepared
from secure_fcl.streams import Scenario


def as_begun(prepared: Prepared, folder: RunFolder) -> Prepared:
    """Return a prepared run with every row that began in `folder` at the noise with which it began.

    Raises:
        RunFolderError: as `row_as_begun`.
        ConfigInvalid: a budget in the folder is none.
    """
    rows = (row_as_begun(prepared.config, prepared.scenario, row, folder) for row in prepared.rows)
    return replace(prepared, rows=tuple(rows))


def row_as_begun(
    config: Config, scenario: Scenario, row: tuple[RowPlan, float], folder: RunFolder
) -> tuple[RowPlan, float]:
    """Return a calibrated row and its noise multiplier as they were when the row began in `folder`.

    What the folder's budget says decides: it is that of `row`, or that of the noise that Renyi accounting asks for, by
    which Skellam noise was calibrated before its releases were known to be dominated by Gaussian ones. A finished run,
    which adds no noise any more, is left as it is where neither fits.

    Raises:
        RunFolderError: neither fits, and the run is not finished.
        ConfigInvalid: the budget in the folder is none.
    """
    plan, _ = row
    path = folder.budget_path(plan.name)
    if not path.exists() or planned_budget(plan) == (kept := kept_budget(plan, path)):
        return row
    before = calibrated_row(config, scenario, plan.name, RdpAccountant())
    if planned_budget(before[0]) == kept:
        return before
    if folder.progress().finished:
        return row
    wrote = mapping(folder.about().get("packages")).get("secure-fcl")
    raise RunFolderError(
        f"row {plan.name} of run folder {folder.path} began with other noise than secure-fcl "
        f"{metadata.version('secure-fcl')} computes for its budget; go on with secure-fcl {wrote}, which wrote it, on "
        "the machine where it began, or start a new run"
    )
