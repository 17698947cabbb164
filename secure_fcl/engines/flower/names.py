"""What the process that starts a run under Flower, and Flower's apps, call the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from evaluation.files import atomic_write, read_text
from evaluation.strict_json import to_json

JOB = "job"
"""Key of the run's configuration in Flower: the file of the `ServerJob`."""
DEVICES = "devices"
"""Key of a simulated run: the folder of all devices' folders, by party."""
OUTCOME, TICKS, STOP = "outcome.json", "ticks.jsonl", "stop"
"""Files beside the job: how it ended and what a display shows, of the ServerApp; and the wish to stop after a round."""
FOLDER, PARTITION = "folder", "partition-id"
"""Keys of a node's own configuration: its device's folder; in a simulation, its number, which Flower gives."""


@dataclass(frozen=True, kw_only=True)
class ServerJob:
    """What a ServerApp is to do, as a file of the process that asks Flower for it.

    Attributes:
        run: folder of the run.
        server: the server's folder (`secure_fcl.engines.deployed.folder`).
        code: whose code nodes must say that they run; "": any.
        deadline: seconds that any ask may take, training included.
        patience: seconds to wait for all clients before the first row.
    """

    run: str
    server: str
    code: Literal["own", "shipped", ""]
    deadline: float
    patience: float

    def write(self, path: Path) -> None:
        """Write the file that `read` reads."""
        atomic_write(path, to_json(asdict(self)))

    @staticmethod
    def read(path: Path) -> ServerJob:
        """Return what `write` wrote."""
        return ServerJob(**json.loads(read_text(path)))
