"""One connection for each name, asks with a deadline, and answers that survive a lost connection."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from secure_fcl.engines.commands import Ask, Close, Done, Failed, Sent
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.engines.tls.client import Client, Dialling, why_not
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.errors import SecureFclError
from tests.secure_fcl.engines.tls.conftest import QUICK, Diligent, Place, client, until

Serving = Callable[..., TlsParties]
CLOSE = Close(slot=3, state={})


def test_all_who_are_there_answer_and_whoever_is_not_is_not_waited_for(place: Place, serving: Serving) -> None:
    hosts = {f"client{k}": Diligent() for k in range(3)}
    with serving("client0", "client1", "client2", "client3") as parties, ExitStack() as stack:
        assert parties.present() == ()
        for name, host in hosts.items():
            stack.enter_context(client(host, parties.port, place.files(name)))
        assert parties.wait_for(3, seconds=5)
        assert parties.present() == ("client0", "client1", "client2")
        assert parties.missing() == {"client3": "it has not dialled yet"}
        assert not parties.wait_for(4, seconds=0.1)
        begun = time.monotonic()
        answers = list(parties.ask(dict.fromkeys(parties.clients, CLOSE), deadline=20.0))
        assert {one.party: one.reply for one in answers} == dict.fromkeys(hosts, Done())
        # After the grace, not after the deadline.
        assert QUICK.grace <= time.monotonic() - begun < 10
        assert parties.late == {"client3": "it has not dialled yet"}
        assert [[ask.slot for ask in host.asked] for host in hosts.values()] == [[3], [3], [3]]
    assert parties.listener.counts.refused == 0


def test_the_silent_is_missing_and_its_late_answer_is_nobodys(place: Place, serving: Serving) -> None:
    held = threading.Event()
    host = Diligent(lambda ask: held.wait(10) and None)
    with serving("client0") as parties, client(host, parties.port, place.files("client0")):
        assert parties.wait_for(1, seconds=5)
        assert list(parties.ask({"client0": CLOSE}, deadline=0.3)) == []
        # Signs of life go on while the host works.
        time.sleep(QUICK.silence + 0.3)
        assert parties.present() == ("client0",)
        assert list(parties.ask({"client0": Close(slot=4, state={})}, deadline=0.3)) == []
        held.set()
        (answer,) = parties.ask({"client0": Close(slot=5, state={})}, deadline=5)
        assert answer.reply == Done()
        # What was withdrawn before it could be sent is never asked.
        assert [ask.slot for ask in host.asked] == [3, 5]


def test_a_connection_lost_in_the_middle_of_an_ask(place: Place, serving: Serving) -> None:
    held = threading.Event()
    host = Diligent(lambda ask: held.wait(10) and None)
    with serving("client0") as parties, client(host, parties.port, place.files("client0")):
        assert parties.wait_for(1, seconds=5)
        answers = parties.ask({"client0": CLOSE}, deadline=20)
        found: list[Answer] = []
        asking = threading.Thread(target=lambda: found.extend(answers))
        asking.start()
        assert until(lambda: len(host.asked) == 1)
        for _ in range(3):
            parties.listener.expel("client0", "a test")
            assert until(lambda: not parties.present()) or parties.present()
            assert parties.wait_for(1, seconds=5)
        held.set()
        asking.join(10)
        assert [one.reply for one in found] == [Done()]
        assert len(host.asked) == 1
        assert parties.listener.counts.admitted == 4


def test_an_answer_that_was_lost_is_sent_again_and_nothing_is_done_twice(place: Place, serving: Serving) -> None:
    host = Diligent()
    with serving("client0") as parties, client(host, parties.port, place.files("client0")) as dialled:
        assert parties.wait_for(1, seconds=5)
        assert len(list(parties.ask({"client0": CLOSE}, 5))) == 1
        # The same number once more, as when the answer had been lost on the way.
        number = dialled._last[0]
        seat = parties.listener._seats["client0"]
        found: list[bytes] = []
        loop = parties.listener._loop
        from secure_fcl.engines.frames import to_frame
        from secure_fcl.engines.tls.listener import _Question

        loop.call_soon_threadsafe(parties.listener._put, "client0", _Question(number, to_frame(CLOSE), found.append))
        assert until(lambda: len(found) == 1)
        assert len(host.asked) == 1
        assert seat.question is None


def test_the_newer_connection_replaces_the_older_which_comes_back_seldom(place: Place, serving: Serving) -> None:
    older, newer = Diligent(), Diligent()
    slow = Dialling(first=0.05, longest=30.0)
    with serving("client0") as parties, client(older, parties.port, place.files("client0"), slow):
        assert parties.wait_for(1, seconds=5)
        with client(newer, parties.port, place.files("client0"), slow):
            assert until(lambda: parties.listener.counts.admitted == 2)
            assert len(list(parties.ask({"client0": CLOSE}, 5))) == 1
            time.sleep(0.5)
            assert parties.listener.counts.admitted == 2
    assert [len(older.asked), len(newer.asked)] == [0, 1]


class Wrong:
    """Answers with whatever it is told, or raises it."""

    def __init__(self, reply: object) -> None:
        self._reply = reply

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        if isinstance(self._reply, Exception):
            raise self._reply
        for party in asks:
            yield Answer(party=party, reply=self._reply)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (ValueError("patient 12 is ill"), "it could not answer (ValueError)"),
        (Failed(error="KeyError", text="patient 12 is ill", trace="secret"), "it could not answer (KeyError)"),
        (Failed(error="patient 12", text="", trace=""), "it answered what cannot be an answer"),
        (Sent(items=(), train=0.0, encrypt=0.0), "it answered what cannot be an answer"),
        ("nonsense", "it could not answer (FrameRefused)"),
    ],
)
def test_of_what_goes_wrong_only_the_class_leaves(
    reply: object, why: str, place: Place, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with serving("client0") as parties, client(Wrong(reply), parties.port, place.files("client0")):
        assert parties.wait_for(1, seconds=5)
        found = [one.reply for one in parties.ask({"client0": CLOSE}, 5)]
        failed = [Failed(error=why[21:-1], text="", trace="")] if "could not" in why else []
        assert found == failed
        assert parties.late == {"client0": why}
    assert "ill" not in str([vars(record) for record in caplog.records])


def test_a_server_that_comes_back_finds_its_parties(place: Place, serving: Serving) -> None:
    host = Diligent()
    with ExitStack() as stack:
        with serving("client0") as parties:
            port = parties.port
            stack.enter_context(client(host, port, place.files("client0")))
            assert parties.wait_for(1, seconds=5)
        with TlsParties(("127.0.0.1", port), place.files("server"), ["client0"], limits=QUICK) as again:
            assert again.wait_for(1, seconds=5)
            assert len(list(again.ask({"client0": CLOSE}, 5))) == 1


def test_an_address_in_use_is_one_sentence(place: Place, serving: Serving) -> None:
    with serving() as parties, pytest.raises(SecureFclError, match=rf"127.0.0.1:{parties.port} cannot .* --listen"):
        TlsParties(("127.0.0.1", parties.port), place.files("server"), [])
    parties.close()


def test_a_client_stopped_before_it_dialled_leaves_at_once(place: Place) -> None:
    made = Client(Diligent(), ("127.0.0.1", 1), place.files("client0"))
    made.stop()
    made.run()
    assert why_not(ConnectionRefusedError(111, "Connection refused")) == "Connection refused"


def test_files_that_do_not_fit_are_one_sentence(place: Place, tmp_path: Path) -> None:
    from secure_fcl.engines.tls.contexts import TlsFiles, server_context

    with pytest.raises(SecureFclError, match=r"ca.pem is missing; copy the folder"):
        server_context(TlsFiles(folder=tmp_path))
    mixed = place.files("mixed", folder="mixed")
    (mixed.folder / "key.pem").write_bytes((place.files("client0").folder / "key.pem").read_bytes())
    with pytest.raises(SecureFclError, match="do not fit one another"):
        server_context(mixed)
    (mixed.folder / "key.pem").chmod(0o644)
    with pytest.raises(SecureFclError, match="chmod 600"):
        server_context(mixed)
