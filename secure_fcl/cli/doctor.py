"""What works on this machine: every library is tried by itself, and each row says how to mend it.

Each import runs in a process of its own, so one broken library can neither hide another nor end the program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from secure_fcl.cli.doctor_names import folder_of_crypto, installed_others, sharing
from secure_fcl.cli.tables import print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

TIMEOUT_SECONDS = 60.0
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One library or data set.

    Attributes:
        name: What was tried.
        state: "usable"; "missing"; or "broken": it is there but does not work.
        version: Version, place, or what went wrong.
        remedy: The exact command that helps; empty when usable.
        optional: The program works without it, short of one feature.
    """

    name: str
    state: str
    version: str
    remedy: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Library:
    """A distribution, the module it brings, and the command that installs it.

    Attributes:
        name: Name of the distribution.
        module: What to import.
        remedy: Command that installs it.
        optional: See `Finding`.
        proves: Another distribution that works if this one does, as importing this one imports it.
    """

    name: str
    module: str
    remedy: str
    optional: bool = False
    proves: str = ""


LIBRARIES: tuple[Library, ...] = (
    Library("opacus", "opacus", "pip install 'opacus>=1.5.4,<2'", proves="torch"),
    Library("torch", "torch", "pip install 'torch>=2.6'"),
    Library("dp-accounting", "dp_accounting", "pip install 'dp-accounting>=0.6'"),
    Library("scikit-learn", "sklearn", "pip install 'scikit-learn>=1.4'"),
    Library("flwr", "flwr", "pip install 'flwr[simulation]>=1.41,<1.43'", optional=True),
    Library("safetensors", "safetensors", "pip install 'safetensors>=0.4.5'"),
    Library("mlflow-skinny", "mlflow", "pip install 'mlflow-skinny>=3.5'", optional=True),
    Library("onnxscript", "onnxscript", "pip install 'onnx>=1.17' 'onnxscript>=0.2'", optional=True),
    Library("pandas", "pandas", "pip install 'pandas>=2.2'", optional=True),
    Library("pyarrow", "pyarrow", "pip install 'pyarrow>=17'", optional=True),
    Library("tensorboard", "tensorboard", "pip install 'tensorboard>=2.16'", optional=True),
)
CRYPTO: tuple[Library, ...] = (
    Library("cryptography", "cryptography", "pip install 'cryptography>=48'"),
    Library("tenseal", "tenseal", "pip install 'tenseal>=0.3.17'"),
    Library(
        "crypten",
        "crypten",
        "pip install 'omegaconf>=2.3' 'pyyaml>=6' && pip install --no-deps crypten==0.4.1",
        optional=True,
    ),
)
_ASK_CRYPTO = (
    "import dataclasses, json; from crypto.backends import status; "
    "print(json.dumps([dataclasses.asdict(row) for row in status()]))"
)


def check() -> list[Finding]:
    """Try everything; takes a few seconds and never raises.

    Returns:
        Rows for Python, the libraries (crypto's with a small operation each) and the data sets; also for the system and
        for names that collide, where they are in the way.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        crypto = pool.submit(check_crypto)
        libraries = pool.submit(check_libraries)
        return [check_python(), *check_system(), *check_names(), *libraries.result(), *crypto.result(), *check_data()]


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Row for the interpreter."""
    text = ".".join(map(str, version))
    if version >= _OLDEST_PYTHON:
        return Finding("python", "usable", text)
    return Finding("python", "broken", f"{text} is too old", "python3.11 -m venv .venv")


def check_system(name: str = os.name) -> list[Finding]:
    """Row for a system on which nothing can train; none for the others.

    Args:
        name: as `os.name`.
    """
    if name == "posix":
        return []
    return [Finding("system", "broken", "workers and parties are handed sockets, as only Linux and macOS can",
                    "wsl --install")]  # fmt: skip


def check_names(ours: Path | None = None, others: Mapping[str, Path] | None = None) -> list[Finding]:
    """Row for the package `crypto` where another one lies in its folder; none where all is well.

    Args:
        ours: folder of `crypto`; None: where Python finds it.
        others: where packages `Crypto` should lie, by distribution; None: of what is installed.
    """
    name = sharing(ours or folder_of_crypto(), installed_others() if others is None else others)
    if not name:
        return []
    return [
        Finding(
            "crypto", "broken", f"this file system ignores case, and {name} has written its package Crypto over ours",
            f"pip uninstall {name}; pip install pycryptodomex; {_REINSTALL}",
        )
    ]  # fmt: skip


