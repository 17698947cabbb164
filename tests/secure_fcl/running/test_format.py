import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import secure_fcl
from secure_fcl.cli.commands import app
from secure_fcl.runner import verify
from secure_fcl.running.format import FORMAT, OLDEST

FOLDERS = Path(__file__).parents[2] / "recorded" / "folders"


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a recorded folder: opening one locks it, and a report is written into it."""
    number = getattr(request, "param", FORMAT)
    return Path(shutil.copytree(FOLDERS / f"format-{number}", tmp_path / "old"))


def write_format(run: Path, number: object) -> None:
    path = run / "environment.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["format"] = number
    about["packages"]["secure-fcl"] = "9.8.7"
    path.write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.parametrize("run", range(OLDEST, FORMAT + 1), indirect=True)
def test_folders_in_every_format_that_is_read_open_and_fit(run: Path) -> None:
    found = verify(run, None)
    assert not found.misfits
    assert any("epsilon" in sentence for sentence in found.held)
    opened = secure_fcl.open(run)
    last = {line.strategy: line.all_windows for line in opened.accuracy if line.after_task == 2}
    assert last == {"class_sums": pytest.approx(0.9472222), "finetune": pytest.approx(0.1138889)}
    assert {line.strategy: round(line.epsilon, 2) for line in opened.epsilon} == {"class_sums": 8.0, "finetune": 8.0}
    digits = load_digits()
    inputs = (digits.images[:200, None] / 16).astype(np.float32)
    names = opened.model("class_sums").predict(inputs)
    assert np.mean(np.asarray(names) == digits.target[:200].astype(str)) > 0.9
    assert CliRunner().invoke(app, ["report", str(run)]).exit_code == 0


@pytest.mark.parametrize("number", [FORMAT + 1, OLDEST - 1, "1", True, None])
@pytest.mark.parametrize(
    "command",
    [
        ["report"], ["verify"], ["audit"], ["run", "--resume"], ["predict", "--out", "labels.csv"], ["export"],
        ["compare"],
    ],
)  # fmt: skip
def test_a_format_that_is_not_read_is_one_sentence_that_names_who_reads_it(
    run: Path, tmp_path: Path, command: list[str], number: object
) -> None:
    write_format(run, number)
    before = sorted(path.name for path in run.iterdir())
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, np.zeros((1, 1, 8, 8), dtype=np.float32))
    more = {"predict": [str(inputs)], "compare": [str(FOLDERS / f"format-{FORMAT}")]}.get(command[0], [])
    found = CliRunner().invoke(app, [*command, str(run), *more])
    assert found.exit_code == 2, found.output
    sentence = found.stderr.strip()
    assert sentence.startswith(f"secure-fcl: run folder {run} is in format {number!r}, and secure-fcl ")
    assert sentence.endswith(f"reads format {FORMAT}; open it with secure-fcl 9.8.7 that wrote it")
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_folder_of_before_there_was_a_number_is_read(run: Path) -> None:
    path = run / "environment.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    del about["format"]
    path.write_text(json.dumps(about), encoding="utf-8")
    # Its files no longer fit, as this one was edited; what is said is that, and nothing of a format.
    with pytest.raises(secure_fcl.errors.RunFolderError, match="environment"):
        secure_fcl.open(run)


def test_a_new_folder_carries_the_number(run: Path) -> None:
    assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["format"] == FORMAT
