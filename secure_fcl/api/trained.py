"""The model of a run as a torch module: raw inputs in, class scores or names of labels out.

Public features and closed forms are part of it. `secure-fcl export` writes it to a file that others can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.files import read_json
from evaluation.run_folder import mapping, number
from secure_fcl.config import Config
from secure_fcl.config.names import entry_of
from secure_fcl.data import load_chosen
from secure_fcl.engines.simulation import SIMULATION, file_stem, load_arrays
from secure_fcl.errors import InputRefused, RunFolderError
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.gradient import method_of
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.fitting import REPORT, require_fitting
from secure_fcl.running.kept_noise import row_as_begun
from secure_fcl.strategies import GradientStrategy, State, Strategy
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.models import logits
from secure_fcl.streams import Scenario, as_shown, build_scenario

if TYPE_CHECKING:
    from secure_fcl.running.folder import RunFolder
    from secure_fcl.streams.scenario import Description

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
LOWEST = float(np.finfo(np.float32).min)
_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model is from, and what goes into and comes out of it.

    Attributes:
        run: the run's folder.
        strategy: the row.
        after_task: slot of the calendar, from 1.
        client: whose model, from 0; None: the one that all clients share.
        shape: of one raw input.
        units: of the raw inputs.
        labels: names of the classes, in the order of the scores.
        tasks: labels (places in `labels`) of each task where the test names the task; empty elsewhere.
        features: public features that the network is shown: none, plain or refined.
    """

    run: Path
    strategy: str
    after_task: int
    client: int | None
    shape: tuple[int, ...]
    units: str
    labels: tuple[str, ...]
    tasks: tuple[tuple[int, ...], ...]
    features: Description


