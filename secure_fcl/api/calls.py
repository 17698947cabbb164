"""The calls of the Python API: each is the command of its name, with a value in place of printed text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from secure_fcl.api.given import Given, configured, given_data
from secure_fcl.api.opened import Run, open_run
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.forecast.cost import Forecast, plan_run
from secure_fcl.rows.schedule import with_schedule
from secure_fcl.runner import Say, StopRequest, execute, require_room, resume, start
from secure_fcl.running.display import progress
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import Prepared
from secure_fcl.running.records import Watcher
from secure_fcl.running.repeats import how_to_go_on

Folder = Path | str


def run_job(
    config: Given,
    *,
    data: object,
    model: object,
    watch: Watcher | None,
    runs: Folder,
    name: str | None,
    go_on: bool,
    settings: Sequence[str],
    trust_code: bool,
    journals: Folder | None,
) -> Run:
    """Run, audit and report; see `secure_fcl.run`."""
    places = None if journals is None else Path(journals)
    if places is not None:
        require_room(places)
    asked = config is not None or bool(settings) or data is not None or model is not None
    found = configured(config, settings, data is not None, model) if asked else None
    if go_on and name is None:
        raise ConfigInvalid("resume = True continues the run of a name; give its name")
    if go_on and (Path(runs) / str(name)).exists():
        prepared, folder = resume(Path(runs) / str(name), trust_code)
        _require_same(folder, found and with_schedule(found, prepared.scenario))
    else:
        given = None if data is None else given_data(data)
        prepared, folder = start(found or configured(None), Path(runs), name, places is not None, given)
    stop = StopRequest()
    try:
        with stop.listening(lambda text: None), _watching(watch, prepared) as (tick, say):
            execute(prepared, folder, tick, say, stop, places)
    except Interrupted:
        usual = (
            f"continue with secure_fcl.run(runs={str(folder.path.parent)!r}, name={folder.path.name!r}, resume=True)"
        )
        raise Interrupted(f"stopped; {how_to_go_on(prepared.config, usual)}") from None
    return open_run(folder.path, trust_code=True)


def _require_same(folder: RunFolder, wanted: Config | None) -> None:
    """Raise ConfigInvalid if a run that goes on would be another than the one it began as."""
    if wanted is None:
        return
    stood = folder.config()
    begun = stood.model_copy(update={"data": stood.data.model_copy(update={"data_dir": wanted.data.data_dir})})
    if begun.model_dump() != wanted.model_dump():
        raise ConfigInvalid(
            f"run {folder.path} began with another configuration; leave the configuration out to continue it, or give "
            "another name"
        )


@contextmanager
def _watching(watch: Watcher | None, prepared: Prepared) -> Iterator[tuple[Watcher, Say]]:
    """Yield who is told of rounds and of the audit's steps: the caller's own, or a display where somebody looks."""
    from rich.console import Console

    console = Console()
    if watch is not None or not (console.is_terminal or console.is_jupyter):
        yield watch or (lambda tick: None), lambda text: None
        return
    with progress(console, prepared.rounds) as tick:
        yield tick, lambda text: console.print(f"attack: {text}", highlight=False)


def audit_again(run: Run | Folder, *, shadows: int | None, over_rounds: int | None, trust_code: bool) -> Run:
    """Play the attacks again; see `secure_fcl.audit`."""
    from secure_fcl.auditing import audit, require_ledger_holds
    from secure_fcl.runner import write_report
    from secure_fcl.running.fitting import ATTACKS, REPORT

    trusted = trust_code or (isinstance(run, Run) and run.trust_code)
    prepared, folder = resume(_folder(run), trusted, anew=(REPORT, ATTACKS))
    with folder.locked():
        found = audit(prepared, folder, shadows=shadows, over_rounds=over_rounds)
        path = write_report(folder)
    require_ledger_holds(found, path)
    return open_run(folder.path, trusted)


def _folder(run: Run | Folder) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def forecast(config: Given, *, data: object, settings: Sequence[str], alternatives: bool) -> Forecast:
    """Say what a run would cost; see `secure_fcl.plan`."""
    found = configured(config, settings, data is not None)
    return plan_run(found, alternatives, None if data is None else given_data(data))
