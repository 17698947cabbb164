"""All use of TenSEAL: BFV key pairs, public keys and ciphertexts of 4,096 slots.

Parameters: N = 4096, q of 60 + 49 bits (the 49-bit prime serves key switching only and never travels), t of
44 bits. TenSEAL is imported at first use.
"""

from __future__ import annotations

import importlib
import importlib.util
import weakref
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto.errors import BackendMissing, CiphertextError
from crypto.keys.secrecy import holds_secrets
from crypto.planning.packing import COEFFICIENT_BITS, COEFFICIENT_PRIMES, PLAIN_MODULUS, RING_DEGREE

REMEDY = "pip install 'tenseal>=0.3.17'"
MAX_CIPHERTEXT = 66_000
MAX_PUBLIC_KEY = 126_000
# What TenSEAL's C++ code turns into Python exceptions when it meets malformed bytes.
_PARSE_ERRORS = (ValueError, RuntimeError, TypeError, IndexError, OverflowError, MemoryError)


def release() -> str:
    """TenSEAL's version: what one release writes, another may read as something else."""
    return metadata.version("tenseal")


def _tenseal() -> Any:
    if importlib.util.find_spec("tenseal") is None:
        raise BackendMissing(f"the bfv protocol needs TenSEAL, not installed here; run: {REMEDY}")
    try:
        # Without its second half, TenSEAL cannot hand out contexts and ciphertexts for inspection.
        importlib.import_module("tenseal.sealapi")
        return importlib.import_module("tenseal")
    except ImportError as error:
        raise BackendMissing(f"TenSEAL does not import ({error}); run: {REMEDY}") from error


@dataclass(frozen=True, eq=False)
class PublicKey:
    """A parsed public key (a TenSEAL context without secret, Galois or relinearisation keys)."""

    raw: bytes = field(repr=False)
    context: Any = field(repr=False)


_PARSED: weakref.WeakValueDictionary[bytes, PublicKey] = weakref.WeakValueDictionary()


def parse_public_key(raw: bytes) -> PublicKey:
    """Parse a public key; sessions of one process that were sent the same bytes share one object (a few MB).

    Raises:
        CiphertextError: the bytes are no TenSEAL context, hold a secret key, or have other parameters.
    """
    known = _PARSED.get(raw)
    if known is not None:
        return known
    if not 0 < len(raw) <= MAX_PUBLIC_KEY:
        raise CiphertextError(f"a public key has at most {MAX_PUBLIC_KEY} bytes, this one {len(raw)}")
    try:
        context = _tenseal().context_from(raw, n_threads=1)
        parameters = context.data.seal_context().key_context_data().parms()
        shape = (
            parameters.poly_modulus_degree(),
            parameters.plain_modulus().value(),
            tuple(prime.value() for prime in parameters.coeff_modulus()),
        )
        usable = context.has_public_key() and not context.has_secret_key()
    except _PARSE_ERRORS as error:
        raise CiphertextError(f"the bytes are no TenSEAL public key: {str(error)[:100]}") from error
    if not usable or shape != (RING_DEGREE, PLAIN_MODULUS, COEFFICIENT_PRIMES):
        raise CiphertextError("the key has a secret part or other parameters than this package's; it is refused")
    key = PublicKey(raw, context)
    _PARSED[raw] = key
    return key


def encrypt(key: PublicKey, row: npt.NDArray[np.int64]) -> bytes:
    """Encrypt 4,096 integers in [0, t) and return the ciphertext's bytes (SEAL's own generator, seeded by the
    system).

    Raises:
        CiphertextError: another length or a value outside, which TenSEAL would alter silently.
    """
    if row.shape != (RING_DEGREE,) or row.min() < 0 or row.max() >= PLAIN_MODULUS:
        raise CiphertextError(f"a plaintext is {RING_DEGREE} integers in [0, {PLAIN_MODULUS}); pack the vector first")
    return bytes(_tenseal().bfv_vector(key.context, row.tolist()).serialize())


class CiphertextSum:
    """A running sum of ciphertexts of one place, added in place."""

    def __init__(self, key: PublicKey) -> None:
        """Start with nothing."""
        self._key = key
        self._total: Any = None

    def parse(self, raw: bytes) -> Any:
        """Parse one ciphertext.

        Raises:
            CiphertextError: it is not fresh, of 4,096 slots and of these parameters.
        """
        return _parse(self._key.context, raw)

    def add(self, vector: Any) -> None:
        """Add a parsed ciphertext; the sum takes it over."""
        if self._total is None:
            self._total = vector
        else:
            self._total.add_(vector)

    def to_bytes(self) -> bytes:
        """The sum's ciphertext.

        Raises:
            CiphertextError: nothing was added.
        """
        if self._total is None:
            raise CiphertextError("the sum is empty; add a ciphertext first")
        return bytes(self._total.serialize())


def _parse(context: Any, raw: bytes) -> Any:
    if not 0 < len(raw) <= MAX_CIPHERTEXT:
        raise CiphertextError(f"a ciphertext has at most {MAX_CIPHERTEXT} bytes, this one {len(raw)}")
    try:
        vector = _tenseal().bfv_vector_from(context, raw)
        parts = vector.ciphertext()
        fits = vector.size() == RING_DEGREE and len(parts) == 1
        fits = fits and parts[0].size() == 2 and parts[0].coeff_modulus_size() == 1
    except _PARSE_ERRORS as error:
        raise CiphertextError(f"the bytes are no ciphertext of this key's parameters: {str(error)[:100]}") from error
    if not fits:
        raise CiphertextError(f"a ciphertext holds {RING_DEGREE} slots in one fresh block; this one does not")
    return vector


@holds_secrets
class KeyPair:
    """A fresh BFV key pair; the secret part never leaves this object."""

    def __init__(self) -> None:
        """Generate the keys with SEAL's own generator, seeded by the operating system."""
        tenseal = _tenseal()
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.BFV,
            poly_modulus_degree=RING_DEGREE,
            plain_modulus=PLAIN_MODULUS,
            coeff_mod_bit_sizes=list(COEFFICIENT_BITS),
            n_threads=1,
        )

    def public_bytes(self) -> bytes:
        """The public key alone: no secret, Galois or relinearisation keys."""
        return bytes(
            self._context.serialize(
                save_public_key=True, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
            )
        )

    def check(self, raw: bytes) -> None:
        """Refuse what is no ciphertext of these parameters, by its form alone: the secret key takes no part.

        Raises:
            CiphertextError: it is malformed.
        """
        _parse(self._context, raw)

    def decrypt(self, raw: bytes) -> npt.NDArray[np.int64]:
        """Decrypt one ciphertext to 4,096 integers modulo t, centred.

        A ciphertext of another key decrypts to noise without an error.

        Raises:
            CiphertextError: it is malformed.
        """
        vector = _parse(self._context, raw)
        try:
            return np.asarray(vector.decrypt(), dtype=np.int64)
        except _PARSE_ERRORS as error:
            raise CiphertextError(f"the ciphertext does not decrypt: {str(error)[:100]}") from error
