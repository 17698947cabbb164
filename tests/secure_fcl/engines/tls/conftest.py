"""A federation on this machine: an authority, files of each name, and clients in threads."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from secure_fcl.engines.commands import Ask, Done
from secure_fcl.engines.parties import Answer, Host, Party
from secure_fcl.engines.tls.certificates import Credentials, make_ca, make_certificate, write_tls_files
from secure_fcl.engines.tls.client import Client, Dialling
from secure_fcl.engines.tls.contexts import TlsFiles
from secure_fcl.engines.tls.limits import Limits
from secure_fcl.engines.tls.parties import TlsParties

QUICK = Limits(heartbeat=0.2, handshake=1.0, grace=1.0, burst=1000, rate=1000.0)
DIALLING = Dialling(first=0.05, longest=0.2)


class Place:
    """Files of one authority's names, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, make_ca()

    def files(self, name: str, folder: str = "", ca: Credentials | None = None, **more: object) -> TlsFiles:
        place = self.folder / (folder or name)
        if not place.exists():
            own = make_certificate(ca or self.ca, name, **more)  # type: ignore[arg-type]
            write_tls_files(place, self.ca.certificate, own)
        return TlsFiles(folder=place)


class Diligent:
    """A host that counts what it is asked, and takes as long as it is told."""

    def __init__(self, work: Callable[[Ask], None] = lambda ask: None) -> None:
        self.asked: list[Ask] = []
        self._work = work

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        for party, ask in asks.items():
            self.asked.append(ask)
            self._work(ask)
            yield Answer(party=party, reply=Done())


@contextmanager
def client(host: Host, port: int, files: TlsFiles, dialling: Dialling = DIALLING) -> Iterator[Client]:
    """A client in a thread; it is stopped, and gone, in the end."""
    made = Client(host, ("127.0.0.1", port), files, dialling)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(10)
        assert not thread.is_alive()


def until(held: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not held():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serving(place: Place) -> Callable[..., AbstractContextManager[TlsParties]]:
    def serving(*clients: str, **more: object) -> TlsParties:
        given = {"limits": QUICK} | more
        return TlsParties(("127.0.0.1", 0), place.files("server"), clients, **given)  # type: ignore[arg-type]

    return serving
