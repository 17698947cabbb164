"""A pickle in place of an array file is named and refused by every command, and never unpickled."""

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.engines.simulation import load_arrays
from secure_fcl.errors import RunFolderError


def commands(path: Path) -> Iterator[tuple[str, ...]]:
    yield from (("run", "--resume", str(path)), ("audit", str(path)), ("report", str(path)))
    yield "report", str(path), "--tensorboard"


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._path), "w")


def put_pickle(path: Path, kind: str, mark: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "raw":
            path.write_bytes(pickle.dumps(Bomb(mark)))
        case "old protocol":
            path.write_bytes(pickle.dumps(Bomb(mark), protocol=0))
        case "member":
            array = np.empty(1, dtype=object)
            array[0] = Bomb(mark)
            with path.open("wb") as file:
                np.savez(file, total=array) if path.suffix == ".npz" else np.save(file, array)


@pytest.mark.parametrize("kind", ["raw", "old protocol", "member"])
@pytest.mark.parametrize(
    "name",
    [
        "model/replay.npz", "model/mine.npy", "simulation/coins-replay.npz", "simulation/memory-replay-000.npz",
        "simulation/shadows/shadows-0.npz", "transcript/class_sums/00001.npz", "transcript/replay/00000.npz",
    ],
)  # fmt: skip
def test_a_pickle_in_place_of_arrays_is_named_and_refused_by_every_command(
    name: str, kind: str, reference: Any, tmp_path: Path
) -> None:
    path = shutil.copytree(reference.path, tmp_path / "run")
    put_pickle(path / name, kind, tmp_path / "mark")
    for command in (*(commands(path) if kind == "raw" else ()), ("verify", str(path))):
        done = CliRunner().invoke(app, list(command))
        assert done.exit_code == 2, (command, done.output)
        assert str(path / name) in done.stderr
        assert "pickle" in done.stderr or kind == "old protocol"
    with pytest.raises(RunFolderError, match="missing or damaged"):
        load_arrays(path / name)
    assert not (tmp_path / "mark").exists()


def test_a_study_refuses_a_damaged_cell(tmp_path: Path, tiny_settings: tuple[str, ...]) -> None:
    tables: dict[str, list[str]] = {}
    for setting in tiny_settings:
        key, _, value = setting.rpartition("=")
        table, _, last = key.rpartition(".")
        shown = value if value.replace(".", "").isdigit() or value in ("true", "false") else f'"{value}"'
        tables.setdefault(table, []).append(f"{last} = {shown}")
    base = "".join(f"[base{'.' * bool(t)}{t}]\n" + "\n".join(lines) + "\n" for t, lines in sorted(tables.items()))
    (tmp_path / "study.toml").write_text(base + '[grid]\nstrategy = ["class_sums"]\n')
    command = ["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, command).exit_code == 0
    model = next((tmp_path / "out" / "runs").rglob("model/*.npz"))
    put_pickle(model, "raw", tmp_path / "mark")
    done = CliRunner().invoke(app, command)
    # A failed cell is listed with its sentence, and does not stop the others.
    assert (done.exit_code, f"{model} is a pickle" in done.stdout) == (1, True)
