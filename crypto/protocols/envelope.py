"""The authenticated envelope in which the messages of every protocol travel.

A sender signs everything that a message says with its identity (`crypto.keys.roster`): protocol, wire version, the
hash of the plan, session, round, upload, sender, receiver, kind, the payload's hash, and its own running
number. A receiver passes on what is signed by the party it names, addressed to it, of this plan, and new; it
ignores everything else.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from crypto.errors import CryptoError
from crypto.keys.randomness import encode_labels
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import check_apart, ignored, log
from crypto.protocols.faults import Fault
from crypto.protocols.session import BareClient, Session, plan_roles
from crypto.wire.messages import MAX_SEQUENCE, WIRE_VERSION, Input, Item, Message

# A message that comes later than this many others of its sender is taken for a replay.
WINDOW = 1 << 16


@dataclass
class Seen:
    """The running numbers of one sender that were taken, each at most once (as in IPsec, RFC 4303)."""

    _highest: int = -1
    _recent: set[int] = field(default_factory=set)

    def fresh(self, sequence: int) -> bool:
        """Whether this number was not taken and is not too old."""
        return sequence > self._highest - WINDOW and sequence not in self._recent

    def take(self, sequence: int) -> None:
        """Note a number as taken."""
        self._recent.add(sequence)
        self._highest = max(self._highest, sequence)
        if len(self._recent) > 2 * WINDOW:
            self._recent = {number for number in self._recent if number > self._highest - WINDOW}


def is_signed(plan: Plan, message: Message) -> bool:
    """Whether the sender that a message names, one of the plan's pinned identities, sealed it as it stands.

    For whoever is shown a message as evidence. False without a roster, where nobody is pinned.
    """
    if plan.roster is None or message.session != plan.session:
        return False
    return Trust(plan.roster).holds(message.sender, _statement(plan.protocol, plan.digest, message), message.proof)


def _statement(protocol: str, plan: bytes, message: Message) -> bytes:
    digest = hashlib.sha256(message.payload).digest()
    head = ("envelope", WIRE_VERSION, protocol, plan, message.session, message.round)
    who = (message.upload, message.sender, message.receiver, message.kind)
    return encode_labels((*head, *who, message.sequence, digest))


class Envelope:
    """One party's side: signs what it sends, and tells which of what it receives is authentic and new."""

    def __init__(self, plan: Plan, identity: Identity, trust: Trust, first: int = 0) -> None:
        """Number messages from `first`; a party that starts again in a session begins above all that it has used."""
        self._identity = identity
        self._trust = trust
        self._session = plan.session
        self._protocol = plan.protocol
        self._plan_hash = plan.digest
        self._parties = frozenset((*plan.clients, *plan_roles(plan)))
        self._names = frozenset((identity.name, "clients") if identity.name in plan.clients else (identity.name,))
        self._sent = first
        self._seen: dict[str, Seen] = {}

    def sign(self, items: Iterable[Item]) -> tuple[Item, ...]:
        """Put every message into an envelope; outcomes stay as they are."""
        return tuple(self._signed(item) if isinstance(item, Message) else item for item in items)

    def _signed(self, message: Message) -> Message:
        numbered = replace(message, sequence=self._sent)
        self._sent += 1
        return replace(numbered, proof=self._identity.prove(self._statement(numbered)))

    def authentic(self, message: Message) -> bool:
        """Whether to pass the message on; if so, its running number is used up. Never raises."""
        if message.session != self._session or message.receiver not in self._names:
            ignored(message, "of another session or for another receiver")
            return False
        if message.sender not in self._parties or not 0 <= message.sequence <= MAX_SEQUENCE:
            ignored(message, "not from a party of the plan, or its running number is out of range")
            return False
        known = self._seen.get(message.sender)
        if known is not None and not known.fresh(message.sequence):
            ignored(message, "seen before or too late")
            return False
        if not self._trust.holds(message.sender, self._statement(message), message.proof):
            ignored(message, "not signed by the sender it names")
            return False
        self._seen.setdefault(message.sender, Seen()).take(message.sequence)
        return True

    def _statement(self, message: Message) -> bytes:
        return _statement(self._protocol, self._plan_hash, message)


