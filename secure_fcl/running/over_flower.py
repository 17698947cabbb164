"""A run whose clients a local Flower federation plays: folders for its parties, Flower's processes, how it ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from secure_fcl.config import Config
from secure_fcl.engines.deployed.making import roles_of, write_folders
from secure_fcl.engines.flower.contract import require_release
from secure_fcl.engines.flower.names import ServerJob
from secure_fcl.engines.parties import parties_of
from secure_fcl.engines.tls.certificates import SERVER
from secure_fcl.errors import CarrierLost, ConfigInvalid, SecureFclError
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import Prepared
from secure_fcl.running.records import Tick, Watcher
from secure_fcl.streams.public import PublicCalendar

PATIENCE_SECONDS = 180.0
"""How long all clients may take to be there, after the loop has started: each loads torch first."""


def require_flower(config: Config) -> None:
    """Raise before anything is written what cannot run under Flower.

    Raises:
        ConfigInvalid: the run needs what only a simulation has.
        CarrierLost: the release of Flower is missing or another than this was tested with.
    """
    if config.attacks.enabled:
        raise ConfigInvalid("attacks.enabled = true reads what only engine = 'local' hands out; set it to false")
    if config.replay_noise:
        raise ConfigInvalid("replay_noise = true: no deployed device is given that secret; take engine = 'local'")
    require_release()


def federation_folder(run: Path) -> Path:
    """Return where the parties of a run under Flower have their folders: beside the run's own."""
    return run.with_name(f"{run.name}-federation")


def train_over_flower(
    prepared: Prepared, folder: RunFolder, watch: Watcher, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Run what is left of a run under Flower, on this machine.

    Raises:
        Interrupted: `stopped()` became true; the last round is saved.
        CarrierLost: a process of Flower ended, or the run is listed as anything but completed.
        SecureFclError: the loop's own sentence of why the run failed.
    """
    from secure_fcl.engines.flower.local import LocalFederation

    config, place = prepared.config, federation_folder(folder.path)
    parties, work = place / "parties", place / "flower"
    if not parties.exists():
        deal(parties, prepared)
    # Of an earlier start: keys of its SuperLink and nodes, and its logs.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)
    job = ServerJob(
        run=str(folder.path.resolve()), server=str((parties / SERVER).resolve()),
        code="own" if config.flower.nodes == "own" else "shipped", deadline=config.flower.deadline,
        patience=PATIENCE_SECONDS,
    )  # fmt: skip
    devices = {party: (parties / party).resolve() for party in parties_of(prepared.scenario.clients)}
    with LocalFederation(work.resolve(), devices, config.flower.nodes) as federation:
        ended = federation.run(job, lambda record: watch(Tick(**record)), stopped)
    if ended.ended == "interrupted":
        raise Interrupted
    if ended.ended == "failed":
        raise SecureFclError(f"{ended.why} (under Flower; its logs: {work / 'logs'})")
    if (ended.ended, ended.status) != ("finished", "finished:completed"):
        raise CarrierLost(f"the run is listed by Flower as {ended.status}; its logs: {work / 'logs'}")


def deal(out: Path, prepared: Prepared) -> None:
    """Make the folders of all parties of a run, and let the server's hold the keys of the helper parties.

    Raises:
        SecureFclError, evaluation.errors.StorageError: as `write_folders`.
    """
    roles = roles_of(plan for plan, _ in prepared.rows)
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_folders(out, prepared.config, PublicCalendar.of(prepared.scenario), roles, prepared.scenario)
    for role in roles:
        if role != SERVER:
            shutil.copy(out / role / f"{role}.key", out / SERVER)
