"""Two kinds of randomness, never mixed: public seeds of the simulation, and secret coins and noise."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NoReturn

import numpy as np

from crypto.keys.randomness import KEY_BYTES, KeyedStream, derive_key, system_random
from privacy.randomness import RandomBytes
from secure_fcl.errors import SecureFclError

SECRET_VARIABLE = "SECURE_FCL_NOISE_SECRET_FILE"


def public_seed(seed: int, *labels: str | int) -> int:
    """Return a 63-bit seed for one public purpose; distinct labels give independent seeds."""
    text = "/".join([str(seed), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def public_generator(seed: int, *labels: str | int) -> np.random.Generator:
    """Return numpy's generator for data order, partitions and games. Never used for noise, keys or coins."""
    return np.random.default_rng(public_seed(seed, *labels))


class Coins:
    """Secret random bytes for noise, sampling coins and retention keys.

    Without a secret every stream has a key of its own from the operating system (AES-256-CTR, which costs a third of
    the system's own bytes), forgotten with the stream. With one (`replay_noise`), a stream is derived from the secret
    and its labels, so that two runs draw the same; epsilon then holds only against who lacks the secret.
    Never prints or pickles.
    """

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret

    def stream(self, *labels: str | int) -> RandomBytes:
        """Return the stream of one purpose; with a secret, equal labels give equal bytes."""
        if self._secret is None:
            return KeyedStream(system_random(KEY_BYTES))
        return KeyedStream(derive_key(self._secret, *map(str, labels)))

    def __repr__(self) -> str:
        return "Coins([redacted])"

    def __reduce__(self) -> NoReturn:
        raise TypeError("coins hold a secret and are not pickled; make new ones in the process that needs them")


def noise_secret() -> bytes:
    """Return the 32-byte secret of `replay_noise`, made on first use, kept outside every run folder (mode 0600)."""
    default = Path.home() / ".config" / "secure-fcl" / "noise-secret"
    path = Path(os.environ.get(SECRET_VARIABLE) or default)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(32))
        secret = path.read_bytes()
    except OSError as error:
        raise SecureFclError(f"noise secret {path}: {error.strerror}; set {SECRET_VARIABLE}") from error
    if len(secret) != 32:
        raise SecureFclError(f"the noise secret {path} has {len(secret)} bytes, not 32; delete it to make a new one")
    return secret
