import os
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from secure_fcl.cli.shared import tell
from secure_fcl.errors import JournalRefused
from secure_fcl.runner import StopRequest, require_room, write_report
from secure_fcl.running.display import progress
from secure_fcl.running.records import Tick


def tick(round: int, epsilon: float = 8.0) -> Tick:
    return Tick(
        row="replay",
        slot=1,
        slots=6,
        round=round,
        rounds=20,
        accuracy=0.254,
        epsilon=epsilon,
        done=20 + round,
        total=240,
    )


def test_the_first_ctrl_c_asks_and_the_second_interrupts() -> None:
    stop, said = StopRequest(), []
    before = signal.getsignal(signal.SIGINT)
    with stop.listening(said.append):
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_is_told_in_the_middle_of_an_import(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As it stands while Python is still importing it; a console would look its names up and fail.
    monkeypatch.setitem(sys.modules, "rich._emoji_codes", ModuleType("rich._emoji_codes"))
    with StopRequest().listening(tell):
        os.kill(os.getpid(), signal.SIGINT)
    assert "stopping after this round" in capfd.readouterr().out


def test_outside_the_main_thread_nothing_is_taken() -> None:
    entered = []

    def inside() -> None:
        with StopRequest().listening(entered.append):
            entered.append("here")

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert entered == ["here"]


def test_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(width=200, force_terminal=False, record=True, quiet=False)
    with console.capture() as captured, progress(console, 240) as watch:
        watch(tick(0))
        watch(tick(19))
    lines = captured.get().splitlines()
    assert len(lines) == 1
    for part in ("replay", "task 2/6", "round 20/20", "25 %", "epsilon budget 8"):
        assert part in lines[0]
    with console.capture() as captured, progress(console, 240) as watch:
        watch(tick(19, float("inf")))
    assert "no noise" in captured.get()


def test_a_terminal_gets_a_bar() -> None:
    console = Console(width=120, force_terminal=True)
    with console.capture() as captured, progress(console, 240) as watch:
        watch(tick(3))
    assert "/240" in captured.get()


def test_a_report_is_rendered_at_any_stage(reference, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from secure_fcl.config import load_config
    from secure_fcl.running.folder import RunFolder

    fresh = RunFolder.create(tmp_path, load_config(), "fresh")
    assert write_report(fresh).stat().st_size > 1000
    finished = write_report(RunFolder.existing(reference.path)).read_text()
    assert "class_sums" in finished


def test_journals_that_cannot_be_written_are_refused_before_a_run_begins(tmp_path: Path) -> None:
    require_room(tmp_path / "new" / "journals")
    assert (tmp_path / "new" / "journals").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalRefused, match="no journal can be written in"):
        require_room(tmp_path / "file")
