"""A run's folder: everything in it is appended or replaced as a whole, so that a run can be resumed."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from evaluation.errors import EvaluationError
from evaluation.files import JsonLines, atomic_write, read_json, read_jsonl, read_text
from evaluation.strict_json import to_json
from privacy import Ledger
from secure_fcl.config import Config, dump_config, load_config, load_tree
from secure_fcl.config.outside import described, keep_pickled
from secure_fcl.data import kept
from secure_fcl.engines.simulation import SIMULATION, file_stem, load_arrays, save_arrays
from secure_fcl.errors import ConfigInvalid, RunFolderError, RunInUse
from secure_fcl.references import look_in
from secure_fcl.running.format import FORMAT, require_readable
from secure_fcl.running.pins import PENDING, Pins, digest_of, read_state, state_text
from secure_fcl.strategies import State

#: Sub-folder of objects that a run was handed live, pickled.
KEPT = "code"
_PACKAGES = ("secure-fcl", "torch", "opacus", "tenseal", "crypten", "dp-accounting", "numpy", "scipy", "cryptography")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: the next round to run, and how many records belong to what is done."""

    row: int = 0
    slot: int = 0
    round: int = 0
    metrics: int = 0
    costs: int = 0
    finished: bool = False


class RunFolder:
    """Reads and writes one run folder. Open it through `locked`, so that no two processes share it."""

    def __init__(self, path: Path, trust_code: bool = False) -> None:
        """Name a folder; `trust_code`: whether code that its configuration names may be imported."""
        self.path = path
        self._trusted = trust_code
        self._pins: Pins | None = None
        self._recalled = False

    @staticmethod
    def create(
        parent: Path,
        config: Config,
        name: str | None = None,
        journals: bool = False,
        tasks: Sequence[str] = (),
        data: bytes | None = None,
    ) -> RunFolder:
        """Make a new folder with the resolved configuration and the environment in it.

        Args:
            parent: folder of the runs.
            config: of the run.
            name: of the folder; None: date and data set.
            journals: whether the run's devices keep journals outside the folder (`secure_fcl.engines.journals`).
            tasks: public names of the tasks, for whoever reads the run's numbers.
            data: what `secure_fcl.data.kept.packed` made of arrays that the run is given; only their owner may read it.

        Raises:
            RunFolderError: the folder exists already, or cannot be made; nothing is left behind.
        """
        path = _free_place(parent, name, config.data.label)
        # Filled under another name first: a run folder is either whole or not there.
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            unfinished.mkdir(parents=True)
            written = dump_config(config)
            identity = {"run": secrets.token_hex(8), "config_sha256": _sha256(written)}
            about: dict[str, Any] = {"format": FORMAT} | identity | {"pinned": True, "journals": journals}
            code_files = keep_pickled(config.model_dump(), unfinished / KEPT)
            code = [asdict(one) for one in described(config.model_dump(), path / KEPT, unfinished / KEPT)]
            more = ({"tasks": list(tasks)} if tasks else {}) | ({"outside_code": code} if code else {})
            about = environment() | about | more
            environment_file = to_json(about, indent=2) + "\n"
            atomic_write(unfinished / "environment.json", environment_file)
            files = {"config.toml": _sha256(written), "environment.json": _sha256(environment_file)}
            files |= {f"{KEPT}/{name}": digest for name, digest in code_files.items()}
            if data is not None:
                (unfinished / SIMULATION).mkdir()
                atomic_write(unfinished / SIMULATION / kept.FILE, data, mode=0o600)
                files[f"{SIMULATION}/{kept.FILE}"] = hashlib.sha256(data).hexdigest()
            pins = Pins(files=files)
            atomic_write(unfinished / "state.json", state_text(asdict(Progress()), pins))
            atomic_write(unfinished / "config.toml", written)
            unfinished.rename(path)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise RunFolderError(f"run folder {path} cannot be made ({error.strerror}); use --runs") from error
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        look_in(path / KEPT)
        return RunFolder(path, trust_code=True)

    @staticmethod
    def existing(path: Path, trust_code: bool = False) -> RunFolder:
        """Return an existing run.

        Args:
            path: of the folder.
            trust_code: whether code that its configuration names as `module:name` may be imported. A folder may come
                from anybody, and importing runs the code, so without this such a folder is refused.

        Raises:
            RunFolderError: there is no run at this path.
        """
        folder = RunFolder.named(path, trust_code)
        folder.check_code()
        return folder

    @staticmethod
    def named(path: Path, trust_code: bool = False) -> RunFolder:
        """Return an existing run without a look at the code that it names, for who imports nothing.

        Raises:
            RunFolderError: there is no run at this path, or one in a format that this version does not read.
        """
        missing = [name for name in ("config.toml", "environment.json", "state.json") if not (path / name).is_file()]
        if len(missing) > 1:
            raise RunFolderError(f"{path} is not a run folder (no {' and '.join(missing)} in it); check the path")
        if missing:
            raise RunFolderError(f"{path / missing[0]} is missing; restore it from a copy of the run's folder")
        folder = RunFolder(path, trust_code)
        with suppress(EvaluationError):  # who opens the folder says what is wrong with the file, and how to mend it
            require_readable(path, folder.about())
        return folder

    def check_code(self) -> None:
        """Refuse a run whose configuration names code, unless that is trusted and what it was; imports nothing.

        Raises:
            RunFolderError: names the code and its file.
            ConfigInvalid: config.toml, or a file of the code, cannot be read.
        """
        try:
            code = described(load_tree(self.path / "config.toml"), self.path / KEPT)
        except ConfigInvalid as error:
            raise ConfigInvalid(f"{error}; restore it from a copy of the run's folder") from error
        if code and not self._trusted:
            named = ", ".join(f"{one.reference} ({one.path or 'not found'})" for one in code)
            raise RunFolderError(
                f"run folder {self.path} names code that opening it would run: {named}; read it, then give --trust-code"
            )
        recorded = {one.get("reference"): one.get("digest") for one in self._recorded_code()} if code else {}
        for one in code:
            if recorded.get(one.reference) != one.digest:
                raise RunFolderError(
                    f"{one.path or 'the file'} of {one.reference} is not what run {self.path} began with (SHA-256 "
                    f"{one.digest[:12] or 'of nothing'} now, {str(recorded.get(one.reference))[:12]} then); restore "
                    "it, or start a new run"
                )
        look_in(self.path / KEPT)

    def _recorded_code(self) -> list[dict[str, Any]]:
        found = read_json(self.path / "environment.json").get("outside_code", [])
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; released when the process ends, however it ends.

        Raises:
            RunInUse: another process holds it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunInUse(f"run folder {self.path} is in use by another process; wait for it") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Hold the folder while it is read, if this user may: who cannot lock it cannot run in it either.

        Raises:
            RunInUse: another process holds it.
        """
        with ExitStack() as stack:
            with suppress(PermissionError):
                stack.enter_context(self.locked())
            yield

    def config(self) -> Config:
        """Return the resolved configuration of the run.

        Raises:
            RunFolderError: config.toml is not the one the run began with: its ledger belongs to that one; or as
                `check_code`.
        """
        self.check_code()
        path = self.path / "config.toml"
        if _sha256(path.read_text(encoding="utf-8")) != self.identity("config_sha256"):
            raise RunFolderError(f"{path} was changed since the run began; restore it, or start a new run with it")
        config = load_config(path)
        if config.data.name != kept.ARRAYS:
            return config
        # Wherever the folder was moved to: what was written names no place.
        where = config.data.model_copy(update={"data_dir": str((self.path / SIMULATION).resolve())})
        return config.model_copy(update={"data": where})

    def identity(self, key: str) -> str:
        """Return "run", a random name of this run that its ledger carries, or "config_sha256"."""
        return str(self.about().get(key))

    def about(self) -> dict[str, Any]:
        """Return environment.json; empty if it is no table."""
        found = read_json(self.path / "environment.json")
        return found if isinstance(found, dict) else {}

    def progress(self) -> Progress:
        """Return where the run stands.

        Raises:
            RunFolderError: state.json is not what `save_progress` writes.
        """
        return self.state()[0]

    def state(self) -> tuple[Progress, Pins | None]:
        """Return where the run stands, and the digests of its files; None: a folder of before there were any.

        Raises:
            RunFolderError: state.json is not what `save_progress` writes.
        """
        path = self.path / "state.json"
        try:
            fields, pins = read_state(path, read_text(path))
            return Progress(**fields), pins
        except TypeError as error:
            raise RunFolderError(f"{path} is damaged ({error}); restore it or run again") from error

    def recall(self) -> Progress:
        """Return where the run stands, and take up its pins: what an earlier start did not commit is forgotten.

        Raises:
            RunFolderError: as `state`.
        """
        progress, self._pins = self.state()
        self._recalled = True
        return progress

    def _known(self) -> Pins | None:
        if not self._recalled:
            self.recall()
        return self._pins

    def save_progress(self, progress: Progress) -> None:
        """Commit a round: from here on a resumed run continues after it, and everything pinned must be as it is."""
        atomic_write(self.path / "state.json", state_text(asdict(progress), self._known()))

    def pin(self, path: Path, digest: str | None = None) -> None:
        """Let the next commit pin a file of the folder; `digest`: of what was written to it, else it is read."""
        if (pins := self._known()) is not None:
            name = path.relative_to(self.path).as_posix()
            self._pins = pins.with_file(name, digest or digest_of(path))

    def unpin(self, path: Path) -> None:
        """Let the next commit no longer pin a file: it may be deleted after that, not before."""
        name = path.relative_to(self.path).as_posix()
        if (pins := self._known()) is not None and name in pins.files:
            self._pins = pins.with_file(name, None)

    def pin_ledger(self, row: str, ledger: Ledger) -> None:
        """Let the next commit pin a row's ledger as it stands, and the budget beside it."""
        if self.budget_path(row).exists():
            self.pin(self.budget_path(row))
        if (pins := self._known()) is not None:
            self._pins = pins.with_ledger(self.ledger_path(row).relative_to(self.path).as_posix(), ledger)

    def publish(self, name: str, text: str) -> None:
        """Replace a file of a run that stands still, and pin it; a crash in between leaves it unpinned, not misfitting.

        Raises:
            StorageError: the system refused.
        """
        progress = self.recall()
        if self._pins is None:
            atomic_write(self.path / name, text)
            return
        self._pins = self._pins.with_file(name, PENDING)
        self.save_progress(progress)
        atomic_write(self.path / name, text)
        self._pins = self._pins.with_file(name, _sha256(text))
        self.save_progress(progress)

    def writers(self, progress: Progress) -> tuple[JsonLines, JsonLines]:
        """Return writers of metrics and costs, cut back to the records of committed rounds."""
        for name, keep in (("metrics.jsonl", progress.metrics), ("cost.jsonl", progress.costs)):
            path = self.path / name
            if path.exists():
                kept = read_jsonl(path).records[:keep]
                atomic_write(path, "".join(to_json(record) + "\n" for record in kept))
        return JsonLines(self.path / "metrics.jsonl"), JsonLines(self.path / "cost.jsonl")

    def ledger_path(self, row: str) -> Path:
        """Return where the ledger of a row lies."""
        return self.path / "ledger" / f"{file_stem(row)}.jsonl"

    def budget_path(self, row: str) -> Path:
        """Return where the budget of a row lies, laid down when the row first starts."""
        return self.path / "ledger" / f"{file_stem(row)}.budget.json"

    def save_round(self, row: str, number: int, state: State, total: np.ndarray) -> dict[str, str]:
        """Record the model after a round and the sum that made it, in full; return `file` and `sha256` of the record.

        They go into the round's record of costs: the state pins that, and so does not grow with every round.
        """
        path = self._round_path(row, number)
        digest = save_arrays(path, total=total, **state)
        return {"file": path.relative_to(self.path).as_posix(), "sha256": digest}

    def forget_round(self, row: str, number: int) -> None:
        """Delete what `save_round` wrote, if it is there."""
        self._round_path(row, number).unlink(missing_ok=True)

    def load_round(self, row: str, number: int) -> dict[str, np.ndarray]:
        """Return what `save_round` wrote."""
        return load_arrays(self._round_path(row, number))

    def _round_path(self, row: str, number: int) -> Path:
        return self.path / "transcript" / file_stem(row) / f"{number:05d}.npz"


def _free_place(parent: Path, name: str | None, label: str) -> Path:
    """Return where a new run's folder goes: under its name, or under date and data set with a number if need be."""
    if name is not None and (not name or Path(name).name != name):
        raise RunFolderError(
            f"--name {name!r} is not the name of a folder; leave out / and .., use --runs for the place"
        )
    if name is not None and (parent / name).exists():
        path = parent / name
        raise RunFolderError(f"run folder {path} exists; choose another --name or continue it with --resume {path}")
    stem = name or f"{datetime.now():%Y%m%d-%H%M%S}-{file_stem(label)}"
    path, attempt = parent / stem, 2
    while path.exists():
        path = parent / f"{stem}-{attempt}"
        attempt += 1
    return path


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def environment() -> dict[str, Any]:
    """Return what the run ran on: versions, platform, cores; nothing that names the machine."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "packages": versions,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
