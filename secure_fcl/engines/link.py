"""A two-way channel of commands between the run's process and a worker: packed bytes over a socket pair, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection

from secure_fcl.engines.commands import Command
from secure_fcl.engines.frames import from_batch, to_batch
from secure_fcl.engines.parties import Party


class Link:
    """Sends and receives numbered batches of commands by party; an answer has the number of what was asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, number: int, commands: Mapping[Party, Command]) -> None:
        """Send one batch.

        Raises:
            OSError: the other side is gone.
            FrameRefused: a command that cannot be written; nothing was sent.
        """
        self._connection.send_bytes(to_batch(number, commands))

    def receive(self) -> tuple[int, dict[Party, Command]]:
        """Return the next batch; waits for it.

        Raises:
            EOFError: the other side is gone.
            FrameRefused: what came is no batch of commands.
        """
        return from_batch(self._connection.recv_bytes())

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a batch arrives."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this side."""
        self._connection.close()
