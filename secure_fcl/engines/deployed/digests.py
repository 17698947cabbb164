"""What server and devices must agree on before a row begins, as one digest."""

from __future__ import annotations

import hashlib

from evaluation.strict_json import to_json
from secure_fcl.config import Config
from secure_fcl.config.outside import described
from secure_fcl.streams.public import PublicCalendar

LOCAL_KEYS = ("engine", "identities", "workers", "threads", "device", "data", "flower")
"""Top-level keys and sections that are each machine's own business: they change nothing that is released.

What a run must know of the data (shape, classes, tasks, bounds) stands in the calendar.
"""

_FORMAT = "secure-fcl run 1"


def run_digest(config: Config, calendar: PublicCalendar) -> str:
    """Return the SHA-256 of a run's public configuration, calendar, and code of the user's own that both name."""
    settings = config.model_dump(mode="json", exclude=set(LOCAL_KEYS))
    code = [f"{one.reference} {one.digest}" for one in described(settings)]
    return hashlib.sha256(to_json([_FORMAT, settings, calendar.digest, code]).encode()).hexdigest()
