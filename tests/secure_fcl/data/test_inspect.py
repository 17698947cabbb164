import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.data import load_folder
from secure_fcl.data.folder.inspect import propose
from secure_fcl.data.folder.section import FolderSection, Kind

_spec = importlib.util.spec_from_file_location("own_folders", Path(__file__).with_name("own_folders.py"))
assert _spec is not None
assert _spec.loader is not None
own = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(own)


@pytest.mark.parametrize("make", [own.table, own.idx, own.npz, own.images, own.wav])
def test_what_is_proposed_can_be_read_and_says_what_was_read_off(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "data.toml").unlink()
    found = propose(folder)
    assert "# NON-PRIVATE: classes was read off" in found.text()
    text = found.text().replace("window = 32", "window = 8").replace("window = 100", "window = 8")
    text = text.replace("stride = 16", "stride = 4").replace("test_share = 0.2", "test_share = 0.4")
    (folder / "data.toml").write_text(text)
    assert len(load_folder(folder)) > 0


def test_the_command_proposes_then_reports_then_refuses_in_one_sentence(tmp_path: Path) -> None:
    folder = own.table(tmp_path / "mine")
    declared = (folder / "data.toml").read_text()
    (folder / "data.toml").unlink()
    run = CliRunner()
    proposed = run.invoke(app, ["data", "inspect", str(folder)])
    assert proposed.exit_code == 0
    assert "rate = 10.0" in proposed.stdout
    assert "# NON-PRIVATE: rate was read off the median step of column 't'." in proposed.stdout
    (folder / "data.toml").write_text(declared)
    reported = run.invoke(app, ["data", "inspect", str(folder)])
    assert "clients: 3; one reading lies in up to 2 examples" in reported.stdout
    assert "walk 12, rest 12" in reported.stdout
    (folder / "anna.csv").write_text("t,ax,ay,what\n0,1,nan,walk\n")
    refused = run.invoke(app, ["data", "inspect", str(folder)])
    assert refused.exit_code == 2
    assert "anna.csv line 2: ay is 'nan'" in refused.output


def test_the_page_names_every_key_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "own-data.md").read_text(encoding="utf-8")
    table = page.partition("### The keys of data.toml")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", table)) - {"label", *get_args(Kind), "save_dataset"}
    assert told | {"label"} == set(FolderSection.model_fields)
