"""A device that withdraws: what is gone, what stays, and that it answers nothing any more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privacy import Ledger
from secure_fcl.cli.commands import app
from secure_fcl.engines import commands as c
from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.deployed.withdrawal import withdraw
from secure_fcl.errors import DeviceRefused
from tests.secure_fcl.engines.deployed.conftest import ROW

run = CliRunner().invoke


def rest(path: Path) -> set[str]:
    found = (file.relative_to(path) for file in path.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {str(name) for name in found if name.parts[0] in ("data", "state", "state.secret", "withdrawn.json")}


@pytest.fixture
def visited(make_bench: Callable[..., Any]) -> Any:
    """A bench whose devices have answered one round, and then ended."""
    bench = make_bench()
    bench.join()
    with bench.sums() as sums:
        bench.round(sums, bench.visit(0))
    bench.hosts["client1"].close()
    return bench


def test_a_device_that_withdraws_keeps_its_ledger_alone(visited: Any) -> None:
    folder = visited.out / "client1"
    assert {"data/examples.npz", "state.secret"} < rest(folder)
    done = run(app, ["client", "--folder", str(folder), "--withdraw"])
    assert done.exit_code == 0, done.output
    ledger = f"state/bench/{ROW}/ledger.jsonl"
    assert rest(folder) == {ledger, "withdrawn.json"} | {name for name in rest(folder) if name.endswith("/.lock")}
    with Ledger(folder / ledger) as charged:
        assert len(charged) == 1
    said = " ".join(done.output.split())
    for words in ("state.secret", "state/current.bin"):
        assert words not in rest(folder)
    for words in (f"{ledger} (1 rounds)", "the sums and models of 1 rounds hold", "exact removal is refused: it"):
        assert words in said


def test_after_it_nothing_is_answered_and_the_others_go_on(visited: Any) -> None:
    place = DeviceFolder.read(visited.out / "client1")
    withdraw(place)
    with pytest.raises(DeviceRefused, match="has withdrawn and answers nothing more"):
        DeployedHost(place)
    refused = run(app, ["client", "--folder", str(place.path), "--server", "127.0.0.1:1"])
    assert (refused.exit_code, "has withdrawn" in refused.output) == (2, True)
    del visited.hosts["client1"], visited.parties.hosts["client1"]
    visited.join()
    with visited.sums() as sums:
        assert sorted(visited.round(sums, visited.visit(1)).contributors) == [0, 2, 3]


def test_a_withdrawal_that_was_interrupted_is_ended_by_the_next(visited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = DeviceFolder.read(visited.out / "client1")
    unlink, seen = Path.unlink, []

    def fails(path: Path, missing_ok: bool = False) -> None:
        seen.append(path.name)
        if len(seen) == 3:
            raise OSError(5, "an error of the disk", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fails)
        done = run(app, ["client", "--folder", str(place.path), "--withdraw"])
    assert (done.exit_code, "an error of the disk" in done.output) == (2, True)
    # The key is the first to go, and nothing is answered from here on.
    assert seen[0] == "state.secret"
    with pytest.raises(DeviceRefused, match="has withdrawn"):
        DeployedHost(place)
    assert withdraw(place).charged == {f"state/bench/{ROW}/ledger.jsonl": 1}
    assert not [name for name in rest(place.path) if name.endswith((".bin", ".log", ".npz", ".secret"))]


def test_a_device_at_work_does_not_withdraw(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    with pytest.raises(DeviceRefused, match="end the device first"):
        withdraw(DeviceFolder.read(bench.out / "client1"))
    assert c.Done() in bench.join().values()
    both = run(app, ["client", "--folder", str(bench.out / "client1"), "--withdraw", "--server", "127.0.0.1:1"])
    assert (both.exit_code, "name one of" in both.output) == (2, True)
