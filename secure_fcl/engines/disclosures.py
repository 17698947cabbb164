"""Side channels of a run: collected in the first round of a slot, recorded in the run's folder, given to the server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secure_fcl.engines.parties import Lab
from secure_fcl.engines.simulation import file_stem, load_arrays, save_arrays
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import State, StepContext
from secure_fcl.strategies.side_channels import Disclosed, Discloses

FOLDER = "side-channels"
"""Folder inside a run for what clients said beside the sums. No guarantee covers it."""


def disclosures_path(folder: Path, row: str, slot: int) -> Path:
    """Return where the side channels of one slot lie: by name of the channel, (clients, ...)."""
    return folder / FOLDER / f"{file_stem(row)}-{slot:03d}.npz"


def collect(plan: RowPlan, lab: Lab, step: StepContext, state: State, folder: Path) -> int:
    """Let the clients of a slot send their side channels, record them, and return the bytes sent."""
    said = lab.disclosed(plan.clients_in(step.slot), step.slot, step.round, state)
    stacked = {link.name: np.stack([said[k][link.name] for k in sorted(said)]) for link in plan.channels}
    save_arrays(disclosures_path(folder, plan.name, step.slot), **stacked)
    return sum(array.nbytes for array in stacked.values())


def informed(plan: RowPlan, step: StepContext, state: State, folder: Path) -> State:
    """Return the server's state after it read what the slot's clients sent."""
    if not isinstance(plan.strategy, Discloses) or step.phase != "train":
        return state
    disclosed: Disclosed = load_arrays(disclosures_path(folder, plan.name, step.slot))
    return plan.strategy.informed(state, step, disclosed)
