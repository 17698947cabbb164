"""What only a simulation may write: files that no deployed client would, marked as such."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.files import atomic_write
from privacy import RandomBytes
from secure_fcl.errors import RunFolderError
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import DeviceView, GradientStrategy, State

SIMULATION = "simulation"
"""Folder inside a run for coins, truths and declared clear views. Nothing in it is covered by any guarantee."""


def file_stem(row: str) -> str:
    """Return a row's name as files have it: `lab:mine` is `lab.mine`, as a file's name has no colon."""
    return row.replace(":", ".")


def clear_update_path(folder: Path, row: str) -> Path:
    """Return where the declared one-client view of a row lies."""
    return folder / SIMULATION / f"clear-update-{file_stem(row)}.npz"


def coins_path(folder: Path, row: str) -> Path:
    """Return where a row's devices of a simulation keep their coins: the disk that they have none of."""
    return folder / SIMULATION / f"coins-{file_stem(row)}.npz"


def canaries_path(folder: Path, row: str) -> Path:
    """Return where the declared canaries of a row lie, as its clients were handed them."""
    return folder / SIMULATION / f"canaries-{file_stem(row)}.npz"


def declared_canaries(plan: RowPlan) -> dict[str, np.ndarray]:
    """Return what the transcript says of a row's canaries: all but their coins; nothing where there are none."""
    canaries, scenario = plan.scenario.canaries, plan.scenario
    if canaries is None:
        return {}
    index = canaries.index
    public = {"index": index, "client": canaries.client, "task": canaries.task, "place": canaries.place}
    return public | {"x": scenario.x[index], "y": scenario.data.y[index]}


def inserted_canaries(plan: RowPlan, folder: Path) -> NDArray[np.int64]:
    """Return the example numbers of the canaries that a row's devices put into their streams; the run has ended.

    Raises:
        RunFolderError: the file of coins is missing or damaged, or has no coin for every canary.
    """
    canaries = plan.scenario.canaries
    if canaries is None:
        return np.empty(0, dtype=np.int64)
    path = coins_path(folder, plan.name)
    stored, found = load_arrays(path), [np.empty(0, dtype=np.int64)]
    for client in range(plan.scenario.clients):
        mine, coins = canaries.of(client), stored.get(f"canaries{client}", np.empty(0, dtype=np.bool_))
        if len(coins) != len(mine):
            raise RunFolderError(
                f"{path} has {len(coins)} coins for the {len(mine)} canaries of client {client}; restore it"
            )
        found.append(mine[coins])
    return np.sort(np.concatenate(found))


def save_arrays(path: Path, mode: int = 0o666, /, **arrays: np.ndarray) -> str:
    """Write arrays as one .npz, atomically; return the file's SHA-256. `mode`: as that of `atomic_write`."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue(), mode=mode)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return what `save_arrays` wrote.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path} is missing or damaged ({error}); run again") from error


def clear_update(
    plan: RowPlan, state: State, view: DeviceView, as_ran: RandomBytes, twin: RandomBytes
) -> dict[str, np.ndarray]:
    """Return one client's update in the clear, as it ran and with the noise left out, on the same batches.

    Only for a view that the configuration declares; outside every guarantee. Empty where a strategy has no updates.
    """
    strategy = plan.strategy
    if not isinstance(strategy, GradientStrategy):
        return {}
    silent = replace(strategy.dpsgd, noise_multiplier=0.0)
    return {
        "simulation": np.array(True),
        "weights": state["weights"],
        "update": strategy.update(state, view, strategy.dpsgd, as_ran),
        "update_without_noise": strategy.update(state, view, silent, twin),
    }
