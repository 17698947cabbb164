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
