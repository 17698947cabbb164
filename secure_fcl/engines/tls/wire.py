"""Frames on an encrypted stream: one byte that says which, four that say how long, then so many bytes.

The length is held against the cap of the moment before anything is allocated, and memory grows with what has come, not
with what was announced.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Mapping
from enum import IntEnum

from secure_fcl.errors import FrameRefused

VERSION = 1
"""Of this protocol; both sides say it first."""
CHUNK = 1 << 18
FIRST_FRAME = 256
"""Bytes of the first frame of either side, and of every frame but asks and answers."""
MAX_ASK = 1 << 30
ID_BYTES = 16
_HEAD = struct.Struct("!BI")


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    PING = 4
    PONG = 5
    ASK = 6
    ANSWER = 7


class Wire:
    """One connection. One task at a time may receive; any may send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._sending = asyncio.Lock()
        self.heard = time.monotonic()

    async def send(self, kind: Kind, *parts: bytes) -> None:
        """Send one frame; waits while the other side does not read, so that little is held beside the frame itself.

        Raises:
            OSError: the connection is gone.
        """
        async with self._sending:
            self._writer.write(_HEAD.pack(kind, sum(map(len, parts))))
            for part in parts:
                view = memoryview(part)
                for begin in range(0, len(view), CHUNK):
                    self._writer.write(view[begin : begin + CHUNK])
                    await self._writer.drain()
            await self._writer.drain()

    async def receive(self, caps: Callable[[], Mapping[Kind, int]], seconds: float) -> tuple[Kind, bytes]:
        """Return the next frame.

        Args:
            caps: bytes of the longest frame of each kind that may come, asked when one has come.
            seconds: without a byte after which the connection is given up.

        Raises:
            FrameRefused: a frame that may not come now, or is longer than its cap.
            EOFError, OSError: the connection is gone.
            TimeoutError: nothing came.
        """
        number, length = _HEAD.unpack(await self._exactly(_HEAD.size, seconds))
        cap = next((cap for kind, cap in caps().items() if kind == number), -1)
        if length > cap:
            raise FrameRefused(f"a frame of kind {number} and {length} bytes, where {cap} are allowed")
        return Kind(number), await self._exactly(length, seconds)

    async def _exactly(self, length: int, seconds: float) -> bytes:
        read = bytearray()
        while len(read) < length:
            async with asyncio.timeout(seconds):
                some = await self._reader.read(min(CHUNK, length - len(read)))
            if not some:
                raise EOFError("the other side is gone")
            read += some
            self.heard = time.monotonic()
        return bytes(read)

    def peer_certificate(self) -> bytes:
        """Return the certificate of the other side, DER; empty without one."""
        tls = self._writer.get_extra_info("ssl_object")
        return bytes(tls.getpeercert(binary_form=True) or b"") if tls is not None else b""

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._writer.transport.abort()

    async def close(self, seconds: float = 1.0) -> None:
        """Close, waiting a moment for what is under way."""
        self._writer.close()
        try:
            async with asyncio.timeout(seconds):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.abort()
