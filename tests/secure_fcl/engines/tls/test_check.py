"""Who is missing from a deployment and why, renewed certificates, addresses, and what is logged."""

import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.engines.keys import write_identities
from secure_fcl.engines.tls.addresses import address_of
from secure_fcl.engines.tls.certificates import make_certificate, read_certificate, write_tls_files
from secure_fcl.engines.tls.check import check_deployment
from secure_fcl.engines.tls.contexts import TlsFiles
from secure_fcl.engines.tls.helpers import helper_of
from secure_fcl.engines.tls.logs import LOG, PROGRAM, log, log_to
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.engines.tls.revocations import REVOKED, WITHDRAWN, revoke
from secure_fcl.errors import ConfigInvalid, SecureFclError
from tests.secure_fcl.engines.tls.conftest import Diligent, Place, client, until

NAMES = ("server", "keyholder", "client0", "client1")
Serving = Callable[..., TlsParties]


@pytest.fixture
def deployment(place: Place, tmp_path: Path) -> Path:
    """Folders as `secure-fcl deploy` makes them, as far as the carrier reads them."""
    out = tmp_path / "deployment"
    write_identities(NAMES, tmp_path / "keys")
    for name in NAMES:
        write_tls_files(out / name / "tls", place.ca.certificate, make_certificate(place.ca, name))
        shutil.copy(tmp_path / "keys" / f"{name}.key", out / name)
        shutil.copy(tmp_path / "keys" / "roster.json", out / name)
        for file in ("run.toml", "calendar.json"):
            (out / name / file).write_text("the same for all")
    return out


def test_a_whole_deployment_is_well_and_what_is_wrong_is_said(deployment: Path, place: Place) -> None:
    assert check_deployment(deployment) == dict.fromkeys(sorted(NAMES), "")
    shutil.rmtree(deployment / "client1")
    (deployment / "client0" / "run.toml").write_text("another")
    (deployment / "client0" / "client0.key").chmod(0o644)
    other = make_certificate(place.ca, "client1")
    write_tls_files(deployment / "keyholder" / "tls", place.ca.certificate, other)
    revoke(deployment / "server" / REVOKED, names=["client1"])
    assert check_deployment(deployment) == {
        "server": "",
        "client0": "client0.key cannot be used (RosterError); run.toml differs from the server's",
        "client1": f"there is no folder {deployment / 'client1'}",
        "keyholder": "its certificate is of client1; its certificate is revoked",
    }
    done = CliRunner().invoke(app, ["deploy", str(deployment), "--check", "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["server"] == ""
    (deployment / "client0" / WITHDRAWN).write_text("{}")
    assert check_deployment(deployment)["client0"].startswith("it has withdrawn; ")
    with pytest.raises(SecureFclError, match="no roster"):
        check_deployment(deployment / "client0" / "tls")


def test_who_does_not_dial_is_named(deployment: Path, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = TlsFiles(folder=deployment / "client0" / "tls")
    with client(Diligent(), port, files):
        found = check_deployment(deployment / "server", ("127.0.0.1", port), wait=1.5)
    missing = "it has not dialled yet"
    assert found == {"server": "", "client0": "", "client1": missing, "keyholder": missing}


def test_certificates_replaced_on_disk_are_used_by_the_next_connection(
    deployment: Path, place: Place, serving: Serving
) -> None:
    folder = deployment / "client0" / "tls"
    old = read_certificate((folder / "cert.pem").read_bytes()).serial
    revoked = deployment / "server" / REVOKED
    with serving("client0", revoked=revoked) as parties, client(Diligent(), parties.port, TlsFiles(folder=folder)):
        assert parties.wait_for(1, seconds=5)
        seat = parties.listener._seats["client0"]
        write_tls_files(folder, place.ca.certificate, make_certificate(place.ca, "client0"))
        revoke(revoked, serials=[old])
        assert until(lambda: seat.shown is not None and seat.shown.serial != old)
        assert parties.wait_for(1, seconds=5)
        before = parties.listener._own.serial
        own = place.files("server").folder
        kept = {file: (own / file).read_bytes() for file in ("cert.pem", "key.pem")}
        (own / "cert.pem").write_bytes(b"half copied")
        write_tls_files(own, place.ca.certificate, make_certificate(place.ca, "server"))
        assert until(lambda: parties.listener._own.serial != before)
        for file, content in kept.items():
            (own / file).write_bytes(content)


@pytest.mark.parametrize(
    ("text", "found"),
    [("10.0.0.1:7443", ("10.0.0.1", 7443)), ("[::1]:0", ("::1", 0)), ("a.b:65535", ("a.b", 65535))],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert address_of(text) == found


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:65536", "::1:1", "host:-1", "host:٣"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="write HOST:PORT"):
        address_of(text)


def test_the_log_is_one_object_a_line_of_known_fields_alone() -> None:
    stream, before = io.StringIO(), (PROGRAM.handlers[:], PROGRAM.level, PROGRAM.propagate)
    try:
        log_to(stream, as_json=True)
        log(logging.WARNING, "gone", party="client0\n", reason="x" * 500, names=["a\x00"])
        LOG.info("%s failed", "it", exc_info=ValueError("patient 12"))
        with pytest.raises(KeyError, match="no field 'text'"):
            log(logging.INFO, "leak", text="patient 12")
        log_to(stream, as_json=False)
        log(logging.INFO, "connected", party="client1")
    finally:
        PROGRAM.handlers[:], PROGRAM.propagate = before[0], before[2]
        PROGRAM.setLevel(before[1])
    first, second, third = stream.getvalue().splitlines()
    found = json.loads(first)
    assert found.keys() == {"time", "level", "event", "party", "reason", "names"}
    assert (found["level"], found["party"], found["reason"], found["names"]) == (
        "warning",
        "client0?",
        "x" * 200,
        ["a?"],
    )
    assert json.loads(second)["event"] == "it failed"
    assert third.endswith("connected party=client1")
    assert "patient" not in stream.getvalue()


def test_a_helper_party_without_its_files_is_one_sentence(deployment: Path) -> None:
    assert helper_of("keyholder", deployment / "keyholder").answer({}) is not None
    with pytest.raises(SecureFclError, match=r"helper\.key is missing"):
        helper_of("helper", deployment / "keyholder")
