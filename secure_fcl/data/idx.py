"""Reader for the IDX files of the MNIST family, plain or gzipped.

Format (LeCun, Cortes and Burges): two zero bytes, a type byte (8: unsigned byte), the number of dimensions,
each dimension as a big-endian 32-bit integer, then the values, the last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataDamaged

Bytes = npt.NDArray[np.uint8]

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 8


def is_gzip(content: bytes) -> bool:
    """Say whether `content` starts like a gzip file, whatever its name ends in."""
    return content[:2] == _GZIP_MAGIC


def unpack(content: bytes, limit: int, origin: Path, remedy: str = "fetch it again") -> bytes:
    """Return `content` unzipped if it is gzipped, else as it is.

    Raises:
        DataDamaged: the stream is cut off or corrupt, or longer than `limit` bytes (0: no limit).
    """
    if not is_gzip(content):
        return content
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(content, limit + 1 if limit else 0)
    except zlib.error as error:
        raise DataDamaged(f"{origin} is not a readable gzip file: {error}; {remedy}") from error
    if limit and len(plain) > limit:
        raise DataDamaged(f"{origin} unpacks to more than the {limit} bytes expected; {remedy}")
    if not inflate.eof:
        raise DataDamaged(f"{origin} is cut off after {len(content)} bytes; {remedy}")
    return plain


def parse_idx(content: bytes, dimensions: int, origin: Path, remedy: str = "fetch it again") -> Bytes:
    """Decode the content of one unpacked IDX file of unsigned bytes.

    Args:
        content: The whole file.
        dimensions: What the header must say: 3 for images (n, rows, columns), 1 for labels (n,).
        origin: Named in errors.
        remedy: Named in errors, too: what to do about such a file.

    Raises:
        DataDamaged: another type or number of dimensions, a dimension of 0, or too few or too many bytes.
    """
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataDamaged(f"{origin} has {len(content)} bytes, fewer than its header's {header}; {remedy}")
    if content[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
        raise DataDamaged(
            f"{origin} starts with {content[:4].hex()}, not 000008{dimensions:02x} "
            f"(unsigned bytes, {dimensions} dimensions); is it another file under this name?"
        )
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    if len(content) - header != math.prod(shape) or 0 in shape:
        raise DataDamaged(
            f"{origin} announces shape {shape}, {math.prod(shape)} values, but holds {len(content) - header}; {remedy}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def write_idx(values: Bytes, path: Path, *, compress: bool = False) -> None:
    """Write an IDX file of unsigned bytes, the inverse of `unpack` and `parse_idx`."""
    header = bytes((0, 0, _UNSIGNED_BYTE, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    content = header + np.ascontiguousarray(values, dtype=np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if compress else content)
