"""Commands that ask a finished run: predict, export, compare. Each is a call of the Python API, printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from secure_fcl.cli.shared import AsJson, TrustCode
from secure_fcl.cli.tables import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from secure_fcl.api.opened import Run

RunArgument = Annotated[Path, typer.Argument(help="Folder of a run.")]
Strategy = Annotated[str | None, typer.Option(help="Strategy; may be left out where the run has one.")]
AfterTask = Annotated[int | None, typer.Option(help="Model after this task, from 1; default: the last.")]
Client = Annotated[int | None, typer.Option(help="Whose model, from 0, where every client has its own (local_only).")]


def predict(
    run: RunArgument,
    inputs: Annotated[Path, typer.Argument(help="Raw inputs: .npy, .npz (array x), or .csv, one input a line.")],
    strategy: Strategy = None,
    after_task: AfterTask = None,
    client: Client = None,
    task: Annotated[int | None, typer.Option(help="Task of the inputs, where scenario.kind = task.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write labels and scores to this .csv or .json.")] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
) -> None:
    """Predict labels with a model of a run; without --out they are printed as CSV."""
    from secure_fcl.api.inputs import answers, read_inputs
    from secure_fcl.api.opened import open_run

    opened = open_run(run, trust_code)
    model = opened.model(_one(opened, strategy), after_task, client=client)
    found = answers(model, read_inputs(inputs, model.origin.shape), task)
    if out is not None:
        typer.echo(f"predictions: {found.write(out)}")
    elif as_json:
        typer.echo(json.dumps(found.records(), indent=2))
    else:
        typer.echo(found.as_csv(), nl=False)


def _one(run: Run, strategy: str | None) -> str:
    from secure_fcl.errors import RunFolderError

    if strategy is None and len(run.strategies) != 1:
        raise RunFolderError(f"run {run.folder} has {', '.join(run.strategies)}; name one: --strategy")
    return strategy or run.strategies[0]


def export(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: exports/<name of the run>.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Strategy; default: every one with a common model.")] = None,
    after_task: AfterTask = None,
    client: Client = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write model.onnx (a network on raw inputs).")] = False,
    tables: Annotated[
        Literal["csv", "json", "parquet"] | None, typer.Option(help="Write the run's tables, and no model.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Copy the run to an MLflow store, a folder or an address; write no model.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Write models as safetensors with a card (epsilon, unit, data, versions), or the run's tables."""
    from rich.console import Console

    from secure_fcl.api.opened import open_run
    from secure_fcl.api.table_files import export_tables, write_mlflow

    console, opened = Console(), open_run(run, trust_code)
    folder = out or Path("exports") / opened.name
    if tables is not None:
        _tell(console, export_tables(opened, folder, tables))
    if mlflow is not None:
        print_line(console, f"mlflow: {write_mlflow(opened, mlflow)}")
    if tables is None and mlflow is None:
        _export_models(opened, console, folder, strategy, after_task, client, onnx)


def _export_models(
    run: Run, console: Console, out: Path, strategy: str | None, after_task: int | None, client: int | None, onnx: bool
) -> None:
    from secure_fcl.api.exports import export_folder, export_model, export_onnx
    from secure_fcl.api.trained import has_own_models
    from secure_fcl.errors import RunFolderError

    names = [strategy] if strategy else [name for name in run.strategies if not has_own_models(run.config(), name)]
    if not names:
        raise RunFolderError(f"run {run.folder} has no common model; name --strategy and --client")
    for name in names:
        model = run.model(name, after_task, client=client)
        folder = export_folder(out, model)
        _tell(console, export_model(run, model, folder))
        if onnx:
            _tell(console, (export_onnx(model, folder / "model.onnx"),))


def _tell(console: Console, paths: tuple[Path, ...]) -> None:
    for path in paths:
        print_line(console, f"written: {path}")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of two runs or more.")],
    out: Annotated[Path | None, typer.Option(help="Also write one HTML page here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set runs side by side: last figures of every strategy, and the settings that differ."""
    from rich.console import Console

    from secure_fcl.api.comparing import compare_runs

    found, console = compare_runs(runs), Console()
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        console.print(found.results)
        for setting in found.settings:
            print_line(console, f"{setting.key}: {' | '.join(setting.values)}")
    if out is not None:
        page = found.write_page(out)
        print_line(console, f"page: {page}")