class RunModel(torch.nn.Module):
    """Predicts as the run did when it measured itself.

    Attributes:
        origin: where it is from, and what goes in and comes out.
        network: the trained network, on inputs as `origin.features` says; None for closed forms, whose released sums
            are buffers `state_<name>`.
    """

    network: torch.nn.Module | None

    def __init__(self, origin: Origin, strategy: Strategy, state: State) -> None:
        super().__init__()
        self.origin = origin
        self._strategy = strategy
        self._state_names = tuple(state)
        if isinstance(strategy, GradientStrategy):
            self.network = strategy.network(state)
        else:
            self.network = None
            for name, array in state.items():
                self.register_buffer(f"state_{name}", torch.from_numpy(np.array(array)))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores (n, classes) for raw inputs (n, *shape); the prediction is the largest.

        Differentiable in the network's weights; in `x` too where the network is shown the inputs as they are. Closed
        forms give no gradient, and -inf for classes that were never released.
        """
        if self.network is None:
            return torch.from_numpy(self._closed_form(x.detach().cpu().numpy()))
        if self.origin.features != "none":
            shown = as_shown(x.detach().cpu().numpy(), self.origin.features)
            x = torch.from_numpy(shown).to(x.device)
        scores: torch.Tensor = self.network(x)
        return scores

    def scores(self, x: NDArray[np.generic]) -> Floats:
        """Return class scores float32 (n, classes) for raw inputs (n, *shape).

        Raises:
            InputRefused: another shape, or values that are not finite.
        """
        known = self._checked(x)
        if self.network is not None:
            return logits(self.network, as_shown(known, self.origin.features))
        parts = [self._closed_form(known[i : i + _AT_ONCE]) for i in range(0, max(len(known), 1), _AT_ONCE)]
        return np.concatenate(parts)

    def classes(self, x: NDArray[np.generic], task: int | None = None) -> Ints:
        """Return the places of the predicted labels in `origin.labels`, int64 (n,).

        `task`: from 1, where the run's test names an input's task (scenario.kind = "task"); None everywhere else.

        Raises:
            InputRefused: as `scores`; or a task is missing, given where none is wanted, or not there.
        """
        tasks = self.origin.tasks
        if tasks and (task is None or not 1 <= task <= len(tasks)):
            raise InputRefused(f"task = {task}: this model is told an input's task; give task = 1 to {len(tasks)}")
        if not tasks and task is not None:
            raise InputRefused(f"task = {task}: this model tells all classes apart without it; leave task out")
        found = self.scores(x)
        if tasks and task is not None:
            inside = np.isin(np.arange(len(self.origin.labels)), tasks[task - 1])
            # Below every score that a strategy may give, -inf for classes never released included.
            found = np.where(inside, np.maximum(found, LOWEST), -np.inf)
        return np.asarray(found.argmax(axis=1))

    def predict(self, x: NDArray[np.generic], task: int | None = None) -> NDArray[np.str_]:
        """Return the names of the predicted labels (n,); `task`: as in `classes`.

        Raises:
            InputRefused: as `classes`.
        """
        return np.array(self.origin.labels)[self.classes(x, task)]

    def _checked(self, x: NDArray[np.generic]) -> Floats:
        found = np.asarray(x)
        if found.dtype.kind not in "fiub":
            raise InputRefused(f"inputs have type {found.dtype}; give numbers, in {self.origin.units}")
        if found.shape[1:] != self.origin.shape or found.ndim == 0:
            raise InputRefused(
                f"inputs have shape {found.shape}; give (n, {', '.join(map(str, self.origin.shape))}), in "
                f"{self.origin.units}"
            )
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(axis=1))[0])
            raise InputRefused(f"input {row} (from 0) holds NaN or infinite values; leave it out or mend it")
        return np.ascontiguousarray(found, dtype=np.float32)

    def _closed_form(self, x: Floats) -> Floats:
        state = {name: self.get_buffer(f"state_{name}").cpu().numpy() for name in self._state_names}
        return np.asarray(self._strategy.scores(state, x))

    def __repr__(self) -> str:
        one = self.origin
        whose = "" if one.client is None else f", client {one.client}"
        return (
            f"RunModel({one.strategy!r} after task {one.after_task}{whose}: {one.shape} in {one.units} -> "
            f"{len(one.labels)} labels)"
        )


def has_own_models(config: Config, row: str) -> bool:
    """Return whether every client has its own model of a row, and there is no common one."""
    entry = entry_of(row)
    return isinstance(entry, GradientEntry) and method_of(config, row, entry).own


def trained_model(folder: RunFolder, strategy: str, after_task: int | None, client: int | None) -> RunModel:
    """Return the model of a run; see `Run.model`.

    Raises:
        RunFolderError, DataError: as `Run.model`.
    """
    with folder.read_only():
        require_fitting(folder, but=(REPORT,))
        config = folder.config()
        if strategy not in config.rows:
            raise RunFolderError(f"run {folder.path} has no strategy {strategy!r}; it has {', '.join(config.rows)}")
        scenario = build_scenario(load_chosen(config.data), config)
        plan = _planned(folder, scenario, strategy)
        slot = _slot(folder, plan, after_task)
        state = _state(folder, plan, slot)
        if plan.own_models or client is not None:
            state = _own(folder, plan, slot, state, client)
    origin = Origin(
        run=folder.path,
        strategy=strategy,
        after_task=slot + 1,
        client=client,
        shape=scenario.data.shape,
        units=scenario.data.units,
        labels=tuple(scenario.data.classes),
        tasks=tuple(tuple(labels) for labels in scenario.part_classes) if scenario.kind == "task" else (),
        features=plan.scenario.description,
    )
    return RunModel(origin, plan.strategy, state)


def _planned(folder: RunFolder, scenario: Scenario, row: str) -> RowPlan:
    """Return the plan of a row with the noise that ran; closed forms are told of it when they predict."""
    config, path = folder.config(), folder.path / "certificate.json"
    certified = mapping(mapping(read_json(path)).get("rows")) if path.exists() else {}
    multiplier = number(mapping(certified.get(row)).get("noise_multiplier"))
    if multiplier is not None:
        return build_row(config, scenario, row, multiplier)
    return row_as_begun(config, scenario, calibrated_row(config, scenario, row), folder)[0]


def _slot(folder: RunFolder, plan: RowPlan, after_task: int | None) -> int:
    """Return the slot, from 0, that is asked for, if the run has closed it."""
    progress, slots = folder.progress(), plan.scenario.slots
    place = plan.config.rows.index(plan.name)
    closed = slots if progress.finished or place < progress.row else progress.slot if place == progress.row else 0
    if closed == 0:
        raise RunFolderError(f"strategy {plan.name} of run {folder.path} has finished no task yet; let it go on")
    wanted = closed if after_task is None else after_task
    if not 1 <= wanted <= closed:
        more = "" if closed == slots else f" so far, of {slots}"
        raise RunFolderError(f"after_task = {wanted}: strategy {plan.name} has tasks 1 to {closed}{more}; choose one")
    return wanted - 1


def _state(folder: RunFolder, plan: RowPlan, slot: int) -> State:
    names = plan.strategy.initial()
    last = folder.path / "model" / f"{file_stem(plan.name)}.npz"
    if slot == plan.scenario.slots - 1 and last.exists():
        saved = load_arrays(last)
    elif plan.config.transcript == "full":
        saved = folder.load_round(plan.name, (slot + 1) * plan.rounds_per_slot - 1)
    else:
        raise RunFolderError(
            f"run {folder.path} kept the last model alone (transcript = 'latest'); ask for after_task = "
            f"{plan.scenario.slots}, or run again with transcript = 'full'"
        )
    return {name: saved[name] for name in names}


def _own(folder: RunFolder, plan: RowPlan, slot: int, state: State, client: int | None) -> State:
    """Return the state with one client's own weights, which the folder holds as the simulation that it is."""
    clients = plan.scenario.clients
    if not plan.own_models:
        raise RunFolderError(f"client = {client}: all clients share one model of {plan.name}; leave client out")
    if client is None or not 0 <= client < clients:
        raise RunFolderError(
            f"client = {client}: every client has its own model of {plan.name}; say whose: 0 to {clients - 1}"
        )
    path = folder.path / SIMULATION / f"devices-{file_stem(plan.name)}-closed-{slot}.npz"
    return plan.personal(state, load_arrays(path)[f"own own-{client}"])
