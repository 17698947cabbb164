"""Whether the files of a run folder belong together: state, records, ledgers, arrays and certificate pin each other.

What is found here is what was changed, lost or set back in one file or some. A whole folder set back to an older copy
fits itself: only who keeps something outside it can tell (`secure_fcl.engines.journals`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.errors import EvaluationError
from evaluation.files import read_json
from evaluation.strict_json import from_json
from privacy import Ledger, PrivacyError
from privacy.cohorts import Spent
from secure_fcl.config import load_tree
from secure_fcl.engines.simulation import SIMULATION, file_stem
from secure_fcl.errors import RunFolderError, SecureFclError
from secure_fcl.rows.budgets import RowBudget
from secure_fcl.running.array_files import array_files, what_is_wrong
from secure_fcl.running.bonds import ROLLBACK, recounted, rollback, signed_heads
from secure_fcl.running.device_heads import contradicted
from secure_fcl.running.folder import Progress, RunFolder
from secure_fcl.running.pins import PENDING, Pins, digest_of
from secure_fcl.running.report_file import stale_report

RESTORE = "restore it from a copy of the folder, or start a new run"
REPORT, ATTACKS = "report.html", "attacks.json"
_SHADOWS = f"{SIMULATION}/shadows/"
#: How a file that a command makes anew is mended.
_REMEDIES = {REPORT: "secure-fcl report", ATTACKS: "secure-fcl audit"}
UNPINNED = (
    "{} carries no pins, as folders of earlier versions do not: that state, records, ledgers, arrays and certificate "
    "belong together is not checked, but for the ledgers against the certificate"
)


@dataclass(frozen=True)
class Misfit:
    """One file that does not fit the others, and the sentence that says so, with the remedy."""

    file: str
    sentence: str


@dataclass
class Findings:
    """What was checked of a run folder, what does not fit, and what could not be checked."""

    pinned: bool = True
    held: list[str] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def require_fitting(folder: RunFolder, but: Collection[str] = ()) -> Findings:
    """Check a folder and return what was found; files named in `but` are about to be made anew and may be anything.

    The caller holds the folder: a run that goes on meanwhile would not fit.

    Raises:
        RunFolderError: a file does not fit the others; names it and the remedy.
    """
    found = findings(folder)
    misfits = [one for one in found.misfits if one.file not in but]
    if misfits:
        more = f" ({len(misfits) - 1} more: secure-fcl verify {folder.path})" if len(misfits) > 1 else ""
        raise RunFolderError(misfits[0].sentence + more)
    return found


def require_continuable(folder: RunFolder, but: Collection[str] = (REPORT,)) -> Progress:
    """Return where a run stands that may go on from there; `but`: as in `require_fitting`.

    Raises:
        RunFolderError: as `require_fitting`; or the folder carries no pins, and the run is not finished.
    """
    found = require_fitting(folder, but)
    progress = folder.recall()
    if not found.pinned and not progress.finished:
        raise RunFolderError(
            f"{UNPINNED.format(folder.path)}; finish it with the version that began it, or start a new run"
        )
    return progress


def findings(folder: RunFolder, journals: Path | None = None, recount: bool = False) -> Findings:
    """Return all that can be said of whether a folder's files belong together; changes nothing.

    Args:
        folder: of the run.
        journals: folder of its devices' journals, where there is one at hand.
        recount: whether every epsilon on the certificate is computed anew from the ledger, which may take seconds.
    """
    found = Findings()
    _check_arrays(folder.path, found)
    try:
        progress, pins = folder.state()
        about, tree = folder.about(), load_tree(folder.path / "config.toml")
    except (SecureFclError, EvaluationError) as error:
        # Without these there is nothing to compare the rest with.
        said = str(error)
        found.misfits.append(Misfit("", said if "restore" in said else f"{said}; {RESTORE}"))
        return found
    check = _Check(folder, progress, pins or Pins(), tree, found)
    ledgers = check.run(pinned=pins is not None, about=about)
    check.devices(ledgers, str(about.get("run")), journals)
    check.blame_state()
    if recount and all(one.file == REPORT for one in found.misfits):
        check.recount(ledgers)
    return found


def unpinned(folder: RunFolder) -> str | None:
    """Return the sentence that stands in for the checks of a folder of before there were pins; None for any other.

    Raises:
        RunFolderError: as `RunFolder.state`.
    """
    return None if folder.state()[1] is not None else UNPINNED.format(folder.path)


def _check_arrays(path: Path, found: Findings) -> None:
    files = list(array_files(path))
    for file in files:
        if (why := what_is_wrong(file)) is not None:
            name = file.relative_to(path).as_posix()
            remedy = "delete it, and an audit makes it anew" if name.startswith(_SHADOWS) else RESTORE
            found.misfits.append(Misfit(name, f"{file} {why}; nothing of it was read; {remedy}"))
    if not found.misfits:
        found.held.append(f"{len(files)} array files hold plain arrays, and no pickle")


@dataclass
class _Check:
    """One check of one folder: where its run stands, what its state pins, its configuration as written."""

    folder: RunFolder
    progress: Progress
    pins: Pins
    tree: dict[str, Any]
    found: Findings

    def run(self, pinned: bool, about: dict[str, Any]) -> dict[str, Ledger]:
        """Check all but what devices say, and return the ledgers by row."""
        self.found.pinned = pinned
        if pinned:
            self.found.held.append("state.json fits its own digest")
            self._files()
            self._records()
            self._transcript()
        elif about.get("pinned"):
            self._misfit("state.json", "lacks the pins that this run began with")
        else:
            self.found.unchecked.append(UNPINNED.format("the folder"))
        ledgers = self._ledgers(pinned)
        certified = self._certificate(ledgers)
        if pinned and (why := stale_report(self.folder.path, self.progress.finished)) is not None:
            self._misfit(REPORT, why)
        self._left_over({*self.pins.files, *self.pins.ledgers, *certified})
        return ledgers

    def devices(self, ledgers: dict[str, Ledger], run: str, journals: Path | None) -> None:
        """Check the ledgers against what devices signed, and against their journals where these are at hand."""
        try:
            heads = signed_heads(self.folder.path)
        except (EvaluationError, KeyError, TypeError, AttributeError):
            # The records are damaged, which is said already.
            return
        wrong = list(contradicted(heads, ledgers, run, journals))
        for row, why in wrong:
            self._misfit(f"ledger/{file_stem(row)}.jsonl", why)
        if heads and not wrong:
            self.found.held.append(f"{len(heads)} signed heads of devices lie on the ledgers")
        there = journals is not None and (journals / run).is_dir()
        if journals is not None and not there:
            self._misfit("", f"has no journal in {journals}, so nothing tells whether it is the newest copy")
        elif there and not wrong:
            self.found.held.append(f"no journal in {journals} knows of more than the ledgers: no older copy")
        elif not there:
            told = f"{rollback(heads)} (name the folder of their journals: --journals)" if heads else ROLLBACK
            self.found.unchecked.append(told)

    def blame_state(self) -> None:
        """Put the state in front where it is what does not fit: it is older, or at odds with most of what it pins."""
        names = {*self.pins.files, *self.pins.ledgers}
        wrong = {one.file for one in self.found.misfits} & names
        if len(wrong) > len(names) / 2:
            self._misfit("state.json", f"fits {len(names) - len(wrong)} of {len(names)} files: it is of another copy")
        self.found.misfits.sort(key=lambda one: one.file != "state.json")

    def recount(self, ledgers: dict[str, Ledger]) -> None:
        """Compute every epsilon of the certificate anew, from ledgers and budgets as they stand."""
        path = self.folder.path / "certificate.json"
        spent = {row: self._certified(row, ledger) for row, ledger in ledgers.items()}
        for row, why in recounted(read_json(path)["rows"] if path.exists() else {}, spent):
            if why is not None:
                self._misfit("certificate.json", why)
            else:
                self.found.held.append(
                    f"certificate.json: row {row} states no less epsilon than its ledger and budget give"
                )

    def _certified(self, row: str, ledger: Ledger) -> Spent:
        path = self.folder.budget_path(row)
        try:
            budget = read_json(path) if path.exists() else None
            return ledger.spent() if budget is None else RowBudget.from_json(budget).certified(ledger.spent())
        except (KeyError, TypeError, ValueError, AttributeError, PrivacyError) as error:
            self._misfit(str(path.relative_to(self.folder.path)), f"is not a budget ({error})")
            return ledger.spent()

    def _misfit(self, name: str, why: str) -> None:
        if any(one.file == name for one in self.found.misfits):
            return
        remedy = f"make it anew: {_REMEDIES[name]} {self.folder.path}" if name in _REMEDIES else RESTORE
        self.found.misfits.append(Misfit(name, f"{self.folder.path / name} {why}; {remedy}"))

    def _same(self, name: str, digest: str, by: str) -> bool:
        """Check a whole file against its digest, and say what is wrong."""
        path = self.folder.path / name
        if not path.resolve().is_relative_to(self.folder.path.resolve()):
            self._misfit(name, f"is no file of the folder, and {by} names it")
        elif not path.is_file():
            if name.startswith(f"{SIMULATION}/") and not (self.folder.path / SIMULATION).exists():
                return False
            self._misfit(name, f"is missing, and {by} pins it")
        elif digest_of(path) != digest:
            self._misfit(name, f"is not what the run wrote (SHA-256 is not what {by} pins)")
        else:
            return True
        return False

    def _files(self) -> None:
        count = 0
        for name, digest in self.pins.files.items():
            if name in ("metrics.jsonl", "cost.jsonl"):
                continue
            if digest == PENDING:
                self.found.unchecked.append(f"{name}: it was being replaced when the command that wrote it was ended")
            else:
                count += self._same(name, digest, "state.json")
        if (self.folder.path / ATTACKS).exists() and ATTACKS not in self.pins.files:
            self._misfit(ATTACKS, "is of another run: no audit of this one wrote it")
        self.found.held.append(f"{count} files are what state.json pins")

    def _records(self) -> None:
        for name, count in (("metrics.jsonl", self.progress.metrics), ("cost.jsonl", self.progress.costs)):
            path = self.folder.path / name
            raw = path.read_bytes() if path.is_file() else b""
            *lines, torn = raw.split(b"\n")
            digest = _sha256(b"".join(line + b"\n" for line in lines[:count]))
            # The record of a round that was ended before its commit; it is written anew.
            spare = 0 if self.progress.finished else 1
            if not path.is_file() and name in self.pins.files:
                self._misfit(name, "is missing, and state.json pins it")
            elif len(lines) < count:
                self._misfit(
                    name, f"has {len(lines)} whole records, and state.json pins {count}: it was cut or set back"
                )
            elif digest != self.pins.files.get(name, _sha256(b"")):
                self._misfit(
                    name, f"is not what the run wrote (its first {count} records are not what state.json pins)"
                )
            elif len(lines) > count + spare or (torn and self.progress.finished):
                self._misfit("state.json", f"is older than {name}: it pins {count} records of {len(lines)}")
            else:
                self.found.held.append(f"{name}: {count} records, as state.json pins")

    def _transcript(self) -> None:
        path = self.folder.path / "cost.jsonl"
        lines = path.read_bytes().split(b"\n")[: self.progress.costs] if path.is_file() else []
        records = [record for record in map(_record, lines) if "file" in record and "sha256" in record]
        last = {record["row"]: record["file"] for record in records}
        count = 0
        for record in records:
            name = record["file"]
            spare = self.tree.get("transcript") == "latest" and last[record["row"]] != name
            if not (spare and not (self.folder.path / name).exists()):
                count += self._same(name, record["sha256"], "cost.jsonl")
        self.found.held.append(f"{count} models and sums are what cost.jsonl pins")

    def _ledgers(self, pinned: bool) -> dict[str, Ledger]:
        rows = [row for row in self.tree.get("rows", ()) if isinstance(row, str)]
        ledgers = {}
        for number, row in enumerate(rows):
            path = self.folder.ledger_path(row)
            name = path.relative_to(self.folder.path).as_posix()
            try:
                with Ledger(path) as ledger:
                    ledgers[row] = ledger
            except PrivacyError as error:
                self.found.misfits.append(Misfit(name, str(error)))
                continue
            if pinned:
                self._ledger(name, ledger, number, row)
        return ledgers

    def _ledger(self, name: str, ledger: Ledger, number: int, row: str) -> None:
        """Check one ledger against the state, which it may outrun by the charges of the round that was interrupted."""
        pin, progress = self.pins.ledgers.get(name), self.progress
        count = pin.entries if pin else 0
        if len(ledger) < count:
            self._misfit(name, f"has {len(ledger)} entries, and state.json pins {count}: it was cut or set back")
            return
        if pin and count and ledger.heads[count - 1] != pin.head:
            self._misfit(name, f"is another ledger: its entry {count} is not the one that state.json pins")
            return
        now = {"run": self.folder.identity("run"), "row": row, "slot": progress.slot, "round": progress.round}
        for place, labels in enumerate(ledger.labels[count:], count + 1):
            if number != progress.row or any(labels.get(key, value) != value for key, value in now.items()):
                self._misfit(
                    "state.json", f"is older than {name}: entry {place} is of a round that it does not stand at"
                )
                return
        if pin or len(ledger):
            more = f", and {len(ledger) - count} of a round that was ended before its commit" * (len(ledger) > count)
            self.found.held.append(f"{name}: {count} entries, head {ledger.last_hash[:12]}, as state.json pins{more}")

    def _certificate(self, ledgers: dict[str, Ledger]) -> set[str]:
        """Check the certificate against the ledgers and the files; return the names of those that it pins."""
        path = self.folder.path / "certificate.json"
        if not path.is_file():
            if self.progress.finished and "certificate.json" not in self.pins.files:
                self._misfit("certificate.json", "is missing from a finished run")
            return set()
        try:
            document = read_json(path)
            rows, files = document["rows"], {one["file"]: one["sha256"] for one in document.get("files", ())}
            said = {row: (int(one["ledger_entries"]), str(one["ledger_head"])) for row, one in rows.items()}
        except (EvaluationError, AttributeError, KeyError, TypeError, ValueError) as error:
            self._misfit("certificate.json", f"is no certificate ({error})")
            return set()
        if any(one.file == "certificate.json" for one in self.found.misfits):
            # What another run's or an edited certificate says is no measure for the rest.
            return {"certificate.json", *files}
        count = len(self.tree.get("rows", ()))
        if not self.progress.finished and self.progress.row < count:
            self._misfit("state.json", "is older than certificate.json: it says that rows are still to be run")
        for row, (entries, head) in said.items():
            heads = ledgers[row].heads if row in ledgers else ()
            if len(heads) != entries or (heads and heads[-1] != head):
                name = f"ledger/{file_stem(row)}.jsonl"
                self._misfit(
                    name, f"has {len(heads)} entries and does not end as certificate.json says, after {entries}"
                )
            else:
                self.found.held.append(f"certificate.json: row {row} is of the ledger as it stands, {entries} entries")
        if self.progress.finished and files:
            kept = [self._same(name, digest, "certificate.json") for name, digest in files.items()]
            self.found.held.append(f"{sum(kept)} of {len(files)} files are what certificate.json pins")
        return {"certificate.json", "certificate.txt", *files}

    def _left_over(self, pinned: set[str]) -> None:
        path = self.folder.path
        if not (path / SIMULATION).exists() and any(name.startswith(f"{SIMULATION}/") for name in pinned):
            self.found.unchecked.append(f"{SIMULATION}/: the whole folder was left out, as for publication")
        known = pinned | {"state.json", REPORT}
        others = sorted(name for name in _names(path) if name not in known and not name.startswith("transcript/"))
        if others:
            shown = ", ".join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
            self.found.unchecked.append(f"{len(others)} files that nothing pins: {shown}")


def _names(path: Path) -> Iterator[str]:
    for file in path.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            yield file.relative_to(path).as_posix()


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = from_json(line.decode())
    except (UnicodeDecodeError, EvaluationError):
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
