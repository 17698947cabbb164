"""Whole runs over TLS on this machine: devices in threads, and in processes of their own that are killed."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from secure_fcl.config import Config
from secure_fcl.engines.commands import Ask, Visit
from secure_fcl.engines.deployed.folder import DeviceFolder, ServerFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.deployed.making import roles_of, write_folders
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.engines.tls.certificates import make_ca, make_certificate, write_tls_files
from secure_fcl.engines.tls.contexts import TlsFiles
from secure_fcl.engines.tls.helpers import helper_of
from secure_fcl.errors import QuorumMissing, RunFolderError
from secure_fcl.randomness import noise_secret
from secure_fcl.running.prepare import prepare
from secure_fcl.running.status import read_status, status_lines
from secure_fcl.serving import Server, Serving
from secure_fcl.streams.public import PublicCalendar
from tests.secure_fcl.engines.tls.conftest import QUICK, client, until

ROWS = ('rows=["class_sums"]', "protection=plain", "replay_noise=true")


class Deployment:
    """Folders of all parties, certificates in them, and who runs from them."""

    def __init__(self, out: Path, config: Config) -> None:
        self.out = out
        simulated = prepare(config)
        self.noise_key = simulated.noise_key(noise_secret()) if config.replay_noise else None
        self.roles = roles_of(plan for plan, _ in simulated.rows)
        calendar = PublicCalendar.of(simulated.scenario)
        folders = write_folders(
            out, config.model_copy(update={"engine": "tls"}), calendar, self.roles, simulated.scenario
        )
        self.clients = [folder.name for folder in folders if folder.name not in self.roles]
        ca = make_ca()
        for folder in folders:
            write_tls_files(folder / "tls", ca.certificate, make_certificate(ca, folder.name))

    def server(self, **more: Any) -> Server:
        said: list[str] = []
        serving = Serving(**({"address": ("127.0.0.1", 0), "limits": QUICK, "patience": 0.5, "wait": 20.0} | more))
        made = Server(ServerFolder.read(self.out / "server"), serving, said.append)
        made.said = said  # type: ignore[attr-defined]
        return made

    @contextmanager
    def device(self, name: str, port: int, before: Callable[[Ask], None] | None = None) -> Iterator[None]:
        host = DeployedHost(DeviceFolder.read(self.out / name), self.noise_key)
        with client(Fickle(host, before) if before else host, port, TlsFiles(folder=self.out / name / "tls")):
            yield
        host.close()

    @contextmanager
    def helper(self, name: str, port: int) -> Iterator[None]:
        with client(helper_of(name, self.out / name), port, TlsFiles(folder=self.out / name / "tls")):
            yield


@contextmanager
def served(server: Server) -> Iterator[list[BaseException | Path]]:
    """A server in a thread; what it came to is in the list in the end."""
    found: list[BaseException | Path] = []

    def run() -> None:
        try:
            found.append(server.run())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert until(lambda: server.port != 0 or bool(found), 20)
    yield found
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "protection", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("plain", "secagg")), "bfv"]
)
def test_a_run_over_tls_is_the_simulated_run(
    protection: str, run_tiny: Callable[..., Any], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = (*ROWS, f"protection={protection}")
    simulated = run_tiny(*settings)
    deployment = Deployment(tmp_path / "out", make_config(*settings))
    server = deployment.server()
    with served(server) as found, ExitStack() as stack:
        for role in deployment.roles[1:]:
            stack.enter_context(deployment.helper(role, server.port))
        for name in deployment.clients:
            stack.enter_context(deployment.device(name, server.port))
        assert until(lambda: bool(found), 60)
    assert found == [server.run_path / "report.html"]
    assert (server.run_path / "metrics.jsonl").read_bytes() == simulated.metrics
    status = read_status(server.run_path)
    assert (status["state"], status["done"], status["present"]) == ("finished", status["total"], status["present"])
    assert "finished" in status_lines(status)[0]


class Fickle:
    """A device that does something else before some of its answers."""

    def __init__(self, host: DeployedHost, before: Callable[[Ask], None]) -> None:
        self._host, self._before = host, before

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        for ask in asks.values():
            self._before(ask)
        yield from self._host.answer(asks)


def masked(make_config: Callable[..., Config], *settings: str) -> Config:
    return make_config('rows=["class_sums"]', "protection=secagg", "privacy.spare_rounds=2", *settings)


def test_below_quorum_it_says_who_is_missing_and_goes_on_when_they_come(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path / "out", masked(make_config))
    server = deployment.server(wait=2.0)
    with served(server) as found, ExitStack() as stack:
        for name in deployment.clients[:3]:
            stack.enter_context(deployment.device(name, server.port))
        assert until(lambda: bool(found), 20)
    (error,) = found
    assert isinstance(error, QuorumMissing)
    text = (
        "3 of 5 clients are here, 4 are needed; missing: client3 (it has not dialled yet), client4 (it has not dialled"
    )
    assert text in str(error)
    status = read_status(server.run_path)
    assert (status["state"], status["serving"]) == ("aborted", False)
    assert status["reason"] == str(error)
    # With one more it begins, and the fifth joins from the next task on.
    again = deployment.server()
    late = deployment.clients[4]
    with served(again) as found, ExitStack() as stack:
        for name in deployment.clients[:4]:
            stack.enter_context(deployment.device(name, again.port))
        assert until(lambda: read_status(again.run_path)["done"] >= 1, 20)
        stack.enter_context(deployment.device(late, again.port))
        assert until(lambda: bool(found), 60)
    assert found == [again.run_path / "report.html"]


def test_who_leaves_or_lags_is_left_out_and_named(make_config: Callable[..., Config], tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "out", masked(make_config))
    server = deployment.server(deadline=1.0)
    slow = threading.Event()

    def lag(ask: Ask) -> None:
        if isinstance(ask, Visit) and not slow.is_set():
            slow.set()
            time.sleep(2.0)

    with served(server) as found, ExitStack() as stack:
        for name in deployment.clients[1:]:
            stack.enter_context(deployment.device(name, server.port))
        stack.enter_context(deployment.device(deployment.clients[0], server.port, lag))
        assert until(lambda: "client0" in read_status(server.run_path)["late"], 30)
        assert "late: client0 (no answer within 1 s)" in status_lines(read_status(server.run_path))
        assert until(lambda: bool(found), 60)
    assert found == [server.run_path / "report.html"]
    assert slow.is_set()


def test_a_round_below_quorum_is_aborted_and_run_again(make_config: Callable[..., Config], tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "out", masked(make_config))
    server = deployment.server(deadline=1.0)
    visits: list[str] = []

    def refuse(name: str) -> Callable[[Ask], None]:
        def before(ask: Ask) -> None:
            if isinstance(ask, Visit):
                visits.append(name)
                if visits.count(name) == 2:
                    raise RuntimeError("a disk is full")

        return before

    with served(server) as found, ExitStack() as stack:
        for name in deployment.clients:
            before = refuse(name) if name in deployment.clients[:2] else None
            stack.enter_context(deployment.device(name, server.port, before))
        assert until(lambda: bool(found), 90)
    assert found == [server.run_path / "report.html"]
    aborts = [text for text in server.said if text.startswith("aborted")]  # type: ignore[attr-defined]
    assert aborts
    assert "client0 (it could not answer (RuntimeError))" in aborts[0]


def test_a_run_of_another_configuration_is_not_continued(make_config: Callable[..., Config], tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "out", masked(make_config))
    assert deployment.server().run_path.is_dir()
    for name in ("run.toml", "calendar.json"):
        assert (deployment.out / "server" / name).is_file()
    text = (deployment.out / "server" / "run.toml").read_text()
    (deployment.out / "server" / "run.toml").write_text(text.replace("spare_rounds = 2", "spare_rounds = 3"))
    with pytest.raises(RunFolderError, match="begun under another configuration"):
        deployment.server()
    with pytest.raises(RunFolderError, match="no server serves this run"):
        read_status(tmp_path)
