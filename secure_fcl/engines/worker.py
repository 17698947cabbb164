"""The process that plays clients for the local pool. Run as `python -m secure_fcl.engines.worker FD`."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection

from secure_fcl.engines.commands import Ask, Command, Failed, LabAsk, Reply, Sent
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.link import Link
from secure_fcl.engines.parties import Party


class Worker:
    """Answers batches of the run's process through one host, one after the other."""

    def __init__(self, link: Link, host: ClientHost) -> None:
        self._channel = link
        self._host = host

    def serve(self) -> None:
        """Answer until the other side is gone."""
        while True:
            try:
                number, asked = self._channel.receive()
            except EOFError:
                return
            unanswered = set(asked)
            try:
                self._answer(number, _asks(asked), unanswered)
            except Exception as error:
                # The text goes to the run's own process on this machine, which turns it into one sentence.
                failed = Failed(error=type(error).__name__, text=str(error), trace=traceback.format_exc())
                self._channel.send(number, dict.fromkeys(sorted(unanswered), failed))

    def _answer(self, number: int, asks: Mapping[Party, Ask | LabAsk], unanswered: set[Party]) -> None:
        """Send uploads as soon as they are there, so that they are summed while others train; the rest together."""
        together: dict[Party, Reply] = {}
        for answer in self._host.answer(asks):
            together[answer.party] = answer.reply
            if isinstance(answer.reply, Sent):
                self._send(number, together, unanswered)
        self._send(number, together, unanswered)
        if unanswered:
            raise RuntimeError(f"{len(unanswered)} clients gave no answer, {min(unanswered)} for one")

    def _send(self, number: int, replies: dict[Party, Reply], unanswered: set[Party]) -> None:
        if replies:
            self._channel.send(number, replies)
            unanswered.difference_update(replies)
            replies.clear()


def _asks(commands: Mapping[Party, Command]) -> dict[Party, Ask | LabAsk]:
    asks: dict[Party, Ask | LabAsk] = {}
    for party, command in commands.items():
        if isinstance(command, Reply):
            raise TypeError(f"{type(command).__name__} is an answer and asks for nothing")
        asks[party] = command
    return asks


def main(descriptor: int) -> None:
    """Serve on an inherited socket. Ctrl-C is the parent's to handle: it ends workers when it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(Link(Connection(descriptor)), ClientHost()).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
