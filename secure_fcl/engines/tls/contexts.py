"""The TLS settings of both sides: version 1.3, certificates both ways, the federation's own authority and no other."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from secure_fcl.engines.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE, Shown, read_certificate
from secure_fcl.errors import SecureFclError

TLS = "tls"
"""Name of the folder of these files in a party's own."""


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """A folder with `ca.pem`, `cert.pem` and `key.pem` of one party."""

    folder: Path

    def own(self) -> Shown:
        """Return what the party's own certificate says.

        Raises:
            SecureFclError: it is missing or malformed.
        """
        path = self.folder / CERTIFICATE_FILE
        if not path.is_file():
            raise SecureFclError(f"{path} is missing; copy the folder that `secure-fcl deploy` made for this party")
        return read_certificate(path.read_bytes())

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when a file is replaced; files that are not there count as 0."""
        paths = [self.folder / name for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE)]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the settings of a server that takes certificates of its authority, made for dialling, and no others.

    Raises:
        SecureFclError: a file is missing, malformed or open to others, or certificate and key do not fit.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    # Without tickets every connection shows its certificate anew: a revoked one has no way back in.
    context.num_tickets = 0
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the settings of a party that dials; who checks the server's name is TLS itself.

    Raises:
        SecureFclError: as `server_context`.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    ca, certificate, key = (files.folder / name for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE))
    for path in (ca, certificate, key):
        if not path.is_file():
            raise SecureFclError(f"{path} is missing; copy the folder that `secure-fcl deploy` made for this party")
    if key.stat().st_mode & 0o077:
        raise SecureFclError(f"{key} is open to other users; run: chmod 600 {key}")
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=ca)
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise SecureFclError(
            f"the files in {files.folder} do not fit one another ({error.reason}); copy the party's folder again"
        ) from None
    return context
