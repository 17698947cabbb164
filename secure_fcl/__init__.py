"""secure-fcl: federated continual learning with DP-SGD, encrypted sums, and an attack suite.

The Python API is `run`, `open`, `audit`, `study`, `plan`, `compare`, `Run` and `Dataset`; loading this package loads
neither torch nor numpy, the calls do.

- config: a run's configuration; runner and running: run it; auditing: attacks it; studies: many of them; api: the
  calls and what they return; cli: commands
- data, features, streams, memory, strategies, compression, rows: what a run is made of; forecast: what it would cost
- engines: worker processes and the messages between them
- testing: laws that any strategy, stream or memory must keep
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secure_fcl.api.comparing import Comparison
    from secure_fcl.api.given import Given
    from secure_fcl.api.grids import Study
    from secure_fcl.api.opened import Run
    from secure_fcl.data import Dataset
    from secure_fcl.forecast.cost import Forecast
    from secure_fcl.running.records import Watcher

__version__ = "0.1.0"
__all__ = ["Dataset", "Run", "__version__", "audit", "compare", "open", "plan", "run", "study"]

_SIBLINGS = ("crypto", "privacy", "attacks", "evaluation")


def _check_siblings() -> None:
    """Refuse to run with somebody else's module under the name of one of our toolkits.

    The four names are generic: a user's own `attacks.py` in the working folder would be imported instead of ours.
    """
    home = Path(__file__).resolve().parent.parent
    for name in _SIBLINGS:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != home or origin.parent.name != name:
            found = origin or "nothing"
            raise ImportError(
                f"secure_fcl needs its own package {name!r} from {home / name}, but Python finds {found}; "
                "rename that file or folder, or start Python from another folder"
            )


_check_siblings()


def run(
    config: Given = None,
    *,
    data: object = None,
    model: object = None,
    watch: Watcher | None = None,
    runs: Path | str = "runs",
    name: str | None = None,
    resume: bool = False,
    settings: Sequence[str] = (),
    trust_code: bool = False,
    journals: Path | str | None = None,
) -> Run:
    """Train every strategy, attack what the run revealed, write the report, and return the run.

    In a script that a user starts, call it below `if __name__ == "__main__":` only where the platform needs it; worker
    processes are programs of their own and never import the script.

    Args:
        config: nested dictionaries as in the TOML file, the path of such a file, or a `secure_fcl.config.Config`;
            None: the main job on HAPT.
        data: in place of `data.name`: what `secure_fcl.data.as_dataset` takes (a `Dataset`, a mapping of arrays with
            `x`, `y` and `classes`, a torch data set), or two torch data sets, training and test. It is written to the
            run's folder, below `simulation`, readable by its owner alone, since workers and `resume` read it there.
        model: in place of `training.model`: its text, or a network, class or function that makes one. What workers
            cannot import is kept in the run's folder with its code, and only `trust_code` opens it later.
        watch: called with a `secure_fcl.running.records.Tick` after every round; None: a progress display on a
            terminal and in a notebook, and nothing elsewhere.
        runs: folder that holds the runs.
        name: of the run's folder; None: date and data set.
        resume: whether a run of that name goes on where it stopped; it starts where there is none.
        settings: `a.b=c` over the configuration, as `--set` takes them.
        trust_code: whether `resume` may import code that the folder names.
        journals: folder outside the run's in which devices keep how far the ledger went when they answered last.

    *Guarantee*: everything is checked before the folder is made, so a refused call leaves nothing behind; every round
    is charged on disk before its noise is drawn, as on the command line.

    Raises:
        SecureFclError, privacy.PrivacyError, crypto.CryptoError: what cannot work, in one sentence.
        secure_fcl.running.loop.Interrupted: the user pressed Ctrl-C; the sentence says how to continue.
        attacks.LedgerContradicted: the audit contradicts the ledger; the report is written before that.
    """
    from secure_fcl.api.calls import run_job

    return run_job(
        config, data=data, model=model, watch=watch, runs=runs, name=name, go_on=resume, settings=settings,
        trust_code=trust_code, journals=journals,
    )  # fmt: skip


def open(folder: Path | str, *, trust_code: bool = False) -> Run:
    """Return the run of a folder after checking that its files belong together.

    `trust_code`: whether `Run.model` may import code that the run's configuration names; opening imports none.

    Raises:
        RunFolderError: there is no run at this path, a process is at work in it, or its files do not fit one another.
    """
    from secure_fcl.api.opened import open_run

    return open_run(Path(folder), trust_code)


def audit(
    run: Run | Path | str, *, shadows: int | None = None, over_rounds: int | None = None, trust_code: bool = False
) -> Run:
    """Play the attacks against a finished run again, rewrite its report, and return the run as it then is.

    `shadows`: shadow models for the strongest attacks; `over_rounds`: examples that membership over rounds asks about;
    None: as the run's configuration says.

    Raises:
        RunFolderError: the run is not finished, or its files do not fit one another.
        attacks.LedgerContradicted: the audit contradicts the ledger; the report is written before that.
    """
    from secure_fcl.api.calls import audit_again

    return audit_again(run, shadows=shadows, over_rounds=over_rounds, trust_code=trust_code)


def study(grid: Path | str | Mapping[str, Any], *, out: Path | str | None = None) -> Study:
    """Run a grid of runs, as far as it is not done, and return its table; or the best of it, privately chosen.

    Args:
        grid: path of a study file, or its content as nested dictionaries.
        out: folder of the study; None: `studies/` and the file's name.

    Raises:
        ConfigInvalid: the grid, or a run of it, cannot exist.
    """
    from secure_fcl.api.grids import run_grid

    return run_grid(grid, out)


def plan(
    config: Given = None, *, data: object = None, settings: Sequence[str] = (), alternatives: bool = False
) -> Forecast:
    """Return what a run would cost before anything runs: epsilon of every cohort, noise, storage, bytes.

    Args:
        config: as for `run`.
        data: as for `run`; nothing is written.
        settings: as for `run`.
        alternatives: whether other choices are worked out too, which takes seconds to minutes.

    Raises:
        SecureFclError, privacy.PrivacyError, crypto.CryptoError: the run could not be, in one sentence.
    """
    from secure_fcl.api.calls import forecast

    return forecast(config, data=data, settings=settings, alternatives=alternatives)


def compare(*runs: Run | Path | str) -> Comparison:
    """Return two runs or more side by side: last figures of every strategy, and the settings that differ.

    Raises:
        InputRefused: fewer than two.
        RunFolderError: as `open`.
    """
    from secure_fcl.api.comparing import compare_runs

    return compare_runs(runs)


def __getattr__(name: str) -> Any:
    """Return `Run` or `Dataset`, whose modules are loaded when they are first asked for."""
    places = {"Run": "secure_fcl.api.opened", "Dataset": "secure_fcl.data"}
    if name not in places:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(places[name]), name)
