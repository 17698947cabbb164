"""The device's side over Flower: what one node answers to a message, in whichever process it lives."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from flwr.app import Message

from crypto.keys.roster import Identity
from secure_fcl.engines import commands as c
from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.flower.contents import ASK, GREET, from_content, to_content
from secure_fcl.engines.flower.greeting import Code, greeting
from secure_fcl.engines.frames import from_untrusted, to_frame
from secure_fcl.engines.parties import Host, Party
from secure_fcl.errors import FrameRefused

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One client behind a SuperNode.

    Attributes:
        party: its name.
        identity: its own key.
        host: gives the host that plays it, for as long as a block lasts.
        code: whose code this is.
    """

    party: Party
    identity: Identity
    host: Callable[[], AbstractContextManager[Host]]
    code: Code

    def reply(self, message: Message) -> Message:
        """Return the answer to one message, a challenge or an ask.

        Whatever goes wrong leaves as the name of a class alone: a text may quote data, and Flower would send it.
        """
        try:
            frame = self._frame(message.metadata.message_type, from_content(message.content))
        # Whatever a host raises.
        except Exception as error:
            _log.error("%s could not answer: %s", self.party, type(error).__name__)
            frame = to_frame(c.failure(error))
        return Message(to_content(frame), reply_to=message)

    def _frame(self, kind: str, frame: bytes) -> bytes:
        if kind == GREET:
            return greeting(self.party, self.identity, self.code, frame)
        if kind != ASK:
            raise FrameRefused(f"a message of type {kind[:40]!r}; a client here takes {GREET} and {ASK}")
        ask = from_untrusted(frame, c.DEPLOYED_ASKS)
        assert isinstance(ask, c.Ask)
        with self.host() as host:
            for answer in host.answer({self.party: ask}):
                return to_frame(answer.reply)
        raise FrameRefused(f"{self.party} has no answer to {type(ask).__name__}")


def node_of(place: DeviceFolder, code: Code, host: Callable[[], AbstractContextManager[Host]] | None = None) -> Node:
    """Return the client of a device's folder; without a `host`, one is made of the folder for every ask anew.

    Raises:
        DeviceRefused: its key cannot be used.
    """
    anew = host or (lambda: closing(DeployedHost(place)))
    return Node(party=place.name, identity=place.identity(), host=anew, code=code)
