"""Certificates of a federation: one authority of its own, and one certificate for each name.

Nothing here is a public authority's: each party pins the federation's own, and a certificate is good for one name. The
server's name serves and dials nobody, every other name dials and serves nobody, so that no device can play the server
to the others (extended key usage, RFC 5280, section 4.2.1.12).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from evaluation.files import atomic_write
from secure_fcl.errors import SecureFclError

SERVER = "server"
"""The name of the party that listens, in its certificate and in the roster."""
CA_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.pem", "cert.pem", "key.pem"
CLOCK_SKEW = timedelta(minutes=10)
"""A certificate holds from this long before it was made: clocks differ."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A certificate and its private key, both PEM. The key is a secret and is not shown."""

    certificate: bytes
    key: bytes = field(repr=False)


def make_ca(name: str = "secure-fcl", days: float = 3650.0) -> Credentials:
    """Return a new authority, good for `days` days; keep its key off every machine that runs.

    Raises:
        SecureFclError: a name that no certificate can have.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = _builder(subject, subject, key.public_key(), days)
    usage = _usage(signs=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return _signed(builder, key, key)


def make_certificate(
    ca: Credentials, name: str, days: float = 365.0, hosts: Iterable[str] = (), not_before: datetime | None = None
) -> Credentials:
    """Return a new certificate of `ca` for one name, and its key.

    Args:
        ca: the authority, with its key.
        name: of the party: lower-case letters, digits, hyphens. `SERVER` gets one that serves, others one that dials.
        days: how long it holds.
        hosts: names and addresses of machines beside, for clients that check them (Flower); ours checks `name`.
        not_before: from when it holds; None: from `CLOCK_SKEW` ago.

    Raises:
        SecureFclError: a name that no certificate can have.
    """
    authority = x509.load_pem_x509_certificate(ca.certificate)
    signer = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise SecureFclError("the authority's key is of another kind than make_ca makes; make a new authority")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_subject(name), authority.subject, key.public_key(), days, not_before)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if name == SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
    names = x509.SubjectAlternativeName([_shown_as(each) for each in dict.fromkeys((name, *hosts))])
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    builder = builder.add_extension(names, critical=False).add_extension(issued_by, critical=False)
    return _signed(builder, key, signer)


def write_tls_files(folder: Path, ca: bytes, own: Credentials) -> None:
    """Write `ca.pem` (the authority's certificate), `cert.pem` and `key.pem` (mode 0600) into a folder; makes it.

    Raises:
        evaluation.errors.StorageError: the system refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The key last: a crash between the two leaves a pair that does not fit, which is noticed when it is read.
    atomic_write(folder / CA_FILE, ca)
    atomic_write(folder / CERTIFICATE_FILE, own.certificate)
    atomic_write(folder / KEY_FILE, own.key, mode=0o600)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a peer's certificate says: whose it is, its serial number in hexadecimal digits, and until when it holds."""

    name: str
    serial: str
    until: datetime

    def days_left(self, now: datetime | None = None) -> float:
        """Return the days for which it still holds; negative when it has expired."""
        return (self.until - (now or datetime.now(UTC))).total_seconds() / 86400.0


def read_certificate(data: bytes) -> Shown:
    """Return what a certificate, PEM or DER, says.

    Raises:
        SecureFclError: it is malformed, or of no one name.
    """
    try:
        pem = data.lstrip().startswith(b"-----")
        found = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
        names = [str(each.value) for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError as error:
        raise SecureFclError(f"a certificate is malformed ({type(error).__name__}); make it anew") from error
    if len(names) != 1 or not _NAME.fullmatch(names[0]):
        raise SecureFclError("a certificate is of no one name; make it anew")
    return Shown(name=names[0], serial=f"{found.serial_number:x}", until=found.not_valid_after_utc)


def _shown_as(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject(name: str) -> x509.Name:
    if not _NAME.fullmatch(name):
        raise SecureFclError(
            f"the name {name[:80]!r} cannot stand in a certificate; use 1 to 63 lower-case letters, digits and hyphens"
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: float,
    not_before: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(not_before or now - CLOCK_SKEW)
    builder = builder.not_valid_after((not_before or now) + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(signs: bool) -> x509.KeyUsage:
    """Return the key usage of a party (`signs`: handshakes) or of an authority (certificates)."""
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=not signs, crl_sign=not signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Credentials:
    made = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(certificate=made.public_bytes(serialization.Encoding.PEM), key=private)
