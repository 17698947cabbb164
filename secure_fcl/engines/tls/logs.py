"""What the carrier logs: one JSON object a line, of named fields that cannot hold a secret or a device's data."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

LOG = logging.getLogger("secure_fcl.tls")
PROGRAM = logging.getLogger("secure_fcl")
FIELDS = frozenset(
    ("party", "address", "error", "reason", "ask", "row", "slot", "round", "bytes", "seconds", "days", "names", "count")
)
"""Names of all fields beside time, level and event. A message's content, an error's text and a trace have none."""
MAX_TEXT = 200

Value = str | int | float | list[str]


def log(level: int, event: str, /, **fields: Value) -> None:
    """Log one event.

    Raises:
        KeyError: a field that is not one of `FIELDS`.
    """
    if unknown := fields.keys() - FIELDS:
        raise KeyError(f"the log has no field {min(unknown)!r}")
    LOG.log(level, event, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Writes time (UTC, ISO 8601), level, event and fields; texts are cut to `MAX_TEXT` characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line. Whatever else hangs on the record, an exception for one, is left out."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": time, "level": record.levelname.lower(), "event": _cut(record.getMessage())}
        fields: dict[str, Value] = getattr(record, "fields", {})
        return json.dumps(line | {name: _cut(value) for name, value in fields.items()})


class LineFormatter(logging.Formatter):
    """Writes the same for people: time, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields: dict[str, Value] = getattr(record, "fields", {})
        rest = " ".join(f"{name}={_cut(value)}" for name, value in fields.items())
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        return f"{time} {_cut(record.getMessage())}{' ' if rest else ''}{rest}"


def log_to(stream: TextIO | None = None, *, as_json: bool, level: int = logging.INFO) -> None:
    """Send the program's log to a stream, standard error without one; a second call replaces the first."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else LineFormatter())
    PROGRAM.handlers[:] = [handler]
    PROGRAM.setLevel(level)
    PROGRAM.propagate = False


def _cut(value: object) -> object:
    if isinstance(value, str):
        return "".join(c if c.isprintable() else "?" for c in value[:MAX_TEXT])
    return [_cut(each) for each in value] if isinstance(value, list) else value
