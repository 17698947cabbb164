import io

import pytest
from rich.console import Console

import secure_fcl
from secure_fcl.running.display import progress
from secure_fcl.running.records import Tick


def test_a_notebook_shows_runs_and_tables_as_html(opened: secure_fcl.Run) -> None:
    shells = pytest.importorskip("IPython.core.interactiveshell")
    shell = shells.InteractiveShell()
    for cell in ("import secure_fcl", f"run = secure_fcl.open({str(opened.folder)!r})", "table = run.epsilon"):
        assert shell.run_cell(cell).success
    for name, text in (("run", "not private"), ("table", "<td>class_sums</td>")):
        shown, _ = shell.display_formatter.format(shell.user_ns[name])
        assert {"text/plain", "text/html"} <= shown.keys()
        assert text in shown["text/html"]


def test_progress_in_a_notebook_is_a_line_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    display = pytest.importorskip("IPython.display")
    monkeypatch.setattr(display, "display", lambda what: shown.append(what.text))
    with progress(Console(force_jupyter=True), total=4) as watch:
        for done in range(1, 5):
            watch(Tick(row="calm", slot=(done - 1) // 2, slots=2, round=(done - 1) % 2, rounds=2, accuracy=0.5,
                       epsilon=2.0, done=done, total=4))  # fmt: skip
    assert [text.count("epsilon budget 2") for text in shown] == [1, 1]


def test_tables_are_rich_and_fit_the_width(opened: secure_fcl.Run) -> None:
    for width in (60, 80, 200):
        out = io.StringIO()
        console = Console(file=out, width=width)
        for table in opened.tables:
            console.print(table)
        text = out.getvalue()
        assert max(map(len, text.splitlines())) <= width
        for word in ("class_sums", "local_only", "worst client", "epsilon of what ran", "noise"):
            assert word in text, (width, word)
