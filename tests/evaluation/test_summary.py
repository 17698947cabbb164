import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.errors import StorageError
from evaluation.figures import COLUMNS
from evaluation.files import read_jsonl
from evaluation.summary import print_details, print_summary
from evaluation.testing import write_synthetic_run


def shown(folder: Path, width: int = 100, printed: Callable[[Path, Console], None] = print_details) -> str:
    buffer = io.StringIO()
    printed(folder, Console(file=buffer, width=width, color_system=None))
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


def test_the_brief_one_is_one_table_of_five_figures(run_folder: Path) -> None:
    text = shown(run_folder, 80, print_summary)
    assert all(name in text for name, _ in COLUMNS)
    for record in read_jsonl(run_folder / "metrics.jsonl").records:
        if record["kind"] == "final":
            assert f"{100 * record['micro']:.1f} %" in text
            assert f"{100 * record['forgetting']:.1f} points" in text
    assert "delta: 1e-05" in text
    assert len(text.splitlines()) < 20


@pytest.mark.parametrize("printed", [print_details, print_summary])
def test_lines_fit_the_console(run_folder: Path, printed: Callable[[Path, Console], None]) -> None:
    assert max(len(line) for line in shown(run_folder, 80, printed).splitlines()) <= 80


def test_the_brief_one_keeps_severe_warnings_and_says_what_was_not_measured(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", protected=False, audited=False)
    text = shown(folder, 80, print_summary)
    assert text.count("WARNING") == 3
    assert "not measured" in text


def test_warnings_come_out(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", protected=False, audited=False)
    text = shown(folder)
    assert text.count("WARNING") == 3
    assert "The audit has not been run" in text


def test_brackets_in_names_are_no_markup(tmp_path: Path) -> None:
    text = shown(write_synthetic_run(tmp_path / "run", rows=("[red]replay[/red]", "[/]")), 160)
    assert "[red]replay[/red]" in text
    assert "[/]" in text
    assert "[red]replay[/red]" in shown(tmp_path / "run", 160, print_summary)


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    for printed in (print_details, print_summary):
        assert "Nothing has been measured" in shown(tmp_path, printed=printed)
        with pytest.raises(StorageError):
            shown(tmp_path / "nowhere", printed=printed)
