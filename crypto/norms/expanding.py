"""Seeds into bytes and field elements: XofHmacSha256Aes128 of the PINE draft (draft-chen-cfrg-vdaf-pine-01)."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from crypto.norms.field import Elements, P

SEED_BYTES = 32
#: Version of the draft, and the algorithm's number there.
_DRAFT = bytes([1]) + (0xFFFF1004).to_bytes(4, "big")


class Expanded:
    """The stream of a seed for one use; `binder`: what else it depends on."""

    def __init__(self, seed: bytes, use: int, binder: bytes = b"") -> None:
        tag = _DRAFT + use.to_bytes(2, "big")
        digest = hmac.new(seed, bytes([len(tag)]) + tag + binder, hashlib.sha256).digest()
        self._stream = Cipher(AES(digest[:16]), CTR(digest[16:])).encryptor()

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        return self._stream.update(bytes(count))

    def elements(self, count: int) -> Elements:
        """Return the next uniform field elements; what is no element, one word in 2^32, is passed over."""
        found = np.empty(0, dtype=np.uint64)
        while len(found) < count:
            words = np.frombuffer(self.take(8 * (count - len(found))), dtype="<u8")
            found = np.concatenate([found, words[words < np.uint64(P)]])
        return found


def derived(seed: bytes, use: int, binder: bytes) -> bytes:
    """Return another seed."""
    return Expanded(seed, use, binder).take(SEED_BYTES)


def encoded(elements: Elements) -> bytes:
    """Return elements as bytes, 8 each."""
    return elements.astype("<u8", copy=False).tobytes()
