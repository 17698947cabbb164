"""Which cryptographic libraries work on this machine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm

from crypto.errors import CryptoError
from crypto.keys.randomness import system_random
from crypto.keys.sealed import BoxKey, seal
from crypto.planning.packing import RING_DEGREE
from crypto.protocols.bfv import tenseal_backend
from crypto.protocols.mpc import crypten_backend
from crypto.running.processes import child_environment

CRYPTEN_SECONDS = 60


@dataclass(frozen=True)
class BackendStatus:
    """One library: whether a small operation worked, its version or what went wrong, and the command that
    helps.
    """

    name: str
    usable: bool
    detail: str
    remedy: str


def status() -> list[BackendStatus]:
    """Try cryptography, tenseal (both in this process) and crypten (imported in another one, 2 to 5 s)."""
    return [_cryptography(), _tenseal(), _crypten()]


def _cryptography() -> BackendStatus:
    remedy = "pip install 'cryptography>=48'"
    try:
        # Builds with an older OpenSSL lack ML-KEM, and say so here.
        key = BoxKey(system_random)
        works = key.open(seal(key.public, b"test", ("status",), system_random), ("status",)) == b"test"
    except (CryptoError, UnsupportedAlgorithm) as error:
        return BackendStatus("cryptography", False, str(error), remedy)
    return BackendStatus("cryptography", works, metadata.version("cryptography"), "" if works else remedy)


def _tenseal() -> BackendStatus:
    remedy = tenseal_backend.REMEDY
    row = np.arange(RING_DEGREE, dtype=np.int64)
    try:
        pair = tenseal_backend.KeyPair()
        public = tenseal_backend.parse_public_key(pair.public_bytes())
        works = bool((pair.decrypt(tenseal_backend.encrypt(public, row)) == row).all())
    except CryptoError as error:
        return BackendStatus("tenseal", False, str(error), remedy)
    detail = metadata.version("tenseal") if works else "a ciphertext decrypted to other values"
    return BackendStatus("tenseal", works, detail, "" if works else remedy)


def _crypten() -> BackendStatus:
    remedy = crypten_backend.REMEDY
    try:
        crypten_backend.require_crypten()
        program = "from crypto.protocols.mpc.crypten_backend import load_crypten; load_crypten()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            capture_output=True,
            text=True,
            timeout=CRYPTEN_SECONDS,
            env=child_environment(),
            check=False,
        )
    except (CryptoError, subprocess.TimeoutExpired) as error:
        return BackendStatus("crypten", False, str(error), remedy)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it does not import"])[-1]
        return BackendStatus("crypten", False, last[:300], remedy)
    return BackendStatus("crypten", True, metadata.version("crypten"), "")
