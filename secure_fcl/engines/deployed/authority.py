"""Certificates of a deployment's parties: made, renewed, and revoked in every folder of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evaluation.files import atomic_write
from secure_fcl.engines.tls.certificates import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    SERVER,
    Credentials,
    make_ca,
    make_certificate,
    read_certificate,
    write_tls_files,
)
from secure_fcl.engines.tls.contexts import TLS
from secure_fcl.engines.tls.revocations import REVOKED, read_revoked, revoke
from secure_fcl.errors import SecureFclError

AUTHORITY = "authority"
"""Folder of a deployment with the authority's certificate and key; it goes to no party."""


def write_certificates(out: Path, names: Iterable[str], hosts: Iterable[str], days: float) -> None:
    """Make an authority, and a certificate for each party, in `out`; `hosts`: names of the server's machine.

    Raises:
        SecureFclError: a name that no certificate can have.
        evaluation.errors.StorageError: the system refused.
    """
    ca = make_ca()
    folder = out / AUTHORITY
    folder.mkdir(mode=0o700)
    atomic_write(folder / CA_FILE, ca.certificate)
    atomic_write(folder / KEY_FILE, ca.key, mode=0o600)
    for name in names:
        _write_one(out, ca, name, hosts if name == SERVER else (), days)


def rotate(out: Path, name: str, hosts: Iterable[str] = (), days: float = 365.0) -> list[Path]:
    """Give a party a new certificate and key, and revoke the old one; return what must be brought to machines.

    Raises:
        SecureFclError: the deployment has no such party, or its authority is elsewhere.
    """
    _require_party(out, name)
    folder, before = out / AUTHORITY, out / name / TLS / CERTIFICATE_FILE
    if not (folder / KEY_FILE).is_file():
        raise SecureFclError(f"{folder} holds no {KEY_FILE}; bring the authority's key back for as long as this takes")
    ca = Credentials(certificate=(folder / CA_FILE).read_bytes(), key=(folder / KEY_FILE).read_bytes())
    old = read_certificate(before.read_bytes()).serial if before.is_file() else None
    _write_one(out, ca, name, hosts if name == SERVER else (), days)
    revoked = _revoke_everywhere(out, (), () if old is None else (old,))
    return [out / name / TLS, *revoked]


def revoke_party(out: Path, name: str) -> list[Path]:
    """Revoke a party's every certificate and its identity; return the lists that must be brought to machines.

    A server lets it in no more, and devices open no sum with it. A revoked client counts as one that is missing: more
    of them than privacy.max_dropouts need a new deployment.

    Raises:
        SecureFclError: the deployment has no such party, or a list is damaged.
    """
    _require_party(out, name)
    if name in read_revoked(out / SERVER / REVOKED).names:
        raise SecureFclError(f"{name} is revoked already; bring the lists {REVOKED} to the machines")
    return _revoke_everywhere(out, (name,), ())


def _revoke_everywhere(out: Path, names: tuple[str, ...], serials: tuple[str, ...]) -> list[Path]:
    found = [folder / REVOKED for folder in sorted(out.iterdir()) if (folder / TLS).is_dir()]
    for path in found:
        revoke(path, names, serials)
    return found


def _write_one(out: Path, ca: Credentials, name: str, hosts: Iterable[str], days: float) -> None:
    write_tls_files(out / name / TLS, ca.certificate, make_certificate(ca, name, days, hosts))


def _require_party(out: Path, name: str) -> None:
    if not (out / name / TLS).is_dir():
        raise SecureFclError(f"{out} has no folder of a party {name!r}; name one of its folders")
