import io
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.errors import StorageError
from evaluation.files import read_jsonl
from evaluation.summary import print_summary
from evaluation.testing import write_synthetic_run


def shown(folder: Path, width: int = 100) -> str:
    buffer = io.StringIO()
    print_summary(folder, Console(file=buffer, width=width, color_system=None))
    return buffer.getvalue()


def test_the_summary_holds_the_numbers(run_folder: Path) -> None:
    text = shown(run_folder, 160)
    for record in read_jsonl(run_folder / "metrics.jsonl").records:
        if record["kind"] == "final":
            assert f"{100 * record['micro']:.1f}" in text
            assert f"{100 * record['forgetting']:.1f}" in text
    assert "0.511 [0.471, 0.551]" in text
    assert "0.81 [0.71, 0.91]" in text
    assert "0.00 of 4.69" in text
    assert "WARNING" not in text
    assert "must not be ranked" in text


def test_lines_fit_the_console(run_folder: Path) -> None:
    assert max(len(line) for line in shown(run_folder, 80).splitlines()) <= 80


def test_warnings_come_out(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", protected=False, audited=False)
    text = shown(folder)
    assert text.count("WARNING") == 3
    assert "The audit has not been run" in text


def test_brackets_in_names_are_no_markup(tmp_path: Path) -> None:
    text = shown(write_synthetic_run(tmp_path / "run", rows=("[red]replay[/red]", "[/]")), 160)
    assert "[red]replay[/red]" in text
    assert "[/]" in text


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    assert "Nothing has been measured" in shown(tmp_path)
    with pytest.raises(StorageError):
        shown(tmp_path / "nowhere")
