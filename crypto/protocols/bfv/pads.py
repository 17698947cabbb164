"""Pads modulo t that tie a BFV sum to the list of clients whose ciphertexts it should hold.

Each client adds a pad to its plaintext, from a key that it shares with the key holder; the key holder takes off
the pads of exactly the clients listed. The sum of any other ciphertexts stays padded, and decrypts to noise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crypto.errors import CiphertextError, ExchangeError, MessageError
from crypto.keys.exchange import Context, HybridKey, agree
from crypto.keys.randomness import KeyedStream, RandomBytes, derive_key, encode_labels
from crypto.keys.roster import Identity
from crypto.keys.secrecy import holds_secrets
from crypto.planning.packing import PLAIN_MODULUS, RING_DEGREE
from crypto.planning.plans import Plan
from crypto.wire.values import pack_value

Rows = npt.NDArray[np.int64]
_SHIFT = np.uint64(64 - PLAIN_MODULUS.bit_length())
_SPARE = 8


@holds_secrets
class ClientPads:
    """A client's keys for pads: one for each pair of public keys of the key holder."""

    def __init__(self, plan: Plan, client: str, random: RandomBytes) -> None:
        self._context = _context(plan, client)
        self._random = random
        self._agreed: dict[bytes, tuple[bytes, bytes]] = {}

    def agreed(self, holder: bytes) -> tuple[bytes, bytes]:
        """The capsule for the key holder with the public keys `holder`, and the key that it opens to; made once.

        Raises:
            CiphertextError: the public keys are unusable.
        """
        if holder not in self._agreed:
            try:
                self._agreed[holder] = agree(holder, self._context, self._random)
            except ExchangeError as error:
                raise CiphertextError(str(error)) from error
        return self._agreed[holder]


@holds_secrets
class HolderPads:
    """The key holder's side: opens capsules of clients, and keeps the last key of each."""

    def __init__(self, plan: Plan, random: RandomBytes) -> None:
        self._plan = plan
        self._keys = HybridKey(random)
        self.public = self._keys.public
        self._agreed: dict[str, tuple[bytes, bytes]] = {}

    def key(self, client: str, capsule: bytes) -> bytes:
        """The key for this client's pads.

        Raises:
            CiphertextError: the capsule is malformed.
        """
        if self._agreed.get(client, (b"",))[0] != capsule:
            try:
                self._agreed[client] = (capsule, self._keys.open(capsule, _context(self._plan, client)))
            except ExchangeError as error:
                raise CiphertextError(f"the key of {client!r} for pads is unusable: {error}") from error
        return self._agreed[client][1]


def _context(plan: Plan, client: str) -> Context:
    return ("bfv pad 2", plan.digest, plan.session, client)


def pad(key: bytes, round: int, upload: str, chunks: int) -> Rows:
    """The pad of one sum: `chunks` rows of 4,096 numbers, uniform modulo t (AES-256-CTR, a key for each chunk)."""
    return np.stack([_uniform(KeyedStream(derive_key(key, round, upload, chunk))) for chunk in range(chunks)])


def _uniform(stream: KeyedStream) -> Rows:
    """4,096 numbers uniform in [0, t), by rejection; a number is rejected with probability 2^-30."""
    found = np.empty(0, dtype=np.int64)
    while found.size < RING_DEGREE:
        words = np.frombuffer(stream(8 * (RING_DEGREE + _SPARE)), dtype="<u8") >> _SHIFT
        drawn = words.astype(np.int64)
        found = np.concatenate([found, drawn[drawn < PLAIN_MODULUS]])
    return found[:RING_DEGREE]


@dataclass(frozen=True)
class Statement:
    """What a client signs for the key holder: its name, the sum and its model, its ciphertexts' hash, its capsule for
    pads, and which of the key holder's keys the ciphertexts are under, counted from 0.
    """

    key: int
    name: str
    digest: bytes
    exchange: bytes
    model: bytes

    def signed_bytes(self, plan: Plan, round: int, upload: str) -> bytes:
        """What the signature covers."""
        labels = ("bfv statement 4", plan.session, round, upload, self.key)
        return encode_labels((*labels, self.name, self.digest, self.exchange, self.model))


def state(
    plan: Plan,
    identity: Identity,
    exchange: bytes,
    round: int,
    upload: str,
    blocks: list[bytes],
    model: bytes = b"",
    key: int = 0,
) -> bytes:
    """The payload of a client's message: number of the key, capsule for pads, model, proof and ciphertexts."""
    statement = Statement(key, identity.name, ciphertext_hash(blocks), exchange, model)
    proof = identity.prove(statement.signed_bytes(plan, round, upload))
    return pack_value([key, exchange, model, proof, blocks])


def ciphertext_hash(blocks: list[bytes]) -> bytes:
    """SHA-256 over the SHA-256 of each ciphertext."""
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).digest()


def blocks_of(value: object, count: int) -> list[bytes]:
    """Check a list of ciphertexts.

    Raises:
        MessageError: it does not hold exactly `count` byte strings.
    """
    if not isinstance(value, list) or len(value) != count:
        raise MessageError(f"{count} ciphertexts are expected")
    found = [block for block in value if isinstance(block, bytes)]
    if len(found) != count:
        raise MessageError("a ciphertext is bytes")
    return found
