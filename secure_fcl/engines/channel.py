"""A two-way channel of commands between the run's process and a worker: packed bytes over a socket pair, no pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.wire.messages import Item, decode, encode, pack, unpack

AnyArray = NDArray[np.generic]


class Channel:
    """Sends and receives (meta, arrays) frames; `meta` holds JSON-like values and bytes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, meta: Mapping[str, Any], arrays: Mapping[str, AnyArray] | None = None) -> None:
        """Send one frame."""
        self._connection.send_bytes(pack(dict(meta), dict(arrays or {})))

    def receive(self) -> tuple[dict[str, Any], dict[str, AnyArray]]:
        """Return the next frame; waits for it.

        Raises:
            EOFError: the other side is gone.
        """
        return unpack(self._connection.recv_bytes())

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a frame arrives."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this side."""
        self._connection.close()


def pack_items(items: Sequence[Item]) -> list[bytes]:
    """Return protocol items as bytes for a frame."""
    return [encode(item) for item in items]


def unpack_items(blobs: list[bytes]) -> list[Item]:
    """Return the protocol items of a frame."""
    return [decode(blob) for blob in blobs]  # type: ignore[misc]
