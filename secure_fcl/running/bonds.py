"""What ties a certificate to the other files of its folder, and to what devices know outside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.errors import EvaluationError
from evaluation.files import read_json, read_jsonl
from privacy import statements, worst
from privacy.cohorts import Spent
from secure_fcl.engines.simulation import SIMULATION
from secure_fcl.errors import RunFolderError
from secure_fcl.running.pins import digest_of

ROLLBACK = "the folder alone; rollback not excluded: a whole folder set back to an older copy fits itself"
#: Written after the certificate, by commands that may be given again; `status.json` while a server is at work.
_LATER = ("certificate.json", "certificate.txt", "state.json", "report.html", "attacks.json", "status.json")
_LATER_FOLDERS = ("tensorboard/", f"{SIMULATION}/shadows/")


def files_of(folder: Path) -> list[dict[str, str]]:
    """Return `file` and `sha256` of every file of a run folder that the run itself wrote before its certificate."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        later = name in _LATER or name.startswith(_LATER_FOLDERS)
        # Locks, and what a process left behind that was ended inside a write.
        if path.is_file() and not path.name.startswith(".") and not later:
            found.append({"file": name, "sha256": digest_of(path)})
    return found


def signed_heads(folder: Path) -> list[dict[str, Any]]:
    """Return the last signed head of every device and row that cost.jsonl holds: `row` and the fields of a `Head`."""
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for record in read_jsonl(folder / "cost.jsonl").records:
        for head in record.get("heads", ()):
            last[record["row"], head["device"]] = {"row": record["row"], **head}
    return [last[key] for key in sorted(last)]


def rollback(heads: list[dict[str, Any]]) -> str:
    """Return who could tell that a whole folder was set back to an older copy."""
    if not heads:
        return ROLLBACK
    devices = len({head["device"] for head in heads})
    return (
        f"{devices} devices signed how far the ledger went when they answered last, and keep it outside the folder: "
        "who asks them can tell an older copy; the folder alone cannot"
    )


def require_not_lower(folder: Path, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise RunFolderError if a certificate in the folder states a larger epsilon than `rows` would, or none at all."""
    path = folder / "certificate.json"
    if not path.exists():
        return
    try:
        stated = {row: (one["epsilon"], int(one["ledger_entries"])) for row, one in read_json(path)["rows"].items()}
    except (EvaluationError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is no certificate ({error}); restore it from a copy of the folder") from error
    for row, (epsilon, entries) in stated.items():
        new = rows.get(row, {"epsilon": 0.0, "ledger_entries": 0})
        lower = new["epsilon"] is not None and (epsilon is None or new["epsilon"] < epsilon)
        if lower or new["ledger_entries"] < entries:
            raise RunFolderError(
                f"{path} states epsilon {epsilon} after {entries} entries for row {row}, and its ledger now gives "
                f"{new['epsilon']} after {new['ledger_entries']}: it was cut; restore it from a copy of the folder"
            )


def recounted(rows: Mapping[str, Mapping[str, Any]], spent: Mapping[str, Spent]) -> Iterator[tuple[str, str | None]]:
    """Yield every row of a certificate, with what was certified says against the stated epsilon, None if nothing.

    `spent`: by row, all that its budget admits to the cohorts that were charged, or the ledger alone without a budget.

    Counted by this program's own accountants: what an accountant of the user's own states is not asked again.
    """
    for row, stated in rows.items():
        said = stated.get("epsilon_built_in", stated["epsilon"])
        found = worst(statements(spent[row], stated["delta_parts"]["accountant"])) if row in spent else None
        if found is None or said is None:
            yield row, None
        elif found.epsilon > said * (1 + 1e-9):
            yield row, f"states epsilon {said} for row {row}, and its ledger and budget give {found.epsilon}"
        else:
            yield row, None
