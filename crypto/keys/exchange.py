"""Which bytes are an X25519 public key that somebody can have made (RFC 7748)."""

from __future__ import annotations

from crypto.keys.randomness import KEY_BYTES

_FIELD = 2**255 - 19
# The u coordinates of order 1, 2, 4 and 8, on the curve and on its twist: any secret agrees on zero with them.
_SMALL_ORDER = frozenset(
    (
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)


def usable(public: bytes) -> bool:
    """Whether `public` is 32 bytes, written as RFC 7748 writes it, and not of small order.

    *Guarantee*: True for every key that the library makes; agreeing with such a key never fails. One key has one
    writing, so that equal keys are equal bytes.
    """
    number = int.from_bytes(public, "little")
    return len(public) == KEY_BYTES and number < _FIELD and number not in _SMALL_ORDER
