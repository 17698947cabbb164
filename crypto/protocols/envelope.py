"""The authenticated envelope in which the messages of every protocol travel.

A sender signs everything that a message says with its identity (`crypto.keys.roster`): protocol, wire version, the
hash of the plan, session, round, upload, sender, receiver, kind, the payload's hash, and its own running
number. A receiver passes on what is signed by the party it names, addressed to it, of this plan, and new; it
ignores everything else.

Long vectors that clients send to the server can travel under a *tag* instead (`SumProtocol.tagged`), as hashing them
would be most of what the server does. The signature then covers the payload's length and its first and last bytes, and
a GMAC (`crypto.keys.tagging`) all of it, under a key that this client and this server derive from their identities.
The nonce is random, and is in the sender's journal before it is used. A tag convinces the server and nobody else; the
signature is for third parties, and is checked only where somebody is to be blamed (`is_signed`). It covers all that can
be ill-formed.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from crypto.errors import CryptoError, SubmissionRefused
from crypto.keys.randomness import RandomBytes, encode_labels, system_random
from crypto.keys.roster import PROOF_BYTES, Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.keys.tagging import TAG_NONCE_BYTES, make_tag, tag_holds, tag_key
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal, check_apart, ignored, log
from crypto.protocols.faults import Fault
from crypto.protocols.session import BareClient, Session
from crypto.wire.messages import MAX_SEQUENCE, WIRE_VERSION, Input, Item, Message

# A message that comes later than this many others of its sender is taken for a replay.
WINDOW = 1 << 16
# The bytes at both ends of a tagged payload that the signature covers.
_FIRST, _LAST = 128, 64


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

    For whoever is shown a message as evidence. Of a tagged message this holds for its length, its first 128 and its
    last 64 bytes. False without a roster, where nobody is pinned.
    """
    if plan.roster is None or message.session != plan.session:
        return False
    statement = _statement(plan, message, message.sequence)
    return Trust(plan.roster).holds(
        message.sender, statement, message.proof[: PROOF_BYTES if _tags(plan, message) else None]
    )


def _tags(plan: Plan, message: Message) -> bool:
    """Whether a message travels under a tag."""
    return message.kind in plan.rules.tagged and message.sender in plan.places and message.receiver == "server"


def _statement(plan: Plan, message: Message, sequence: int) -> bytes:
    """What is signed of a message under its running number."""
    tags, payload = _tags(plan, message), message.payload
    hashed = (b"%d " % len(payload)) + payload[:_FIRST] + payload[-_LAST:] if tags else payload
    digest = hashlib.sha256(hashed).digest()
    head = _statement_head("tagged" if tags else "envelope", plan.protocol, plan.digest, message.session)
    who = (message.round, message.upload, message.sender, message.receiver, message.kind)
    return head + encode_labels((*who, sequence, digest))


@lru_cache(maxsize=64)
def _statement_head(form: str, protocol: str, digest: bytes, session: str) -> bytes:
    """What all messages of a session begin with: labels, encoded, are simply joined."""
    return encode_labels((form, WIRE_VERSION, protocol, digest, session))


@holds_secrets
class Envelope:
    """One party's side: signs what it sends, and tells which of what it receives is authentic and new."""

    def __init__(
        self,
        plan: Plan,
        identity: Identity,
        trust: Trust,
        journal: Journal | None = None,
        random: RandomBytes = system_random,
        first: int = 0,
    ) -> None:
        """Seal for `identity`; nonces of tags are recorded in `journal`, or kept in mind if it is None.

        Messages are numbered from `first`: a party that starts again in a session begins above all that it has used.
        """
        self._plan = plan
        self._identity = identity
        self._trust = trust
        self._session = plan.session
        self._journal, self._random = journal, random
        self._nonces: set[bytes] = set()
        self._tag_keys: dict[str, bytes] = {}
        self._names = frozenset((identity.name, "clients") if identity.name in plan.places else (identity.name,))
        self._sent = first
        self._seen: dict[str, Seen] = {}

    def sign(self, items: Iterable[Item]) -> tuple[Item, ...]:
        """Put every message into an envelope; outcomes stay as they are."""
        return tuple(self._signed(item) if isinstance(item, Message) else item for item in items)

    def _signed(self, message: Message) -> Message:
        sequence = self._sent
        self._sent += 1
        statement = _statement(self._plan, message, sequence)
        proof = self._identity.prove(statement)
        if _tags(self._plan, message):
            key, nonce = self._tag_key(message.receiver), self._fresh_nonce()
            proof += nonce + make_tag(key, nonce, proof, statement, message.payload)
        return replace(message, sequence=sequence, proof=proof)

    def authentic(self, message: Message) -> bool:
        """Whether to pass the message on; if so, its running number is used up. Never raises."""
        if len(message.payload) > self._plan.largest_payload:
            ignored(message, f"more than the {self._plan.largest_payload} bytes that the plan gives rise to")
            return False
        if message.session != self._session or message.receiver not in self._names:
            ignored(message, "of another session or for another receiver")
            return False
        if message.sender not in self._plan.parties or not 0 <= message.sequence <= MAX_SEQUENCE:
            ignored(message, "not from a party of the plan, or its running number is out of range")
            return False
        known = self._seen.get(message.sender)
        if known is not None and not known.fresh(message.sequence):
            ignored(message, "seen before or too late")
            return False
        if not self._proved(message):
            ignored(message, "not signed by the sender it names")
            return False
        if known is None and self._plan.rules.tagged and self._identity.name == "server":
            # Once a session, before vectors come.
            self._tag_key(message.sender)
        self._seen.setdefault(message.sender, Seen()).take(message.sequence)
        return True

    def _proved(self, message: Message) -> bool:
        statement, proof = _statement(self._plan, message, message.sequence), message.proof
        if not _tags(self._plan, message):
            return self._trust.holds(message.sender, statement, proof)
        tagged = proof[PROOF_BYTES:]
        nonce, tag = tagged[:TAG_NONCE_BYTES], tagged[TAG_NONCE_BYTES:]
        return tag_holds(self._tag_key(message.sender), nonce, tag, proof[:PROOF_BYTES], statement, message.payload)

    def _tag_key(self, peer: str) -> bytes:
        """The key of tags between this party and the server, or a client.

        Raises:
            SubmissionRefused: nothing that it signed was seen yet.
            RosterError: its key is none of an identity.
        """
        if peer not in self._tag_keys:
            public = self._trust.key_of(peer)
            if public is None:
                raise SubmissionRefused(f"nothing that {peer!r} signed has arrived, so no key is shared with it")
            self._tag_keys[peer] = tag_key(self._identity, public, self._plan.digest, self._session)
        return self._tag_keys[peer]

    def _fresh_nonce(self) -> bytes:
        nonce = self._random(TAG_NONCE_BYTES)
        entry = f"{self._session} {self._identity.name} nonce {nonce.hex()}"
        known = nonce in self._nonces if self._journal is None else not self._journal.claim(entry)
        if known:
            raise SubmissionRefused("a nonce came twice: the source of randomness repeats itself; replace it")
        self._nonces.add(nonce)
        return nonce


@runtime_checkable
class TakesNoise(Protocol):
    """A client of a protocol that takes noise apart: it travels so, or the two are never added but in the ring."""

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
        elif isinstance(self._inner, TakesNoise):
            sent = self._inner.submit_apart(round, upload, vector, noise, model)
        else:
            sent = self._inner.submit(round, upload, vector + noise, model)
        return tuple(item for item in self._envelope.sign(sent) if isinstance(item, Message))
