"""Server, devices and key holder as the commands start them, killed at any time."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluation.files import read_json, read_jsonl
from privacy import Ledger
from secure_fcl.config import Config, load_config
from secure_fcl.runner import execute, start, verify
from secure_fcl.running.status import read_status
from tests.secure_fcl.engines.tls.test_serving import Deployment

pytestmark = pytest.mark.slow


class Supervisor:
    """Starts the commands of a deployment, and starts anew whatever ended, as a service manager does."""

    def __init__(self, deployment: Deployment, port: int, *server: str) -> None:
        self._out, self._port, self._server = deployment.out, port, server
        self.names = ["server", *deployment.clients, *deployment.roles[1:]]
        self._roles = deployment.roles
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.starts = dict.fromkeys(self.names, 0)
        self.codes: dict[str, list[int]] = {name: [] for name in self.names}

    def _command(self, name: str) -> list[str]:
        place, at = str(self._out / name), f"127.0.0.1:{self._port}"
        if name == "server":
            return ["server", f"{place}/run.toml", "--listen", at, *self._server]
        start = ["party", name] if name in self._roles else ["client"]
        return [*start, "--folder", place, "--server", at]

    def start(self, name: str) -> None:
        self.starts[name] += 1
        with (self._out / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "secure_fcl", *self._command(name), "--json-log"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def tend(self) -> int | None:
        """Start what ended; return the server's exit code once it is finished, or refuses."""
        for name in self.names:
            process = self.processes.get(name)
            code = None if process is None else process.poll()
            if process is None or code is not None:
                if code is not None:
                    self.codes[name].append(code)
                if name == "server" and code in (0, 2):
                    return code
                self.start(name)
        return None

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def until_finished(self, seconds: float) -> int | None:
        end = time.monotonic() + seconds
        while (code := self.tend()) is None and time.monotonic() < end:
            time.sleep(0.1)
        return code

    def stop(self) -> dict[str, int]:
        """Ask all to end, and return how they did."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        return {name: process.wait(30) for name, process in self.processes.items()}

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self._out.glob("*.log")))


@pytest.fixture
def port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        number: int = found.getsockname()[1]
        return number


def ledgers(out: Path, run: Path, row: str) -> Iterator[tuple[Path, int, int]]:
    """Each device's own ledger, its entries, and those of the run's that the device has too."""
    with Ledger(run / "ledger" / f"{row}.jsonl") as whole:
        for path in sorted(out.glob(f"client*/state/*/{row}/ledger.jsonl")):
            with Ledger(path) as own:
                yield path, len(own), len(whole)


def senders(run: Path, row: str) -> set[str]:
    """The devices whose vectors came in some round of a row."""
    records = [record for record in read_jsonl(run / "cost.jsonl").records if record["row"] == row]
    return {f"client{message['client']}" for record in records for message in record["ciphertexts"]}


def test_five_devices_run_calm_to_the_end_with_one_killed_on_the_way(tmp_path: Path, port: int) -> None:
    settings = [
        'rows=["calm"]', "data.name=hapt", "scenario.clients=5", "scenario.tasks=3", "privacy.max_dropouts=1",
        "privacy.colluders=1", "protection=secagg", "attacks.enabled=false", "training.rounds=4",
    ]  # fmt: skip
    deployment = Deployment(tmp_path / "out", load_config(None, settings))
    run = deployment.out / "server" / "run"
    with Supervisor(deployment, port, "--deadline", "20") as all_of_them:
        begun = time.monotonic()
        all_of_them.tend()
        while not (run / "status.json").exists() or read_status(run)["done"] < 3:
            assert all_of_them.tend() is None, all_of_them.logs()
            assert time.monotonic() - begun < 120, all_of_them.logs()
            time.sleep(0.1)
        all_of_them.kill("client2")
        assert all_of_them.until_finished(240) == 0, all_of_them.logs()
        ended = all_of_them.stop()
        # The one that was killed may still be starting when the others are through: then the signal ends it at once.
        assert ended.pop("client2") in (0, -signal.SIGTERM)
        assert {code for name, code in ended.items() if name != "server"} == {0}
        assert all_of_them.starts == dict.fromkeys(all_of_them.names, 1) | {"client2": 2}
        assert time.monotonic() - begun < 240
    assert not verify(run).misfits
    certificate = read_json(run / "certificate.json")["rows"]["calm"]
    assert certificate["engine"].startswith("tls:")
    assert "PRIVATE" not in all_of_them.logs()


DIFFER = {"engine", "code_supplied_by", "keys", "ledger_head"}
"""Fields of a row's certificate that differ from a simulation's: each run's own name is in the hash that ends its
ledger."""


def test_five_processes_certify_what_a_local_run_with_the_same_public_drop_does(
    make_config: Callable[..., Config], tmp_path: Path, port: int
) -> None:
    settings = ('rows=["calm","class_sums"]', "protection=secagg", "scenario.dropout=0.2", "training.features=plain")
    config = make_config(*settings)
    deployment = Deployment(tmp_path / "out", config)
    run = deployment.out / "server" / "run"
    with Supervisor(deployment, port, "--patience", "60") as all_of_them:
        assert all_of_them.until_finished(240) == 0, all_of_them.logs()
    assert not verify(run).misfits
    # Deployed devices keep journals always.
    local = execute(*start(config, tmp_path, journals=True), journals=tmp_path / "journals").parent
    ours, theirs = (read_json(path / "certificate.json") for path in (run, local))
    # Beside the rows: hashes of each run's files, and what its devices signed.
    assert {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)} == {
        "rows", "files", "devices",
    }  # fmt: skip
    assert ours["rows"].keys() == theirs["rows"].keys() == {"calm", "class_sums"}
    for row, mine in ours["rows"].items():
        other = theirs["rows"][row]
        assert {key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)} == DIFFER
    # The public drop is played by both, and by nobody else.
    away = [[record.get("away") for record in read_jsonl(path / "cost.jsonl").records] for path in (run, local)]
    assert away[0] == away[1]
    assert all(len(absent) == 1 for absent in away[0])
    assert senders(run, "calm") == senders(local, "calm")


def test_everybody_is_killed_at_random_and_the_run_goes_on(
    make_config: Callable[..., Config], campaign: Callable[[int, int], list[int]], tmp_path: Path, port: int
) -> None:
    """Seeds are kills: each ends one process, drawn at random, at a moment drawn at random."""
    kills = campaign(200, 10)
    rows = 'rows=["class_sums","replay"]'
    config = make_config(rows, "protection=bfv", "privacy.spare_rounds=3", f"training.rounds={2 + len(kills) // 2}")
    deployment = Deployment(tmp_path / "out", config)
    run = deployment.out / "server" / "run"
    with Supervisor(deployment, port, "--deadline", "6", "--patience", "3") as all_of_them:
        all_of_them.tend()
        for kill in kills:
            rng = random.Random(kill)
            # A process needs some seconds to be there at all; some die before they are.
            end = time.monotonic() + rng.uniform(1.0, 10.0)
            while time.monotonic() < end and all_of_them.tend() is None:
                time.sleep(0.05)
            if all_of_them.tend() is not None:
                break
            all_of_them.kill(rng.choice(all_of_them.names))
        assert all_of_them.until_finished(280) == 0, all_of_them.logs()
    assert sum(all_of_them.starts.values()) > len(all_of_them.names)
    assert not verify(run).misfits
    for row in ("class_sums", "replay"):
        found = list(ledgers(deployment.out, run, row))
        # A row may end without a device that was down all the while. Whoever sent anything has charged for it.
        assert len(found) >= len(deployment.clients) - config.privacy.max_dropouts
        assert {path.relative_to(deployment.out).parts[0] for path, _, _ in found} >= senders(run, row)
        # A device has charged no attempt that the run has not, and none twice.
        assert all(own <= whole for _, own, whole in found), found
    # Nothing was refused but what a crash took, and no error's text went anywhere.
    assert not {code for codes in all_of_them.codes.values() for code in codes} - {-9, 0, 3}, all_of_them.logs()
