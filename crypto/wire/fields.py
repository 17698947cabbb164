"""Flat fields of a frame: texts, numbers, blobs and lists of names, each with its length, none inside another.

Reading costs at most four times the frame's bytes, whatever the bytes are, as every object that is made has bytes of
its own in the frame: a name takes at least `NAME_CELL` of them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from crypto.errors import MessageError

NAME_CELL = 40
_TEXT, _BLOB, _NUMBER = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")


def write_text(text: str) -> bytes:
    """Two bytes of length, then UTF-8.

    Raises:
        MessageError: it cannot be written as UTF-8, or is too long.
    """
    try:
        raw = text.encode()
        return _TEXT.pack(len(raw)) + raw
    except (UnicodeEncodeError, struct.error) as error:
        raise MessageError(f"a text of {len(text)} characters cannot be written: {type(error).__name__}") from error


def write_number(number: int) -> bytes:
    """Eight bytes."""
    return _NUMBER.pack(number)


def write_blob(raw: bytes) -> bytes:
    """Four bytes of length, then the bytes."""
    return _BLOB.pack(len(raw)) + raw


def write_names(names: Sequence[str]) -> bytes:
    """Four bytes of count, then each name as text, filled with zeros to `NAME_CELL` bytes at least."""
    return _BLOB.pack(len(names)) + b"".join(write_text(name).ljust(NAME_CELL, b"\0") for name in names)


class Reader:
    """Reads fields one after the other; MessageError for anything that `write_*` does not write."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def text(self) -> str:
        """Read a text."""
        return self._text(self._count(_TEXT))

    def number(self) -> int:
        """Read a number."""
        return self._count(_NUMBER)

    def blob(self) -> bytes:
        """Read a blob."""
        return bytes(self._take(self._count(_BLOB)))

    def names(self) -> tuple[str, ...]:
        """Read a list of names."""
        count = self._count(_BLOB)
        if count * NAME_CELL > len(self._view) - self._at:
            raise MessageError(f"{count} names do not fit the {len(self._view) - self._at} bytes that follow")
        return tuple(self._name() for _ in range(count))

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._view):
            raise MessageError(f"{len(self._view) - self._at} bytes follow the message")

    def _name(self) -> str:
        start = self._at
        name = self._text(self._count(_TEXT))
        if any(self._take(max(0, start + NAME_CELL - self._at))):
            raise MessageError("a name is filled with something else than zeros")
        return name

    def _text(self, size: int) -> str:
        try:
            return str(self._take(size), "utf-8")
        except UnicodeDecodeError:
            raise MessageError("a text is not UTF-8") from None

    def _count(self, layout: struct.Struct) -> int:
        (count,) = layout.unpack(self._take(layout.size))
        return int(count)

    def _take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._view):
            raise MessageError(f"a field of {size} bytes is cut; the sender must send what encode returned")
        part, self._at = self._view[self._at : end], end
        return part
