"""Tags under a key that two identities share: who can check a tag can make it, so it shows a third party nothing.

The key comes from X25519 between the two identity keys themselves. An Ed25519 key is one of X25519 in other coordinates
(RFC 7748, section 4.1), and using one pair for both is safe as far as is known (Thormarker, "On using the same key pair
for Ed25519 and an X25519 based KEM", ePrint 2021/509). The tag is GMAC: AES-256-GCM without a message (NIST SP
800-38D), which takes a twentieth of SHA-256's time, and which a nonce that comes twice breaks: whoever makes tags sees
to that.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from crypto.keys.randomness import derive_key
from crypto.keys.roster import Identity

TAG_BYTES, TAG_NONCE_BYTES = 16, 12
Part = bytes | bytearray


def tag_key(mine: Identity, peer: bytes, *labels: str | int | bytes) -> bytes:
    """The 32-byte key that `mine` shares with the holder of the identity key `peer`, for the purpose `labels`.

    Raises:
        RosterError: `peer` is no key of an identity.
    """
    return derive_key(mine.agree(peer), "tag 1", *labels)


def make_tag(key: bytes, nonce: bytes, *parts: Part) -> bytes:
    """The tag of `parts`, joined, under a nonce that this key has never served."""
    maker = Cipher(algorithms.AES256(key), modes.GCM(nonce)).encryptor()
    for part in parts:
        maker.authenticate_additional_data(part)
    maker.finalize()
    return maker.tag


def tag_holds(key: bytes, nonce: bytes, tag: bytes, *parts: Part) -> bool:
    """Whether `tag` is that of `parts`.

    *Guarantee*: unforgeable without the key, up to 2^-128 times the blocks of the longest message for each attempt.
    """
    if len(tag) != TAG_BYTES or len(nonce) != TAG_NONCE_BYTES:
        return False
    checker = Cipher(algorithms.AES256(key), modes.GCM(nonce, tag)).decryptor()
    try:
        for part in parts:
            checker.authenticate_additional_data(part)
        checker.finalize()
    except InvalidTag:
        return False
    return True
