"""report.html with a last line that says what it was made from, so that a cut, edited or older page is told apart."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from evaluation.files import atomic_write
from secure_fcl.running.pins import digest_of

_LAST = re.compile(rb"<!-- page ([0-9a-f]{64}), state\.json ([0-9a-f]{64}) -->\n\Z")


def write_page(folder: Path, page: str) -> Path:
    """Write report.html of a run folder as a whole, made from the folder as it stands; return its path.

    Raises:
        StorageError: the system refused.
    """
    path, content = folder / "report.html", page.encode() + b"\n"
    last = f"<!-- page {hashlib.sha256(content).hexdigest()}, state.json {digest_of(folder / 'state.json')} -->\n"
    atomic_write(path, content + last.encode())
    return path


def stale_report(folder: Path, finished: bool) -> str | None:
    """Return why report.html is not the report of the folder as it stands; None if it is, or there is none.

    `finished`: whether the run is; before that the page may be of an earlier round.
    """
    path = folder / "report.html"
    if not path.exists():
        return None
    content = path.read_bytes()
    last = _LAST.search(content)
    if last is None or hashlib.sha256(content[: last.start()]).hexdigest() != last[1].decode():
        return "was cut or edited"
    if finished and last[2].decode() != digest_of(folder / "state.json"):
        return "is of an earlier state of the run"
    return None
