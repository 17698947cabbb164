"""A run's records for TensorBoard (extra `tracking`). metrics.jsonl stays the record; this is a copy for looking at."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

from evaluation.files import read_jsonl
from secure_fcl.errors import SecureFclError
from secure_fcl.running.folder import RunFolder

REMEDY = "pip install 'tensorboard>=2.16'"


def write_tensorboard(folder: RunFolder) -> Path:
    """Write the scalars of a run's rounds and tasks to its folder `tensorboard`, replacing what was there.

    Raises:
        SecureFclError: TensorBoard is not installed.
    """
    try:
        library: Any = importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise SecureFclError(f"TensorBoard is not installed; run: {REMEDY}") from error
    path = folder.path / "tensorboard"
    shutil.rmtree(path, ignore_errors=True)
    steps: dict[str, int] = {}
    writer = library.SummaryWriter(str(path))
    for record in read_jsonl(folder.path / "metrics.jsonl").records:
        row = record["row"]
        if record["kind"] == "round":
            steps[row] = steps.get(row, -1) + 1
        for name in ("probe_accuracy", "probe_seen", "saturated", "micro", "seen"):
            if isinstance(record.get(name), int | float):
                step = record["task"] if record["kind"] == "task" else steps.get(row, 0)
                writer.add_scalar(f"{row}/{name}", record[name], step)
    writer.close()
    return path
