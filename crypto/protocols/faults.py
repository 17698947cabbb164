"""Who broke a protocol, for all to see: the clients that a server leaves out, and what it shows for it.

A fault is something that its author signed and that nobody who follows the protocol says, whatever the network does.
Silence, lateness and repetition are none: who is silent is absent. A server that does not follow the protocol can
blame whom it likes; a third party believes the evidence, not the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import ignored
from crypto.wire.messages import MAX_REASON, Message

# Evidence beyond this many bytes is not kept: only vectors are longer.
MAX_EVIDENCE = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What one client is blamed for.

    `evidence`: messages that it sealed in its envelope (`crypto.protocols.envelope.is_signed`); empty where the reason
    says what else there is. `dealing`: for a dealer of false shares, what
    `crypto.protocols.masks.evidence.is_false_dealing` takes.
    """

    name: str
    reason: str
    evidence: tuple[Message, ...] = field(default=(), repr=False)
    dealing: bytes = field(default=b"", repr=False)


@dataclass
class Faults:
    """The clients that one server found at fault, the first fault of each."""

    plan: Plan
    _found: dict[str, Fault] = field(default_factory=dict, repr=False)

    def note(self, fault: Fault) -> bool:
        """Keep a fault; False if its client is blamed already."""
        return self._found.setdefault(fault.name, fault) is fault

    def in_message(self, message: Message, reason: str) -> bool:
        """Keep what is wrong with a message of a client; False if that is blamed already."""
        ignored(message, reason)
        kept = (message,) if len(message.payload) <= MAX_EVIDENCE else ()
        return self.note(Fault(name=message.sender, reason=reason[:MAX_REASON], evidence=kept))

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody blamed so far, in the plan's order."""
        places = self.plan.places
        return tuple(sorted((name for name in self._found if name in places), key=places.__getitem__))

    @property
    def found(self) -> Mapping[str, Fault]:
        """The faults by client."""
        return dict(self._found)

    def __contains__(self, name: object) -> bool:
        """Whether a client is blamed."""
        return name in self._found
