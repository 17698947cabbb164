"""The device's side over Flower: what one node answers to a message, whoever's process it lives in."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Message

from crypto.keys.roster import Identity
from secure_fcl.engines import commands as c
from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.flower.contents import ASK, GREET, from_content, to_content
from secure_fcl.engines.flower.greeting import greeting
from secure_fcl.engines.frames import from_frame, to_frame
from secure_fcl.engines.parties import Host, Party
from secure_fcl.errors import FrameRefused

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Node:
    """One client behind a SuperNode: its name, its own identity, and the host that plays it."""

    party: Party
    identity: Identity
    host: Host

    def reply(self, message: Message) -> Message:
        """Return the answer to one message of either type.

        Whatever goes wrong leaves as the name of a class alone: a text may quote data, and Flower would send it. What
        only a simulation may ask is refused before any host sees it.
        """
        try:
            frame = self._frame(message.metadata.message_type, from_content(message.content))
        # Whatever a host raises.
        except Exception as error:
            _log.exception("%s could not answer", self.party)
            frame = to_frame(c.Failed(error=type(error).__name__, text="", trace=""))
        return Message(to_content(frame), reply_to=message)

    def _frame(self, kind: str, frame: bytes) -> bytes:
        if kind == GREET:
            return greeting(self.party, self.identity, frame)
        if kind != ASK:
            raise FrameRefused(f"a message of type {kind[:40]!r}; a client here takes {GREET} and {ASK}")
        ask = from_frame(frame)
        if not isinstance(ask, c.Ask):
            raise FrameRefused(f"{type(ask).__name__} is not for a deployed device")
        for answer in self.host.answer({self.party: ask}):
            return to_frame(answer.reply)
        raise FrameRefused(f"{self.party} has no answer to {type(ask).__name__}")


def node_of(folder: Path) -> Node:
    """Return the client of a device's folder, as its own disk has it.

    Raises:
        DeviceRefused, ConfigInvalid: the folder cannot be used.
    """
    place = DeviceFolder.read(folder)
    return Node(place.name, place.identity(), DeployedHost(place))
