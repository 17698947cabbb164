"""Sums under homomorphic encryption: clients encrypt for a key holder, the server adds ciphertexts.

BFV is exact, so no error is added (Fan, Vercauteren, "Somewhat practical fully homomorphic encryption",
2012). This file holds the clients and the server, `bfv.keyholder` the third party. The server holds the
public key only. Every plaintext carries a pad (`bfv.pads`), and the key holder
takes off the pads of the clients whose signed statements the server shows, at least the plan's number of
clients, once for each (round, upload).

*Guarantee*: against a server that deviates at will but does not collude with the key holder, the key holder
answers for one set of at least `min_clients` clients per (round, upload), and the answer is a refusal or
pseudo-random unless the ciphertext holds exactly one vector of each of them (plus what the server added
itself: the sum is not authenticated against the server). A refusal that depends on the secret key destroys that key,
so that no key answers such a question twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto.errors import CiphertextError, MessageError, SubmissionRefused
from crypto.keys.exchange import usable_capsule, usable_hybrid
from crypto.keys.randomness import RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.packing import PLAIN_MODULUS, pack_fields
from crypto.planning.plans import Plan
from crypto.protocols.bfv.pads import ClientPads, Statement, blocks_of, ciphertext_hash, pad, state
from crypto.protocols.bfv.tenseal_backend import CiphertextSum, PublicKey, encrypt, parse_public_key, release
from crypto.protocols.bookkeeping import MAX_MODEL, Key, OpenSums, Submissions, beyond_bound, ignored, in_order
from crypto.protocols.faults import Fault, Faults
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Input, Item, Message
from crypto.wire.values import pack_value, unpack_sparse, unpack_value

SET_UP = (0, "-")
KEYHOLDER = "keyholder"
# How often the key holder replaces a key that answered what depends on it: each answer may tell one bit of that key.
MAX_FRESH_KEYS = 8


@dataclass(frozen=True, eq=False)
class HolderKeys:
    """The key holder's public keys: for BFV, and for agreeing on pads (`HybridKey`); `number` counts from 0."""

    number: int
    bfv: PublicKey = field(repr=False)
    exchange: bytes


def write_keys(number: int, bfv: bytes, exchange: bytes) -> bytes:
    """The payload of the key holder's message to server and clients; it names the TenSEAL release of the key."""
    return pack_value([number, release(), bfv, exchange])


def read_keys(plan: Plan, item: Message, known: HolderKeys | None) -> HolderKeys | None:
    """The key holder's public keys, if this message holds some that are newer than those known; else None.

    Raises:
        CiphertextError: they are of another TenSEAL release, whose ciphertexts cannot be told apart from garbage.
    """
    if item.session != plan.session or item.kind != "key" or item.sender != KEYHOLDER:
        return None
    try:
        match unpack_value(item.payload):
            case [int(number), str(theirs), bytes(public), bytes(exchange)] if usable_hybrid(exchange):
                if not (-1 if known is None else known.number) < number <= MAX_FRESH_KEYS:
                    ignored(item, "not a newer key")
                    return None
                if theirs != release():
                    raise CiphertextError(
                        f"the key holder's key is of TenSEAL {theirs[:32]!r}, this program has {release()!r}; install "
                        "the same release everywhere"
                    )
                return HolderKeys(number, parse_public_key(public), exchange)
        ignored(item, "no pair of public keys")
    except MessageError as error:
        ignored(item, str(error))
    return None


