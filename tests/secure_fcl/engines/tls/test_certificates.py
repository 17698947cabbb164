from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secure_fcl.engines.tls.certificates import make_ca, make_certificate, read_certificate, write_tls_files
from secure_fcl.errors import SecureFclError


def test_a_certificate_is_of_one_name_and_says_until_when(tmp_path: Path) -> None:
    ca = make_ca()
    own = make_certificate(ca, "client0", days=3, hosts=["machine.example"])
    shown = read_certificate(own.certificate)
    assert shown.name == "client0"
    assert 2.9 < shown.days_left() < 3.0
    assert int(shown.serial, 16) > 0
    assert "PRIVATE" not in repr(own)
    write_tls_files(tmp_path / "tls", ca.certificate, own)
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o077 == 0
    assert read_certificate((tmp_path / "tls" / "cert.pem").read_bytes()) == shown
    past = make_certificate(ca, "client0", days=1, not_before=datetime.now(UTC) - timedelta(days=2))
    assert read_certificate(past.certificate).days_left() < 0


@pytest.mark.parametrize("name", ["", "Client", "a b", "-a", "a-", "a" * 64, "a.b", "é"])
def test_names_that_no_certificate_has(name: str) -> None:
    with pytest.raises(SecureFclError, match="cannot stand in a certificate"):
        make_certificate(make_ca(), name)


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x30\x82"])
def test_a_malformed_certificate_is_one_sentence(data: bytes) -> None:
    with pytest.raises(SecureFclError, match="malformed"):
        read_certificate(data)
