"""`secure-fcl study`: run a grid, say where it stands, report it. `study FILE` is `study run FILE`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from secure_fcl.cli.shared import STOPPED, AsJson, one_sentence, tell
from secure_fcl.cli.tables import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from secure_fcl.studies import Chosen, Outcome, Study
    from secure_fcl.studies.running import Ahead

File = Annotated[Path, typer.Argument(help="TOML file with the tables base and grid.")]
Reported = Annotated[Path, typer.Argument(help="File of the study, or its folder.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the study; default: studies/<name of the file>.")]
#: Some cells failed; the others have their results.
INCOMPLETE = 1


class _RunByDefault(TyperGroup):
    """A group whose first word, where it is no command of its own, is the study file of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front of what names no command."""
        known = {*self.commands, "--help"}
        return super().parse_args(ctx, args if not args or args[0] in known else ["run", *args])


study_app = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="A grid of runs over any keys: run it (`study FILE`), see where it stands, report it.",
)


@study_app.command("run")
def run(
    file: File,
    out: Out = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; default: as many as keep within the cores.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Run every cell that has no result; the same command continues, tries failed cells again, and adds new ones.

    Ctrl-C stops after the rounds under way. Exit code 1: some cells failed, and are listed. With
    \[private_selection], only the best run is kept and shown.
    """
    with one_sentence():
        from rich.console import Console

        from secure_fcl.runner import StopRequest
        from secure_fcl.running.loop import Interrupted
        from secure_fcl.studies import Outcome, open_study

        console, stop = Console(stderr=as_json), StopRequest()
        found, folder = open_study(file), out or Path("studies") / file.stem
        try:
            with stop.listening(tell):
                done = _work(found, folder, console, stop, jobs)
        except Interrupted:
            print_line(console, f"stopped; run the same command again to continue {folder}")
            raise typer.Exit(STOPPED) from None
        _print(done, as_json)
        if isinstance(done, Outcome) and done.failed:
            raise typer.Exit(INCOMPLETE)


@study_app.command("status")
def status(
    study: Reported,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Say where every cell stands and how long the rest may take; nothing of a study that chooses privately."""
    with one_sentence():
        from secure_fcl.studies import status as look

        found = look(_folder(study, out))
        if as_json:
            typer.echo(json.dumps(found, indent=2))
        else:
            _print_status(found)


@study_app.command("report")
def report(file: Reported, out: Out = None, as_json: AsJson = False) -> None:
    """Write tables, plot and page from the runs that are there, and print them; of a folder, only the page."""
    with one_sentence():
        from secure_fcl.errors import RunFolderError
        from secure_fcl.studies import choose, open_study
        from secure_fcl.studies.notes import WINNER, require_study
        from secure_fcl.studies.results import write_study_page
        from secure_fcl.studies.running import reported

        if file.is_dir():
            require_study(file)
            page = write_study_page(file)
            typer.echo(json.dumps({"page": str(page)}, indent=2) if as_json else f"page: {page}")
            return
        found, folder = open_study(file), _folder(file, out)
        if found.choice is None:
            _print(reported(found.cells, folder), as_json)
        elif (folder / WINNER).exists():
            _print(choose(found, folder), as_json)
        else:
            raise RunFolderError(f"{folder} chooses privately and has not finished; nothing is shown before that")


def _folder(study: Path, out: Path | None) -> Path:
    return out or (study if study.is_dir() else Path("studies") / study.stem)


def _work(
    study: Study, folder: Path, console: Console, stopped: Callable[[], bool], jobs: int | None
) -> Outcome | Chosen:
    from secure_fcl.studies import choose, conduct

    def say(text: str) -> None:
        print_line(console, text)

    if study.choice is not None:
        return choose(study, folder, say, stopped, jobs)
    with _progress(console) as watch:
        return conduct(study.cells, folder, say, stopped, jobs, watch)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[Ahead], None]]:
    """Yield a watcher that shows how far a study is and the time left: a bar, or a line for every cell that ends."""
    if console.is_terminal:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            yield lambda ahead: bar.update(task, completed=ahead.share, description=f"{ahead.text}, {_left(ahead)}")
        return
    ended = 0

    def line(ahead: Ahead) -> None:
        nonlocal ended
        if ahead.ended != ended:
            ended = ahead.ended
            print_line(console, f"{ahead.text}, {_left(ahead)}")

    yield line


def _left(ahead: Ahead) -> str:
    from secure_fcl.studies.running import in_words

    return "time left not known yet" if ahead.seconds_left is None else f"about {in_words(ahead.seconds_left)} left"


def _print(done: Outcome | Chosen, as_json: bool) -> None:
    from secure_fcl.cli.study_tables import print_chosen, print_outcome
    from secure_fcl.studies import Chosen

    if as_json:
        from evaluation.strict_json import to_json

        typer.echo(to_json(done.to_json(), indent=2))
    elif isinstance(done, Chosen):
        print_chosen(done)
    else:
        print_outcome(done)


def _print_status(found: dict[str, Any]) -> None:
    from secure_fcl.cli.study_tables import print_status

    print_status(found)
