from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app

CODE = """
import numpy as np


def few():
    y = np.arange(240) % 3
    x = np.random.default_rng(0).normal(size=(240, 3, 16)).astype(np.float32)
    who = np.array(list("abcdef"))[np.arange(240) // 40 % PEOPLE]
    return {"x": x, "y": y, "classes": ("0", "1", "2"), "client": who, "test": np.arange(240) % 4 == 0}
"""


@pytest.mark.parametrize("people", [1, 2, 6])
def test_a_stream_is_made_for_as_many_people_as_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: int
) -> None:
    """The default of 30 clients is HAPT's; good data of fewer people was said to break a law."""
    name = f"data_of_{people}"
    (tmp_path / f"{name}.py").write_text(CODE.replace("PEOPLE", str(people)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["check", f"{name}:few", "--kind", "data"])
    assert found.exit_code == 0, found.output
