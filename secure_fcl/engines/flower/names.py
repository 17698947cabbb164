"""What the process that starts a run under Flower, and Flower's apps, call the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluation.files import atomic_write, read_text
from evaluation.strict_json import to_json

JOB = "job"
"""Key of the run's configuration in Flower: the file of the `ServerJob`."""
DEVICES = "devices"
"""Key of a simulated run: the folder of all devices' folders, by party."""
FOLDER, PARTITION = "folder", "partition-id"
"""Keys of a node's own configuration: its device's folder; in a simulation, its number, which Flower gives."""


@dataclass(frozen=True, kw_only=True)
class ServerJob:
    """What a ServerApp is to do, as a file of the process that asks Flower for it.

    Attributes:
        run: folder of the run.
        roster: file of everybody's public keys.
        deadline: seconds that any ask may take, training included.
        patience: seconds to wait for all clients before the first row.
    """

    run: str
    roster: str
    deadline: float
    patience: float

    def write(self, path: Path) -> None:
        """Write the file that `read` reads."""
        atomic_write(path, to_json(asdict(self)))

    @staticmethod
    def read(path: Path) -> ServerJob:
        """Return what `write` wrote."""
        return ServerJob(**json.loads(read_text(path)))
