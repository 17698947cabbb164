"""What lies in a run's folder, read once, and never more than is there: a run in progress has partial files.

A file that is missing or cannot be read becomes None or an empty tuple, and `Run.problems` says what was
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from evaluation.errors import EvaluationError
from evaluation.files import Record, read_json, read_jsonl, read_text
from evaluation.matrix import AccuracyMatrix
from evaluation.partial import PartialFolder
from evaluation.tasks import task_name


def number(value: object) -> float | None:
    """`value` as a float if it is a number (not a boolean), else None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def mapping(value: object) -> Record:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Record]:
    """The JSON objects in the list `value`, in order; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """The items of the list `value` as text; none if it is no list."""
    return [str(item) for item in value] if isinstance(value, list) else []


@dataclass(frozen=True)
class Run:
    """The files of one run folder. Metrics and costs are records in the order written."""

    folder: Path
    metrics: tuple[Record, ...] = ()
    cost: tuple[Record, ...] = ()
    certificate: Record | None = None
    certificate_text: str | None = None
    attacks: Record | None = None
    environment: Record | None = None
    config: str | None = None
    finished: bool | None = None
    problems: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows, in the order in which they first occur."""
        named = [record["row"] for record in (*self.metrics, *self.cost) if isinstance(record.get("row"), str)]
        return tuple(dict.fromkeys([*named, *mapping(mapping(self.certificate).get("rows"))]))

    @property
    def task_names(self) -> tuple[str, ...]:
        """Public names of the tasks in order, as far as the run recorded them."""
        return tuple(texts(mapping(self.environment).get("tasks")))

    def task_name(self, task: object) -> str:
        """What a reader calls the task with this 0-based number; "task ?" if it is no number."""
        place = number(task)
        return "task ?" if place is None or not place.is_integer() else task_name(int(place), self.task_names)

    def records(self, kind: str, row: str) -> list[Record]:
        """The metric records of one kind and row."""
        return [record for record in self.metrics if record.get("kind") == kind and record.get("row") == row]

    def tasks(self, row: str) -> dict[int, Record]:
        """The last record of each task (0-based) of `row`, in task order."""
        found = {r["task"]: r for r in self.records("task", row) if isinstance(r.get("task"), int) and r["task"] >= 0}
        return dict(sorted(found.items()))

    def matrix(self, row: str) -> AccuracyMatrix | None:
        """The accuracy matrix of `row` as far as measured, None before its first task or if malformed."""
        tasks = self.tasks(row)
        if not tasks:
            return None
        rows: list[list[float | None]] = [[] for _ in range(max(tasks) + 1)]
        for task, record in tasks.items():
            accuracies = record.get("accuracy")
            rows[task] = [number(share) for share in accuracies] if isinstance(accuracies, list) else []
        try:
            return AccuracyMatrix.from_rows(rows)
        except EvaluationError:
            return None

    def guarantee(self, row: str) -> Record | None:
        """The certificate's entry for `row`, None if there is none."""
        return mapping(mapping(self.certificate).get("rows")).get(row)


def read_run(folder: Path) -> Run:
    """Read whatever the run folder holds.

    Raises:
        StorageError: `folder` is not a folder.
    """
    files = PartialFolder(folder, "run")

    def lines(name: str) -> tuple[Record, ...]:
        found = files.read(name, read_jsonl)
        if found is None:
            return ()
        if found.torn:
            files.tell(found.torn)
        records: tuple[Record, ...] = found.records
        return records

    def table(name: str) -> Record | None:
        value = files.read(name, read_json)
        if value is not None and not isinstance(value, dict):
            files.tell(f"{name}: not a JSON object; run the step that writes it again")
        return value if isinstance(value, dict) else None

    finished = mapping(table("state.json")).get("finished")
    return Run(
        folder=folder,
        metrics=lines("metrics.jsonl"),
        cost=lines("cost.jsonl"),
        certificate=table("certificate.json"),
        certificate_text=files.read("certificate.txt", read_text),
        attacks=table("attacks.json"),
        environment=table("environment.json"),
        config=files.read("config.toml", read_text),
        finished=finished if isinstance(finished, bool) else None,
        problems=tuple(files.problems),
    )
