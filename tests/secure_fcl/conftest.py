import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fcl.config import Config, load_config
from secure_fcl.data import Dataset, load_digits, load_hapt
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.streams import Scenario, build_scenario

# Five clients with two classes each: with this seed some meet a task with no example, some with one class.
TINY = (
    "data.name=digits",
    "scenario.partition=pathological",
    "scenario.clients=5",
    "scenario.tasks=2",
    "privacy.max_dropouts=1",
    "training.rounds=2",
    "training.model=mlp",
    "attacks.enabled=false",
    "memory.keep=0.5",
    "protection=plain",
    "workers=1",
)


@pytest.fixture(scope="session")
def tiny_settings() -> tuple[str, ...]:
    """Settings of a run that takes a second once its workers stand."""
    return TINY


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """`make_config("a.b=c", ...)`: the tiny configuration with settings over it."""
    return lambda *settings: load_config(None, [*TINY, *settings])


@pytest.fixture(scope="session")
def hapt() -> Dataset:
    return load_hapt()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_digits()


@pytest.fixture(scope="session")
def hapt_scenario(hapt: Dataset) -> Scenario:
    """The default scenario."""
    return build_scenario(hapt, load_config())


@pytest.fixture(scope="session")
def tiny_scenario(digits: Dataset, make_config: Callable[..., Config]) -> Scenario:
    return build_scenario(digits, make_config())


@pytest.fixture(scope="session", autouse=True)
def noise_secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No test reads or makes the user's own noise secret."""
    path = tmp_path_factory.mktemp("secret") / "noise-secret"
    patch = pytest.MonkeyPatch()
    patch.setenv("SECURE_FCL_NOISE_SECRET_FILE", str(path))
    return path


@dataclass(frozen=True)
class Run:
    """A run's folder, with what tests ask of it."""

    path: Path

    @property
    def metrics(self) -> bytes:
        return (self.path / "metrics.jsonl").read_bytes()

    def records(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]

    def certificate(self, row: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "certificate.json").read_text())["rows"][row]
        return found

    def processes(self, row: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "simulation" / f"processes-{row}.json").read_text())
        return found

    @property
    def transcript(self) -> dict[str, dict[str, np.ndarray]]:
        found = {}
        for path in sorted((self.path / "transcript").rglob("*.npz")):
            with np.load(path, allow_pickle=False) as file:
                found[f"{path.parent.name}/{path.stem}"] = {name: file[name] for name in file.files}
        return found

    def digest(self) -> str:
        """SHA-256 of all models and sums."""
        total = hashlib.sha256()
        for name, arrays in self.transcript.items():
            for key in sorted(arrays):
                total.update(f"{name}/{key}".encode() + np.ascontiguousarray(arrays[key]).tobytes())
        return total.hexdigest()


@pytest.fixture(scope="session")
def open_run() -> Callable[[Path], Run]:
    return Run


@pytest.fixture(scope="session")
def run_tiny(tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., Config]) -> Callable[..., Run]:
    """`run_tiny("a.b=c", ...)`: train a tiny run in this process and its workers."""

    def run(*settings: str) -> Run:
        prepared = prepare(make_config(*settings))
        folder = RunFolder.create(tmp_path_factory.mktemp("runs"), prepared.config, "run")
        with folder.locked():
            train(prepared, folder)
        return Run(folder.path)

    return run


@pytest.fixture(scope="session")
def reference(run_tiny: Callable[..., Run]) -> Run:
    """A finished run of replay and class sums, unencrypted, one worker, repeatable noise."""
    # Room for the rounds that killed runs repeat; those are compared with this one.
    return run_tiny('rows=["replay","class_sums"]', "replay_noise=true", "privacy.spare_rounds=2")
