"""Msgpack with strict limits: the only serialisation of this package."""

from __future__ import annotations

import msgpack

from crypto.errors import MessageError

MAX_PAYLOAD = 1 << 30


def pack_value(value: object) -> bytes:
    """Write nested lists, string-keyed maps, text, bytes, numbers, booleans and None as msgpack.

    Raises:
        MessageError: any other type, or an integer outside 64 bits.
    """
    try:
        return bytes(msgpack.packb(value, use_bin_type=True))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MessageError(f"this value cannot be written as msgpack: {error}") from error


def unpack_value(data: bytes | bytearray | memoryview) -> object:
    """Read one msgpack value, with lengths checked against the input.

    Lists and maps are bounded by the input's own length, so a short input cannot ask for a long allocation.

    Raises:
        MessageError: anything malformed.
    """
    size = len(data)
    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            use_list=True,
            max_bin_len=size,
            max_str_len=size,
            max_array_len=size,
            max_map_len=size,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        detail = str(error) or type(error).__name__
        raise MessageError(f"the bytes are not valid msgpack: {detail[:200]}") from None
    return value


def unpack_sparse(data: bytes | bytearray | memoryview) -> object:
    """The same for what somebody sent who may be corrupt: refused before anything is built if it is made of so many
    small values that they would take many times its size.

    Raises:
        MessageError: anything malformed, or more than one value for every 16 bytes of a long input.
    """
    require_sparse(data)
    return unpack_value(data)


def require_sparse(data: bytes | bytearray | memoryview) -> None:
    """Refuse what `unpack_sparse` does, and build nothing.

    Raises:
        MessageError: more than one value for every 16 bytes of a long input.
    """
    if len(data) > _SHORT and not _is_sparse(memoryview(data), len(data) // 16 + _SPARE):
        raise MessageError(f"{len(data)} bytes hold more small values than any message; the sender is at fault")


_SHORT, _SPARE = 1 << 16, 1 << 12
# Bytes after the tag: of the value itself, or of its length (for text and bytes, by tag), as msgpack specifies.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_LISTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _is_sparse(view: memoryview, most: int) -> bool:
    """Whether the bytes hold at most so many values; malformed bytes may pass, and are refused when unpacked."""
    at = seen = 0
    left = 1
    while left and at < len(view):
        tag, at, left, seen = view[at], at + 1, left - 1, seen + 1
        if seen + left > most:
            return False
        if tag < 0x80 or tag >= 0xE0:
            continue
        if tag < 0xA0:
            left += (tag & 0x0F) * (2 if tag < 0x90 else 1)
        elif tag < 0xC0:
            at += tag & 0x1F
        elif tag in _FIXED:
            at += _FIXED[tag]
        elif tag in _SIZED:
            size = _SIZED[tag]
            at += size + int.from_bytes(view[at : at + size], "big")
        elif tag in _LISTS:
            size, each = _LISTS[tag]
            left += each * int.from_bytes(view[at : at + size], "big")
            at += size
        else:
            return True
    return True
