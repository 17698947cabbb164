"""Lists of hashes of which one entry can be shown by itself: the signer signs `heads`, a reader gets one `part`.

Two levels, so that signing and checking a whole list costs little more than hashing it, and one entry among
thousands is shown in a few kilobytes.
"""

from __future__ import annotations

import hashlib

from crypto.keys.randomness import KEY_BYTES

_PART = 64 * KEY_BYTES


def heads(leaves: bytes) -> bytes:
    """The hashes of the list's parts, 64 entries of 32 bytes each; binding by SHA-256's collision resistance."""
    parts = (leaves[start : start + _PART] for start in range(0, len(leaves), _PART))
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def part(leaves: bytes, place: int) -> bytes:
    """What shows the entry at `place` to whoever has the heads."""
    start = place * KEY_BYTES // _PART * _PART
    return leaves[start : start + _PART]


def entry(signed: bytes, shown: bytes, place: int) -> bytes | None:
    """The entry at `place` of the list with the heads `signed`, from its part; None if that is not of the list."""
    number, within = divmod(place * KEY_BYTES, _PART)
    head = signed[number * KEY_BYTES : (number + 1) * KEY_BYTES]
    found = shown[within : within + KEY_BYTES]
    return found if len(found) == KEY_BYTES and hashlib.sha256(shown).digest() == head else None
