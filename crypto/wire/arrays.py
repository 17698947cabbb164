"""Arrays and small values together in one block of bytes, without pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.wire.values import MAX_PAYLOAD, pack_value, unpack_value

MAX_ARRAYS = 65_536
MAX_DIMENSIONS = 16
ALLOWED_DTYPES = frozenset(
    (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    )
)
AnyArray = npt.NDArray[np.generic]


def pack(meta: Mapping[str, object], arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Write `meta` (what msgpack can hold; tuples come back as lists) and `arrays` as bytes.

    Arrays of any shape, also empty and 0-d; dtypes are those of `ALLOWED_DTYPES`, stored little-endian.

    Raises:
        MessageError: another dtype, more than 16 dimensions, or a meta value that msgpack cannot hold.
    """
    packed: dict[str, list[object]] = {}
    for name, array in arrays.items():
        kind = array.dtype.name
        if kind not in ALLOWED_DTYPES:
            raise MessageError(f"array {name!r} has dtype {array.dtype}; allowed are {sorted(ALLOWED_DTYPES)}")
        if array.ndim > MAX_DIMENSIONS or array.nbytes > MAX_PAYLOAD:
            raise MessageError(f"array {name!r} of shape {array.shape} exceeds {MAX_DIMENSIONS} dimensions or 1 GiB")
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        packed[name] = [kind, list(array.shape), little.tobytes()]
    if len(packed) > MAX_ARRAYS:
        raise MessageError(f"{len(packed)} arrays exceed the cap of {MAX_ARRAYS}; pack them in several blocks")
    return pack_value([dict(meta), packed])


def unpack(data: bytes | bytearray | memoryview) -> tuple[dict[str, object], dict[str, AnyArray]]:
    """Read what `pack` wrote; the arrays are read-only views, copy one before writing to it.

    Raises:
        MessageError: anything malformed; no other error is raised.
    """
    value = unpack_value(data)
    match value:
        case [dict() as meta, dict() as packed]:
            if len(packed) > MAX_ARRAYS:
                raise MessageError(f"{len(packed)} arrays exceed the cap of {MAX_ARRAYS}")
            if not all(isinstance(name, str) for name in (*meta, *packed)):
                raise MessageError("names of values and arrays are text")
            return meta, {name: _array(name, entry) for name, entry in packed.items()}
    raise MessageError("the bytes are not a packed pair of values and arrays")


def _array(name: str, entry: object) -> AnyArray:
    match entry:
        case [str(kind), list(shape), bytes(raw)]:
            sizes = [size for size in shape if type(size) is int and 0 <= size <= MAX_PAYLOAD]
            if kind not in ALLOWED_DTYPES or len(sizes) != len(shape) or len(sizes) > MAX_DIMENSIONS:
                raise MessageError(f"array {name[:64]!r} has a dtype or shape that is not allowed")
            dtype = np.dtype(kind).newbyteorder("<")
            if math.prod(sizes) * dtype.itemsize != len(raw):
                raise MessageError(f"array {name[:64]!r} of shape {sizes} does not fit its {len(raw)} bytes")
            if kind == "bool" and raw.translate(None, b"\x00\x01"):
                raise MessageError(f"array {name[:64]!r} holds booleans other than 0 and 1")
            flat = np.frombuffer(raw, dtype=dtype)
            try:
                return flat.reshape(sizes)
            except ValueError as error:
                raise MessageError(f"array {name[:64]!r} cannot have shape {sizes}") from error
    raise MessageError(f"array {name[:64]!r} is not a triple of dtype, shape and bytes")