@holds_secrets
class BfvClient:
    """Packs, pads and encrypts its vectors."""

    def __init__(self, plan: Plan, identity: Identity, random: RandomBytes, public: object | None = None) -> None:
        self.name = identity.name
        self._plan = plan
        self._identity = identity
        self._pads = ClientPads(plan, identity.name, random)
        self._submissions = Submissions(plan)
        self._keys = public if isinstance(public, HolderKeys) else None
        self._problem = ""

    @property
    def ready(self) -> bool:
        """Whether the public keys are here."""
        return self._keys is not None

    @property
    def public(self) -> object | None:
        """The parsed public keys, or None before they are here."""
        return self._keys

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Take the public keys, and later ones if the key holder had to destroy its own."""
        if isinstance(item, Message):
            try:
                self._keys = read_keys(self._plan, item, self._keys) or self._keys
            except CiphertextError as error:
                self._problem = str(error)
                return ignored(item, self._problem)
        return ()

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`: one message with a signed statement and a ciphertext for every 4,096 slots."""
        if self._keys is None:
            raise SubmissionRefused(
                self._problem or "the public key has not arrived; deliver the key holder's start messages"
            )
        try:
            mine, key = self._pads.agreed(self._keys.exchange)
        except CiphertextError as error:
            raise SubmissionRefused(f"the key holder's key for pads is unusable: {error}") from error
        self._submissions.check(round, upload, vector, model)
        rows = pack_fields(vector, self._plan.packing(upload))
        rows = (rows + pad(key, round, upload, len(rows))) % PLAIN_MODULUS
        blocks = [encrypt(self._keys.bfv, row) for row in rows]
        payload = state(self._plan, self._identity, mine, round, upload, blocks, model, self._keys.number)
        return (
            Message(
                sender=self.name,
                receiver="server",
                kind="ciphertexts",
                session=self._plan.session,
                round=round,
                upload=upload,
                payload=payload,
            ),
        )


@dataclass
class _Pile:
    """The ciphertexts of one model, added up; `arrived` holds each client's digest, key for pads, model and proof."""

    sums: list[CiphertextSum]
    arrived: dict[str, tuple[bytes, bytes, bytes, bytes]] = field(default_factory=dict)


@dataclass
class _Progress:
    """One open sum at the server."""

    piles: dict[bytes, _Pile] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    waiting: bool = False

    def has(self, name: str) -> bool:
        """Whether this client's vector is here."""
        return any(name in pile.arrived for pile in self.piles.values())

    @property
    def count(self) -> int:
        """How many vectors are here."""
        return sum(len(pile.arrived) for pile in self.piles.values())

    def arrived(self) -> set[str]:
        """Everybody whose ciphertexts are here."""
        return {name for pile in self.piles.values() for name in pile.arrived}


