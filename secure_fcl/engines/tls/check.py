"""Who of a deployment is missing, and why: what its folders lack, and who does not dial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from crypto.errors import CryptoError
from crypto.keys.roster import Identity, Roster
from secure_fcl.engines.keys import ROSTER
from secure_fcl.engines.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE, SERVER, read_certificate
from secure_fcl.engines.tls.contexts import TLS, TlsFiles, client_context, server_context
from secure_fcl.engines.tls.limits import Limits
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.engines.tls.revocations import REVOKED, WITHDRAWN, read_revoked
from secure_fcl.errors import SecureFclError


def check_deployment(folder: Path, address: tuple[str, int] | None = None, wait: float = 15.0) -> dict[str, str]:
    """Return what is wrong with each party of a roster, by name; empty where nothing is.

    Args:
        folder: of the server; or of all parties' folders, each named like its party, which are then looked at too.
        address: to listen on as the server, which must not be running, to see who dials; None: nobody is listened for.
        wait: seconds to listen.

    Raises:
        SecureFclError: there is no roster, the server's own files are wrong, or the address cannot be listened on.
    """
    whole = (folder / SERVER).is_dir()
    own = folder / SERVER if whole else folder
    if not (own / ROSTER).is_file():
        raise SecureFclError(f"{own} holds no {ROSTER}; name the folder that `secure-fcl deploy` made")
    roster = Roster.from_json((own / ROSTER).read_text())
    names = tuple(roster.keys)
    places = {name: folder / name for name in names} if whole else {SERVER: own}
    found = {name: "; ".join(_wrong(name, place, own, roster)) for name, place in places.items()}
    if address is not None:
        parties = [name for name in names if name != SERVER]
        files, limits = TlsFiles(folder=own / TLS), Limits(heartbeat=2.0)
        with TlsParties(address, files, parties, limits=limits, revoked=own / REVOKED) as there:
            there.wait_for(len(parties), seconds=wait)
            for name, why in there.missing().items():
                found[name] = "; ".join(filter(None, (found.get(name, ""), why)))
    return {name: found.get(name, "") for name in names}


def _wrong(name: str, place: Path, server: Path, roster: Roster) -> Iterator[str]:
    """Yield what is wrong with one party's folder."""
    if not place.is_dir():
        yield f"there is no folder {place}"
        return
    if (place / WITHDRAWN).exists():
        yield "it has withdrawn"
    try:
        if Identity.load(place / f"{name}.key").public != roster.keys[name]:
            yield "its private key is not the one of the roster"
    except (OSError, CryptoError, ValueError) as error:
        yield f"{name}.key cannot be used ({type(error).__name__})"
    for file in (ROSTER, "run.toml", "calendar.json"):
        if not (place / file).is_file():
            yield f"{file} is missing"
        elif (server / file).is_file() and (place / file).read_bytes() != (server / file).read_bytes():
            yield f"{file} differs from the server's"
    yield from _wrong_certificate(name, place / TLS, server)


def _wrong_certificate(name: str, folder: Path, server: Path) -> Iterator[str]:
    if missing := [file for file in (CA_FILE, CERTIFICATE_FILE, KEY_FILE) if not (folder / file).is_file()]:
        yield f"{TLS}/{missing[0]} is missing"
        return
    try:
        (server_context if name == SERVER else client_context)(TlsFiles(folder=folder))
        shown = read_certificate((folder / CERTIFICATE_FILE).read_bytes())
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((server / TLS / CA_FILE).read_bytes()))
    except (SecureFclError, OSError, ValueError, TypeError, InvalidSignature) as error:
        known = isinstance(error, SecureFclError)
        yield str(error) if known else "its certificate is not of the authority that the server trusts"
        return
    if shown.name != name:
        yield f"its certificate is of {shown.name}"
    if shown.days_left() < 0:
        yield f"its certificate expired on {shown.until:%Y-%m-%d}"
    if not read_revoked(server / REVOKED).holds(shown):
        yield "its certificate is revoked"
