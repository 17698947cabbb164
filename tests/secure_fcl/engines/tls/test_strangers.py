"""Who is let in, and what those cost who are not."""

import random
import resource
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secure_fcl.engines.commands import Close, Done
from secure_fcl.engines.tls.certificates import SERVER, make_ca, make_certificate, read_certificate, write_tls_files
from secure_fcl.engines.tls.contexts import TlsFiles, client_context
from secure_fcl.engines.tls.limits import RateLimit
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.engines.tls.revocations import REVOKED, Revocations, read_revoked, revoke
from secure_fcl.engines.tls.wire import VERSION, Kind
from secure_fcl.errors import SecureFclError
from tests.secure_fcl.engines.tls.conftest import QUICK, Diligent, Place, client, until

Serving = Callable[..., TlsParties]
CLOSE = Close(slot=0, state={})
HELLO = struct.pack("!BI", Kind.HELLO, 1) + bytes((VERSION,))


def dial(port: int, files: TlsFiles | None = None, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    context = context or client_context(files)  # type: ignore[arg-type]
    plain = socket.create_connection(("127.0.0.1", port), timeout=5)
    return context.wrap_socket(plain, server_hostname=SERVER)


def said(connection: ssl.SSLSocket) -> bytes:
    """What the server says until it closes, or for a moment."""
    connection.settimeout(1.5)
    heard = b""
    with suppress(OSError):
        while some := connection.recv(1 << 16):
            heard += some
    return heard


def still_serves(parties: TlsParties, place: Place) -> bool:
    with client(Diligent(), parties.port, place.files("client0")):
        assert parties.wait_for(1, seconds=10)
        return [one.reply for one in parties.ask({"client0": CLOSE}, 10)] == [Done()]


def test_nobody_comes_in_without_a_certificate_of_this_authority_for_this_purpose_now(
    place: Place, serving: Serving, tmp_path: Path
) -> None:
    past = datetime.now(UTC) - timedelta(days=9)
    other = make_ca()
    strangers = {
        "another authority": make_certificate(other, "client0"),
        "expired": make_certificate(place.ca, "client0", days=1, not_before=past),
        "not yet": make_certificate(place.ca, "client0", not_before=datetime.now(UTC) + timedelta(days=1)),
        "made for serving": make_certificate(place.ca, SERVER),
    }
    with serving("client0") as parties:
        for what, own in strangers.items():
            write_tls_files(tmp_path / what, place.ca.certificate, own)
            with suppress(OSError), dial(parties.port, TlsFiles(folder=tmp_path / what)) as connection:
                connection.sendall(HELLO)
                assert said(connection) == b"", what
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.load_verify_locations(place.files("client0").folder / "ca.pem")
        with suppress(OSError), dial(parties.port, context=bare) as connection:
            connection.sendall(HELLO)
            assert said(connection) == b""
        old = client_context(place.files("client0"))
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            dial(parties.port, context=old)
        # A name that the roster lacks is told so, after it has shown who it is.
        with dial(parties.port, place.files("client7")) as connection:
            connection.sendall(HELLO)
            assert b"does not expect" in said(connection)
        assert parties.listener.counts.admitted == 0
        assert until(lambda: parties.listener.counts.refused == len(strangers) + 3)
        assert still_serves(parties, place)


def test_no_device_can_play_the_server(place: Place) -> None:
    from secure_fcl.engines.tls.contexts import server_context

    for name in ("client0", "somebody"):
        listening = socket.create_server(("127.0.0.1", 0))
        context = server_context(place.files(name))
        import threading

        def accept(listening: socket.socket = listening, context: ssl.SSLContext = context) -> None:
            with suppress(OSError):
                context.wrap_socket(listening.accept()[0], server_side=True).close()

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(ssl.SSLCertVerificationError):
            dial(listening.getsockname()[1], place.files("client1"))
        thread.join(5)
        listening.close()


def test_revoked_names_and_serials_are_out_at_once(place: Place, serving: Serving, tmp_path: Path) -> None:
    revoked = tmp_path / REVOKED
    serial = read_certificate((place.files("client1").folder / "cert.pem").read_bytes()).serial
    with serving("client0", "client1", "client2", revoked=revoked) as parties, ExitStack() as stack:
        for k in range(3):
            stack.enter_context(client(Diligent(), parties.port, place.files(f"client{k}")))
        assert parties.wait_for(3, seconds=5)
        revoke(revoked, names=["client0"])
        revoke(revoked, serials=[serial.upper()])
        assert until(lambda: parties.present() == ("client2",))
        why = dict.fromkeys(("client0", "client1"), "the certificate is revoked")
        assert until(lambda: parties.missing() == why)
        time.sleep(0.5)
        assert parties.present() == ("client2",)
        # A damaged list lets nobody new in, and the list before it still holds.
        revoked.write_text("{")
        assert until(lambda: not parties.listener._revocations.readable)
        assert parties.present() == ("client2",)
        with dial(parties.port, place.files("client2")) as connection:
            connection.sendall(HELLO)
            assert b"cannot be read" in said(connection)
    for text in ("{", "[]", '{"revoked": [1]}', '{"revoked": [], "serials": "a"}', '{"revoked": [], "more": 1}'):
        revoked.write_text(text)
        with pytest.raises(SecureFclError, match=r"revoked\.json"):
            read_revoked(revoked)
    assert Revocations(None).refresh() is False


def test_a_certificate_that_expires_ends_its_connection(place: Place, serving: Serving, tmp_path: Path) -> None:
    write_tls_files(tmp_path / "tls", place.ca.certificate, make_certificate(place.ca, "client0", days=2.5 / 86400))
    with serving("client0") as parties, client(Diligent(), parties.port, TlsFiles(folder=tmp_path / "tls")):
        assert parties.wait_for(1, seconds=5)
        assert until(lambda: parties.present() == (), 6)
        assert parties.missing() == {"client0": "the certificate has expired"}


def test_one_address_cannot_connect_more_often_than_its_rate(place: Place, serving: Serving) -> None:
    with serving("client0", limits=replace(QUICK, burst=5, rate=0.001)) as parties:
        for _ in range(20):
            with suppress(OSError), socket.create_connection(("127.0.0.1", parties.port), timeout=5) as connection:
                connection.settimeout(2)
                connection.recv(1)
        assert parties.listener.counts.turned_away == 15
    clock = iter(range(1000))
    rate = RateLimit(2, 0.5, lambda: float(next(clock)))
    assert [rate.admits("a") for _ in range(6)] == [True, True, True, False, True, False]
    for number in range(5000):
        rate.admits(str(number)) if number < 900 else None
    assert len(rate._buckets) <= RateLimit.ADDRESSES


def test_slow_strangers_are_few_and_short(place: Place, serving: Serving) -> None:
    with serving("client0", limits=replace(QUICK, strangers=4, handshake=0.5)) as parties, ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(socket.create_connection(("127.0.0.1", parties.port), timeout=5))
        assert until(lambda: parties.listener.counts.turned_away == 8)
        assert parties.listener.counts.peak == 4
        # A handshake, and then nothing.
        assert until(lambda: parties.listener.counts.strangers == 0)
        quiet = stack.enter_context(dial(parties.port, place.files("client0")))
        assert said(quiet) == b""
        assert parties.listener.counts.strangers == 0
        assert still_serves(parties, place)


def hostile(number: int, place: Place, port: int, rng: random.Random) -> None:
    """One of some kinds of harm: before TLS, in its handshake, or with a party's own certificate in hand."""
    kind = number % 8
    with suppress(OSError):
        if kind < 3:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                start = b"" if kind == 0 else b"\x16\x03\x01" + struct.pack("!H", rng.randrange(1 << 14))
                plain.sendall(start + rng.randbytes(rng.randrange(600)))
                if kind == 2:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        with dial(port, place.files("client0")) as connection:
            length = rng.choice((0, 1, 255, 257, 1 << 16, 1 << 26, (1 << 32) - 1))
            if kind == 3:
                connection.sendall(struct.pack("!BI", rng.randrange(256), length) + rng.randbytes(200))
            elif kind == 4:
                connection.sendall(rng.randbytes(rng.randrange(1, 400)))
            elif kind == 5:
                connection.sendall(HELLO + struct.pack("!BI", Kind.ANSWER, length) + rng.randbytes(300))
            elif kind == 6:
                connection.sendall(HELLO + struct.pack("!BI", rng.randrange(256), length) + rng.randbytes(300))
            else:
                connection.sendall(HELLO[: rng.randrange(len(HELLO))])


def harm(count: int, place: Place, parties: TlsParties, seed: int) -> float:
    """Harm a server so often; return by how many MiB the process has grown."""
    rng = random.Random(seed)
    for number in range(min(count, 200)):
        hostile(number, place, parties.port, rng)
    before = _resident()
    for number in range(count):
        hostile(number, place, parties.port, rng)
    assert until(lambda: parties.listener.counts.strangers == 0, 10)
    return _resident() - before


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def test_no_malformed_frame_or_handshake_costs_more_than_its_cap(place: Place, serving: Serving) -> None:
    with serving("client0") as parties:
        assert harm(240, place, parties, 1) < 30
        assert parties.listener.counts.peak <= QUICK.strangers
        assert until(lambda: still_serves(parties, place), 1)


@pytest.mark.slow
def test_ten_thousand_malformed_frames_and_handshakes(place: Place, serving: Serving) -> None:
    with serving("client0", limits=replace(QUICK, burst=100_000)) as parties:
        assert harm(10_000, place, parties, 2) < 60
        assert still_serves(parties, place)


def test_a_party_may_send_an_answer_only_to_a_question_and_no_longer_than_the_cap(
    place: Place, serving: Serving
) -> None:
    with serving("client0", limits=replace(QUICK, answer=1000)) as parties:
        for length in (16, 1 << 30):
            with dial(parties.port, place.files("client0")) as connection:
                connection.sendall(HELLO)
                assert parties.wait_for(1, seconds=5)
                if length > 16:
                    asking = parties.ask({"client0": CLOSE}, 1.0)
                    parties.listener.post("client0", b"x", lambda frame: None)
                    connection.settimeout(3)
                    connection.recv(100)
                    connection.recv(100)
                    del asking
                connection.sendall(struct.pack("!BI", Kind.ANSWER, length) + bytes(16))
                assert until(lambda: parties.present() == ())
                assert "broke the protocol" in parties.missing()["client0"]
        assert still_serves(parties, place)