@holds_secrets
class BfvServer:
    """Adds ciphertexts as they arrive and asks the key holder once for each sum.

    A client that signs what is no statement with ciphertexts is left out from then on. One that encrypts something else
    than a vector is not noticed before decryption, and never found.
    """

    name = "server"

    def __init__(self, plan: Plan, trust: Trust) -> None:
        self._plan = plan
        self._trust = trust
        self._keys: HolderKeys | None = None
        self._problem = ""
        self._sums = OpenSums(plan)
        self._faults = Faults(plan)
        self._progress: dict[Key, _Progress] = {}

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The clients that were found at fault and are left out, with the evidence."""
        return self._faults.found

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`. Without the public key a sum is aborted at once."""
        match item:
            case Begin():
                return self._begin(item)
            case Deadline():
                return self._deadline(item)
            case Message():
                return self._hear(item)

    def _begin(self, item: Begin) -> tuple[Item, ...]:
        key = (item.round, item.upload)
        if not self._sums.begin(item):
            return ()
        if self._keys is None:
            why = self._problem or "The key holder's public key has not arrived; repeat the set-up."
            return (self._sums.abort(key, why),)
        self._progress[key] = _Progress()
        return ()

    def _deadline(self, item: Deadline) -> tuple[Item, ...]:
        key = self._sums.key_of(item)
        if key is None:
            return ()
        progress = self._progress[key]
        if progress.waiting:
            return (self._give_up(key, "The key holder did not answer; run another round."),)
        progress.waiting = True
        return () if progress.asked else self._ask(key)

    def _hear(self, message: Message) -> tuple[Item, ...]:
        if message.kind == "key":
            return self._take_keys(message)
        key = self._sums.key_of(message)
        if key is None:
            return ignored(message, "no open sum for it")
        progress = self._progress[key]
        if message.kind == "ciphertexts" and message.sender in self._plan.places and not progress.asked:
            return self._add(message, key, progress)
        if message.kind == "sum" and message.sender == KEYHOLDER and progress.asked:
            return self._finish(message, key, progress)
        if message.kind == "refused" and message.sender == KEYHOLDER and progress.asked:
            reason = message.payload[:500].decode(errors="replace")
            return (self._give_up(key, f"The key holder refused: {reason}."),)
        return ignored(message, "not expected now")

    def _take_keys(self, message: Message) -> tuple[Item, ...]:
        """Take newer keys; sums that hold ciphertexts under the old one cannot be opened any more."""
        try:
            keys = read_keys(self._plan, message, self._keys)
        except CiphertextError as error:
            self._problem = str(error)
            return ignored(message, self._problem)
        if keys is None:
            return ()
        self._keys = keys
        stale = [key for key, progress in self._progress.items() if progress.piles and not progress.asked]
        why = "The key holder made a new key while ciphertexts under the old one came; run another round."
        return tuple(self._give_up(key, why) for key in stale)

    def _add(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        name = message.sender
        if progress.has(name) or name in self._faults or self._keys is None:
            return ignored(message, "second ciphertext of this client, or left out")
        count = self._plan.packing(message.upload).chunks
        adder = CiphertextSum(self._keys.bfv)
        try:
            statement, proof, blocks = self._parts(message, count)
            parsed: list[Any] = [adder.parse(raw) for raw in blocks]
        except (MessageError, CiphertextError) as error:
            self._faults.in_message(message, str(error))
            return self._ask_if_complete(key, progress)
        # Vectors of different models do not add up; as many corrupt clients as may be each name one of their own.
        full = statement.model not in progress.piles and len(progress.piles) > self._plan.max_dropouts
        if statement.key != self._keys.number or full:
            return ignored(message, "under another key, or of a further model")
        fresh = _Pile([CiphertextSum(self._keys.bfv) for _ in range(count)])
        pile = progress.piles.setdefault(statement.model, fresh)
        for total, vector in zip(pile.sums, parsed, strict=True):
            total.add(vector)
        pile.arrived[name] = (statement.digest, statement.exchange, statement.model, proof)
        return self._ask_if_complete(key, progress)

    def _parts(self, message: Message, count: int) -> tuple[Statement, bytes, list[bytes]]:
        match unpack_sparse(message.payload):
            case [int(number), bytes(exchange), bytes(model), bytes(proof), list(entries)] if number >= 0:
                if not usable_capsule(exchange) or len(model) > MAX_MODEL:
                    raise MessageError("the capsule for pads is unusable, or the model digest too long")
                blocks = blocks_of(entries, count)
                statement = Statement(number, message.sender, ciphertext_hash(blocks), exchange, model)
                signed = statement.signed_bytes(self._plan, message.round, message.upload)
                if self._trust.holds(message.sender, signed, proof):
                    return statement, proof, blocks
                raise MessageError("the statement for the key holder is not signed by its sender")
        raise MessageError("the message is no statement with ciphertexts")

    def _ask_if_complete(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        names = self._faults.names
        # Sets of all names for every vector would make the time quadratic in them.
        if progress.count + len(names) < len(self._plan.clients):
            return ()
        return self._ask(key) if progress.arrived() | set(names) >= set(self._plan.clients) else ()

    def _ask(self, key: Key) -> tuple[Item, ...]:
        progress = self._progress[key]
        pile = max(progress.piles.values(), key=lambda each: len(each.arrived), default=_Pile([]))
        abort = self._sums.too_few(key, len(pile.arrived), self._faults.names)
        if abort is not None or self._keys is None:
            del self._progress[key]
            return () if abort is None else (abort,)
        progress.asked = in_order(self._plan, set(pile.arrived))
        statements = [[name, *pile.arrived[name]] for name in progress.asked]
        payload = pack_value([self._keys.number, statements, [total.to_bytes() for total in pile.sums]])
        progress.piles.clear()
        return (
            Message(
                sender="server",
                receiver=KEYHOLDER,
                kind="open",
                session=self._plan.session,
                round=key[0],
                upload=key[1],
                payload=payload,
            ),
        )

    def _finish(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if len(message.payload) != 8 * self._plan.find(message.upload).length:
            return (self._give_up(key, "The key holder's answer has the wrong length; restart it."),)
        total = np.frombuffer(message.payload, dtype="<i8").astype(np.int64)
        beyond = beyond_bound(self._plan, key[1], total, len(progress.asked))
        if beyond:
            return (self._give_up(key, beyond),)
        del self._progress[key]
        self._sums.close(key)
        return (Aggregate(self._plan.session, *key, total, progress.asked, self._faults.names),)

    def _give_up(self, key: Key, reason: str) -> Abort:
        del self._progress[key]
        return self._sums.abort(key, reason, self._faults.names)
