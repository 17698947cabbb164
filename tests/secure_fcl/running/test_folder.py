import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from secure_fcl.config import Config
from secure_fcl.engines.simulation import load_arrays, save_arrays
from secure_fcl.errors import RunFolderError
from secure_fcl.running.folder import Progress, RunFolder, environment


@pytest.fixture
def config(make_config: Callable[..., Config]) -> Config:
    return make_config()


def test_a_new_folder_holds_what_a_resume_needs(tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path / "runs", config, "one")
    assert {p.name for p in folder.path.iterdir()} == {"config.toml", "environment.json", "state.json"}
    assert RunFolder.existing(folder.path).config() == config
    assert folder.progress() == Progress()
    assert [p.name for p in folder.path.parent.iterdir()] == ["one"]


def test_names_are_never_used_twice(tmp_path: Path, config: Config) -> None:
    RunFolder.create(tmp_path, config, "one")
    with pytest.raises(RunFolderError, match="exists; choose another --name or continue it with --resume"):
        RunFolder.create(tmp_path, config, "one")
    assert len({RunFolder.create(tmp_path, config).path for _ in range(3)}) == 3


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_full_disk_leaves_nothing_behind(
    calls: int, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [calls]
    real = os.fsync

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((RunFolderError, EvaluationError), match="No space left"):
        RunFolder.create(tmp_path, config, "one")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_creation_leaves_nothing_behind(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(tmp_path, config, "one")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path, config: Config) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match="cannot be made"):
        RunFolder.create(tmp_path / "runs", config, "one")


def test_what_is_not_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunFolderError, match="is not a run folder"):
            RunFolder.existing(path)


def test_one_holder_at_a_time(tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path, config, "one")
    with folder.locked(), pytest.raises(RunFolderError, match="in use"), RunFolder.existing(folder.path).locked():
        pass
    with folder.locked():
        pass


def test_records_of_rounds_that_were_not_committed_are_cut_off(tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path, config, "one")
    metrics, costs = folder.writers(Progress())
    for number in range(5):
        metrics.append({"number": number, "share": 0.1, "none": float("nan"), "name": "ü"})
        costs.append({"number": number})
    metrics.close()
    costs.close()
    whole = (folder.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"number": 5, "sha')
    for writer in folder.writers(Progress(metrics=3, costs=2)):
        writer.close()
    # What is kept is kept byte for byte.
    assert (folder.path / "metrics.jsonl").read_bytes() == b"".join(whole[:3])
    assert (folder.path / "cost.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("content", ["{}x", "[]", '{"rows": 3}', '{"row": 1, "unknown": 2}', ""])
def test_a_damaged_state_is_refused(content: str, tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path, config, "one")
    (folder.path / "state.json").write_text(content)
    with pytest.raises((RunFolderError, EvaluationError), match=r"state\.json"):
        folder.progress()


def test_rounds_are_read_back_bit_for_bit(tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path, config, "one")
    state = {"weights": np.random.default_rng(0).normal(size=7).astype(np.float32)}
    folder.save_round("replay", 3, state, np.array([1, -(2**62)]))
    found = folder.load_round("replay", 3)
    np.testing.assert_array_equal(found["weights"], state["weights"])
    np.testing.assert_array_equal(found["total"], [1, -(2**62)])


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing", "pickle"])
def test_damaged_arrays_are_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, values=np.arange(1000))
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("no array")
        case "missing":
            path.unlink()
        case "pickle":
            np.savez(path, values=np.array([{}], dtype=object))
    with pytest.raises(RunFolderError, match="missing or damaged"):
        load_arrays(path)


def test_the_environment_names_versions_and_no_machine() -> None:
    found = environment()
    assert found["packages"]["torch"]
    assert os.uname().nodename not in json.dumps(found)
