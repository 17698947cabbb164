"""Keys of a federation on one machine: the SuperLink's certificate, and the nodes' keys."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evaluation.files import atomic_write
from secure_fcl.engines.tls.certificates import SERVER, make_ca, make_certificate, write_tls_files

DAYS = 30.0


def write_certificates(folder: Path) -> None:
    """Write `ca.pem`, `cert.pem` and `key.pem` of a server on this machine.

    The authority's private key is dropped: nothing else is ever signed with it.
    """
    ca = make_ca(days=DAYS)
    write_tls_files(folder, ca.certificate, make_certificate(ca, SERVER, DAYS, ("localhost", "127.0.0.1")))


def write_node_key(path: Path) -> Path:
    """Write a node's private key as OpenSSH has it (Flower refuses PKCS8), and its public half; return that path."""
    key = ec.generate_private_key(ec.SECP384R1())
    path.parent.mkdir(parents=True, exist_ok=True)
    form, public = serialization.PrivateFormat.OpenSSH, path.with_suffix(".pub")
    atomic_write(path, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()), mode=0o600)
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    return public
