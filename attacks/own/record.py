"""What an audit rests on: digests of every input, versions of libraries, and the commit of the working folder."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attacks.errors import AuditInvalid

_LIBRARIES = ("secure-fcl", "torch", "numpy", "scipy", "safetensors")


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of every file, in hexadecimal, by its path.

    Raises:
        AuditInvalid: a file cannot be read.
    """
    found = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise AuditInvalid(f"{path} cannot be read ({error.strerror}); check the path") from error
    return found


def code_of(reference: str) -> dict[str, str | None]:
    """Reference, file and SHA-256 of a `module:function` that was imported; modules that it imports are not covered."""
    file = getattr(sys.modules.get(reference.partition(":")[0]), "__file__", None)
    found = None if file is None else digests([Path(file)])
    return {"reference": reference, "path": file, "digest": None if found is None or file is None else found[file]}


def versions() -> dict[str, str]:
    """Python and the libraries that computed something."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def commit_of_code(file: Path) -> str | None:
    """Commit of the work tree that a file of code is tracked in, as `commit_of`; None where it is installed."""
    # A virtual environment may lie inside somebody's work tree, which ignores it.
    try:
        tracked = subprocess.run(
            ["git", "-C", str(file.parent), "ls-files", "--error-unmatch", file.name],
            capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit_of(file.parent) if tracked.returncode == 0 else None


def commit_of(folder: Path) -> str | None:
    """Commit of the git work tree around a folder, marked where files differ from it; None without one."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return None if not commit else commit + (" with changes" if git("status", "--porcelain") else "")
