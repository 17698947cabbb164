"""A crash between any two writes of a run: no copy of its folder from that instant refuses itself."""

import json
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.runner import train, verify, write_report
from secure_fcl.running.fitting import require_continuable
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import prepare


def names(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.fixture
def instants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], list[Path]]:
    """`instants(folder)`: a list that grows by a copy of the folder at every write from now on."""

    def watch(folder: Path) -> list[Path]:
        found: list[Path] = []

        def copied(real: Any) -> Any:
            def call(*arguments: Any, **more: Any) -> Any:
                if folder.exists():
                    found.append(shutil.copytree(folder, tmp_path / "instants" / f"{len(found):04d}"))
                return real(*arguments, **more)

            return call

        monkeypatch.setattr(os, "fsync", copied(os.fsync))
        for name in ("replace", "unlink"):
            monkeypatch.setattr(Path, name, copied(getattr(Path, name)))
        return found

    return watch


def torn_between(before: Path, after: Path, place: Path) -> Path | None:
    """The folder `after` with half of what was appended to a file since `before`; None if nothing was."""
    for name in names(before) & names(after):
        old, new = (before / name).read_bytes(), (after / name).read_bytes()
        if new.startswith(old) and len(new) > len(old) + 1:
            shutil.copytree(after, place)
            (place / name).write_bytes(new[: (len(old) + len(new)) // 2])
            return place
    return None


@pytest.mark.parametrize("transcript", ["full", "latest"])
def test_no_crash_makes_an_honest_folder_refuse_itself(
    transcript: str, make_config: Callable[..., Config], instants: Callable[[Path], list[Path]], tmp_path: Path
) -> None:
    settings = (
        'rows=["derpp","class_sums"]',
        f"transcript={transcript}",
        "replay_noise=true",
        "privacy.spare_rounds=2",
    )
    ready = prepare(make_config(*settings, f"transcript={transcript}"))
    folder = RunFolder.create(tmp_path, ready.config, "run")
    found = instants(folder.path)
    # Interrupted and continued, so that what a continued run writes again is among them.
    seen: list[object] = []
    with pytest.raises(Interrupted):
        train(ready, folder, seen.append, lambda: len(seen) == 3)
    train(ready, folder)
    for seconds in (1.0, 2.0):
        folder.publish("attacks.json", json.dumps({"row": "derpp", "outcomes": [], "seconds": seconds}))
        write_report(folder)
    assert len(found) > 100
    torn = [
        there for n, (one, next) in enumerate(pairwise(found))
        if (there := torn_between(one, next, tmp_path / "torn" / f"{n:04d}")) is not None
    ]  # fmt: skip
    assert len(torn) > 15
    for path in (*found, *torn):
        require_continuable(RunFolder.existing(path))
    # A round that was charged and not committed is charged again; ledgers are never cut.
    charged = [p for p in found if json.loads((p / "state.json").read_text())["round"] == 1 and (p / "ledger").exists()]
    ahead = next(p for p in charged if len(Ledger(p / "ledger" / "derpp.jsonl")) == 2)
    head = Ledger(ahead / "ledger" / "derpp.jsonl").last_hash
    train(ready, RunFolder.existing(ahead))
    assert (ahead / "metrics.jsonl").read_bytes() == (folder.path / "metrics.jsonl").read_bytes()
    ledger = Ledger(ahead / "ledger" / "derpp.jsonl")
    assert len(ledger) == 5
    assert head in ledger.heads
    assert not verify(ahead).misfits
    # Between certificate and commit: it is written again, and states the same.
    unfinished = [p for p in found if not json.loads((p / "state.json").read_text())["finished"]]
    written = [p for p in unfinished if (p / "certificate.json").exists()]
    assert len(written) > 2
    before = json.loads((written[-1] / "certificate.json").read_text())
    train(ready, RunFolder.existing(written[-1]))
    assert json.loads((written[-1] / "certificate.json").read_text()) == before
    assert not verify(written[-1]).misfits