@runtime_checkable
class TakesNoise(Protocol):
    """A client of a protocol in which noise can travel apart from the vector."""

    def submit_apart(
        self,
        round: int,
        upload: str,
        vector: npt.NDArray[np.int64],
        noise: npt.NDArray[np.int64],
        model: bytes = b"",
    ) -> tuple[Message, ...]:
        """See `ClientSession.submit`."""
        ...


@runtime_checkable
class FindsFaults(Protocol):
    """A party that leaves clients out when they are at fault."""

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The faults by client."""
        ...


def _answer(inner: Session, envelope: Envelope, item: Input) -> tuple[Item, ...]:
    """What follows from an item, which others may have made so that a session stumbles over it: never an exception."""
    try:
        if isinstance(item, Message) and not envelope.authentic(item):
            return ()
        return envelope.sign(inner.on(item))
    except CryptoError as error:
        return ignored(item, str(error))
    except Exception as error:
        # A fault of ours that one party's input must not turn into the end of everybody's session.
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
        log.error("%s stumbled over %r: %s at %s", inner.name, item, type(error).__name__, place)
        return ()


@dataclass(frozen=True, eq=False, repr=False)
class SharedPublic:
    """What one client has parsed and checked of one plan's public keys, for other clients of that very plan."""

    plan: bytes
    of: object


@holds_secrets
class SealedParty:
    """Any session, with its messages in envelopes."""

    def __init__(self, inner: Session, envelope: Envelope) -> None:
        self.name = inner.name
        self._inner = inner
        self._envelope = envelope

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The clients that this party found at fault and leaves out, with the evidence; empty if it finds none."""
        return self._inner.faults if isinstance(self._inner, FindsFaults) else {}

    def start(self) -> tuple[Item, ...]:
        """See `Session.start`."""
        return self._envelope.sign(self._inner.start())

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`; messages that are not authentic, or not new, are ignored."""
        return _answer(self._inner, self._envelope, item)


@holds_secrets
class SealedClient:
    """A client's session, with its messages in envelopes."""

    def __init__(self, plan: Plan, inner: BareClient, envelope: Envelope) -> None:
        self.name = inner.name
        self._plan = plan
        self._inner = inner
        self._envelope = envelope

    def with_inner(self, change: Callable[[BareClient], BareClient]) -> SealedClient:
        """This client in this envelope around another session, for tests of what a corrupt client can do."""
        return SealedClient(self._plan, change(self._inner), self._envelope)

    @property
    def ready(self) -> bool:
        """See `ClientSession.ready`."""
        return self._inner.ready

    @property
    def public(self) -> object | None:
        """See `ClientSession.public`."""
        found = self._inner.public
        return None if found is None else SharedPublic(self._plan.digest, found)

    def start(self) -> tuple[Item, ...]:
        """See `Session.start`."""
        return self._envelope.sign(self._inner.start())

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`; messages that are not authentic, or not new, are ignored."""
        return _answer(self._inner, self._envelope, item)

    def submit(
        self,
        round: int,
        upload: str,
        vector: npt.NDArray[np.int64],
        noise: npt.NDArray[np.int64] | None = None,
        *,
        model: bytes = b"",
    ) -> tuple[Message, ...]:
        """See `ClientSession.submit`."""
        check_apart(self._plan, round, upload, vector, noise)
        if noise is None:
            sent = self._inner.submit(round, upload, vector, model)
        elif isinstance(self._inner, TakesNoise) and self._plan.find(upload).noise_norm_bound:
            sent = self._inner.submit_apart(round, upload, vector, noise, model)
        else:
            sent = self._inner.submit(round, upload, vector + noise, model)
        return tuple(item for item in self._envelope.sign(sent) if isinstance(item, Message))
