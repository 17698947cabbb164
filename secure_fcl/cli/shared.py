"""What the commands share: options, exit codes, and one line on stderr for every error that is raised on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Argument(help="TOML configuration; all defaults without it.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override one key; may be repeated.")
]
DataDir = Annotated[str, typer.Option("--data-dir", help="Folder of data files.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import the code that the run's configuration names as module:name.")
]
Journals = Annotated[
    Path | None,
    typer.Option(
        envvar="SECURE_FCL_JOURNALS",
        help="Folder outside the run's, in which each device keeps how far the ledger went when it answered last.",
    ),
]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table; everything else on stderr.")]
REFUSED = 2
STOPPED = 130


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn every error raised on purpose into one line on stderr and exit code 2."""
    from attacks.errors import AttackError
    from crypto.errors import CryptoError
    from evaluation.errors import EvaluationError
    from privacy.errors import PrivacyError
    from secure_fcl.errors import SecureFclError

    try:
        yield
    except (SecureFclError, CryptoError, PrivacyError, AttackError, EvaluationError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its permissions and the disk")
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(STOPPED) from None


def tell(text: str) -> None:
    """Print from a signal's handler: it may run in the middle of an import or a write, where no library is safe."""
    os.write(1, f"{text}\n".encode())


def fail(sentence: str) -> None:
    """Print one sentence on stderr and leave with code 2."""
    typer.echo(f"secure-fcl: {sentence}", err=True)
    raise typer.Exit(REFUSED)
