"""The tables of a run as CSV, JSON or Parquet files, and a copy of a run for MLflow."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evaluation.files import atomic_write, write_json
from evaluation.strict_json import to_json
from secure_fcl.api.exports import EXPORT
from secure_fcl.api.tables import Table
from secure_fcl.errors import SecureFclError

if TYPE_CHECKING:
    from secure_fcl.api.grids import Study
    from secure_fcl.api.opened import Run

_ALLOW = "MLFLOW_ALLOW_FILE_STORE"
Form = Literal["csv", "json", "parquet"]


def export_tables(of: Run | Study, folder: Path, form: Form) -> tuple[Path, ...]:
    """Write every table of a run, or the one of a study, as a file of its own, and return the paths.

    An empty table has its columns and no lines; what a note says stands in `notes.json`.

    Raises:
        SecureFclError: `form` is parquet and pyarrow is not installed.
        StorageError: the system refused.
    """
    tables: tuple[Table[Any], ...] = (of.runs,) if hasattr(of, "runs") else of.tables
    writers: Mapping[Form, Callable[[Table[Any]], bytes | str]] = {"csv": _csv, "json": _json, "parquet": _parquet}
    contents = [(folder / f"{table.name}.{form}", writers[form](table)) for table in tables]
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents:
        atomic_write(path, content)
    notes = folder / "notes.json"
    write_json(notes, {table.name: table.note for table in tables})
    return (*(path for path, _ in contents), notes)


def _flat(table: Table[Any]) -> list[dict[str, Any]]:
    """Return records whose values fit a cell."""
    return [{k: "; ".join(v) if isinstance(v, tuple) else v for k, v in line.items()} for line in table.records()]


def _csv(table: Table[Any]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(table.columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(table))
    return buffer.getvalue()


def _json(table: Table[Any]) -> str:
    return to_json([{k: list(v) if isinstance(v, tuple) else v for k, v in line.items()} for line in table.records()],
                   indent=2) + "\n"  # fmt: skip


def _parquet(table: Table[Any]) -> bytes:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise SecureFclError(f"pyarrow is not installed; run: {EXPORT}") from error
    records, buffer = _flat(table), io.BytesIO()
    columns = {name: [record[name] for record in records] for name in table.columns}
    parquet.write_table(arrow.table(columns), buffer)
    return buffer.getvalue()


def write_mlflow(run: Run, where: Path | str) -> str:
    """Copy a run to an MLflow store (extra `tracking`), one MLflow run for each strategy; return the store's address.

    Parameters are the configuration, metrics the tables over tasks; an epsilon is copied only where the certificate has
    one. The run's folder stays the record.

    Args:
        run: to be copied.
        where: a folder, for a store of files; or the address of any store that the installed MLflow knows.

    Raises:
        SecureFclError: MLflow is not installed, or refuses the store.
    """
    try:
        client: Any = importlib.import_module("mlflow.tracking").MlflowClient
        refused: Any = importlib.import_module("mlflow.exceptions").MlflowException
    except ImportError as error:
        raise SecureFclError("MLflow is not installed; run: pip install 'secure-fcl[tracking]'") from error
    address = str(where) if "://" in str(where) else Path(where).resolve().as_uri()
    try:
        with _files_allowed():
            store = client(tracking_uri=address)
            found = store.get_experiment_by_name("secure-fcl")
            experiment = found.experiment_id if found else store.create_experiment("secure-fcl")
            for strategy in run.strategies:
                _copy(run, strategy, store, experiment)
    except refused as error:
        raise SecureFclError(f"MLflow refuses {where} ({str(error).splitlines()[0].strip()}); name another") from error
    return address


@contextmanager
def _files_allowed() -> Iterator[None]:
    """Let MLflow 3 write plain files, which it does only when told to; a database needs far more packages."""
    before = os.environ.get(_ALLOW)
    os.environ[_ALLOW] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ALLOW]
        else:
            os.environ[_ALLOW] = before


def _copy(run: Run, strategy: str, store: Any, experiment: str) -> None:
    one = store.create_run(experiment, run_name=f"{run.name}/{strategy}", tags={"secure_fcl.run": run.name})
    number = one.info.run_id
    for key, value in _settings(run.config().model_dump(mode="json"), strategy).items():
        store.log_param(number, key, value)
    for line in run.accuracy:
        if line.strategy == strategy:
            for name, share in (("all_windows", line.all_windows), ("seen", line.seen)):
                if share is not None:
                    store.log_metric(number, name, share, step=line.after_task)
    tables: tuple[Table[Any], ...] = (run.forgetting, run.epsilon, run.cost)
    for table in tables:
        for record, found in zip(table.records(), table, strict=True):
            if found.strategy == strategy:
                for name, value in record.items():
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        store.log_metric(number, name.replace(" ", "_"), value)
    store.set_terminated(number, "FINISHED" if run.finished else "RUNNING")


def _settings(tree: Mapping[str, Any], strategy: str, before: str = "") -> dict[str, str]:
    """Return the dotted keys of a configuration, without the sections of other strategies."""
    from secure_fcl.strategies.catalogue import ENTRIES

    found: dict[str, str] = {}
    for key, value in tree.items():
        if not before and key in ENTRIES and key != strategy:
            continue
        if isinstance(value, Mapping):
            found |= _settings(value, strategy, f"{before}{key}.")
        else:
            found[f"{before}{key.replace(':', '.')}"] = str(value)
    return found