def check_libraries(libraries: Sequence[Library] = LIBRARIES) -> list[Finding]:
    """Import each library in a process of its own, unless an earlier one has proved that it works."""
    rows: list[Finding] = []
    proven: set[str] = set()
    for library in libraries:
        rows.append(check_library(library, proven=library.name in proven))
        if rows[-1].state == "usable":
            proven.add(library.proves)
    return rows


def check_library(library: Library, *, proven: bool = False) -> Finding:
    """Import one library in a process of its own; only look up its version if it is `proven` to work."""
    try:
        version = metadata.version(library.name)
    except metadata.PackageNotFoundError:
        return Finding(library.name, "missing", "", library.remedy, library.optional)
    problem = "" if proven else _run(f"import {library.module}")[1]
    if problem:
        return Finding(library.name, "broken", f"{version}: {problem}", library.remedy, library.optional)
    return Finding(library.name, "usable", version, optional=library.optional)


def check_crypto(program: str = _ASK_CRYPTO) -> list[Finding]:
    """Ask `crypto.backends` in a process of its own; it tries a small operation with each library.

    Args:
        program: What that process runs: it prints the rows as JSON.
    """
    output, problem = _run(program)
    answers = {} if problem else _answers(output)
    rows = []
    for library in CRYPTO:
        try:
            version = metadata.version(library.name)
        except metadata.PackageNotFoundError:
            rows.append(Finding(library.name, "missing", "", library.remedy, library.optional))
            continue
        usable, detail = answers.get(library.name, (False, problem or "crypto.backends said nothing about it"))
        if usable:
            rows.append(Finding(library.name, "usable", version, optional=library.optional))
        else:
            rows.append(Finding(library.name, "broken", f"{version}: {detail}", library.remedy, library.optional))
    return rows


def check_data() -> list[Finding]:
    """Rows for the data sets; HAPT is read and compared with its checksum."""
    try:
        from secure_fcl.data import list_datasets, verify

        rows = []
        for status in list_datasets():
            state = "missing" if status.state == "missing" else "usable"
            rows.append(Finding(f"data: {status.name}", state, status.where, status.remedy, optional=True))
        damage = [one for one in verify("hapt") if one.state != "verified"]
    except Exception as error:  # whatever is wrong here, the other rows must still be shown
        return [Finding("data", "broken", f"{type(error).__name__}: {error}", _REINSTALL)]
    if damage:
        broken = Finding("data: hapt", "broken", damage[0].detail, _REINSTALL)
        return [broken, *(row for row in rows if row.name != broken.name)]
    return rows


def healthy(rows: Sequence[Finding]) -> bool:
    """Say whether everything that is not optional is usable."""
    return all(row.state == "usable" or row.optional for row in rows)


def render(rows: Sequence[Finding], console: Console) -> None:
    """Print what is usable as a table, and below it a paragraph for each thing that is not: where, and what mends it.

    Places and commands are never broken, so that they can be copied.
    """
    states = {
        row.name: f"{row.state} (optional)" if row.optional and row.state != "usable" else row.state for row in rows
    }
    print_table(
        console, "What works here", ("what", "state", "version"),
        [(row.name, states[row.name], "" if _is_place(row.version) else row.version) for row in rows],
        text_columns=3,
    )  # fmt: skip
    for row in rows:
        if row.state != "usable":
            where = f" ({row.version})" if row.version else ""
            print_line(console, f"{row.name}: {states[row.name]}{where}; to mend it: {row.remedy}")


def _is_place(version: str) -> bool:
    """Whether this says where files are or should be, and is no version or error."""
    return Path(version).is_absolute()


_REINSTALL = "pip install --force-reinstall --no-deps secure-fcl"


def _run(program: str) -> tuple[str, str]:
    """Standard output of a new interpreter, and what went wrong ("" when nothing did)."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", program],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {TIMEOUT_SECONDS:g} s"
    except OSError as error:
        return "", str(error)
    if done.returncode == 0:
        return done.stdout, ""
    lines = done.stderr.strip().splitlines()
    return "", lines[-1][:300] if lines else f"exit code {done.returncode}"


def _answers(output: str) -> dict[str, tuple[bool, str]]:
    """The last line of the output as name -> (usable, detail); libraries may print lines before it."""
    try:
        rows = json.loads(output.strip().splitlines()[-1])
        return {row["name"]: (bool(row["usable"]), str(row["detail"])) for row in rows}
    except (ValueError, LookupError, TypeError):
        return {}
