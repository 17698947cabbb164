"""Sums under homomorphic encryption: clients encrypt for a key holder, the server adds ciphertexts.

BFV is exact, so no error is added (Fan, Vercauteren, "Somewhat practical fully homomorphic encryption",
2012). This file holds the clients and the server, `bfv.keyholder` the third party. The server holds the
public key only. Every plaintext carries a pad (`bfv.pads`), and the key holder
takes off the pads of the clients whose signed statements the server shows, at least the plan's number of
clients, once for each (round, upload).

*Guarantee*: against a server that deviates at will but does not collude with the key holder, the key holder
answers for one set of at least `min_clients` clients per (round, upload), and the answer is a refusal or
pseudo-random unless the ciphertext holds exactly one vector of each of them (plus what the server added
itself: the sum is not authenticated against the server).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto.errors import CiphertextError, MessageError, SubmissionRefused
from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.packing import PLAIN_MODULUS, pack_fields
from crypto.planning.plans import Plan
from crypto.protocols.bfv.pads import Agreement, Statement, blocks_of, ciphertext_hash, pad, state
from crypto.protocols.bfv.tenseal_backend import CiphertextSum, PublicKey, encrypt, parse_public_key
from crypto.protocols.bookkeeping import Key, OpenSums, Submissions, ignored, in_order
from crypto.wire.messages import Aggregate, Begin, Deadline, Input, Item, Message
from crypto.wire.values import pack_value, unpack_value

SET_UP = (0, "-")
KEYHOLDER = "keyholder"


@dataclass(frozen=True, eq=False)
class HolderKeys:
    """The key holder's public keys: for BFV, and for agreeing on pads (X25519, 32 bytes)."""

    bfv: PublicKey = field(repr=False)
    exchange: bytes


def _holder_keys(plan: Plan, item: Message) -> HolderKeys | None:
    """The key holder's public keys if this message holds them, else None."""
    if item.session != plan.session or item.kind != "key" or item.sender != KEYHOLDER:
        return None
    try:
        match unpack_value(item.payload):
            case [bytes(public), bytes(exchange)] if len(exchange) == KEY_BYTES:
                return HolderKeys(parse_public_key(public), exchange)
        ignored(item, "no pair of public keys")
    except (CiphertextError, MessageError) as error:
        ignored(item, str(error))
    return None


@holds_secrets
class BfvClient:
    """Packs, pads and encrypts its vectors."""

    def __init__(self, plan: Plan, identity: Identity, random: RandomBytes, public: object | None = None) -> None:
        self.name = identity.name
        self._plan = plan
        self._identity = identity
        self._agreement = Agreement(random)
        self._submissions = Submissions(plan)
        self._keys = public if isinstance(public, HolderKeys) else None

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
        """Take the public keys; the first ones count."""
        if isinstance(item, Message) and self._keys is None:
            self._keys = _holder_keys(self._plan, item)
        return ()

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`: one message with a signed statement and a ciphertext for every 4,096 slots."""
        if self._keys is None:
            raise SubmissionRefused("the public key has not arrived; deliver the key holder's start messages")
        try:
            key = self._agreement.pad_key(self._keys.exchange, self._plan.session, self.name)
        except CiphertextError as error:
            raise SubmissionRefused(f"the key holder's key for pads is unusable: {error}") from error
        self._submissions.check(round, upload, vector, model)
        rows = pack_fields(vector, self._plan.packing(upload))
        rows = (rows + pad(key, round, upload, len(rows))) % PLAIN_MODULUS
        blocks = [encrypt(self._keys.bfv, row) for row in rows]
        payload = state(self._plan, self._identity, self._agreement.public, round, upload, blocks, model)
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
class _Progress:
    """One open sum at the server; `arrived` holds each client's digest, key for pads, model and proof."""

    sums: list[CiphertextSum]
    arrived: dict[str, tuple[bytes, bytes, bytes, bytes]] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    waiting: bool = False


@holds_secrets
class BfvServer:
    """Adds ciphertexts as they arrive and asks the key holder once for each sum."""

    name = "server"

    def __init__(self, plan: Plan, trust: Trust) -> None:
        self._plan = plan
        self._trust = trust
        self._keys: HolderKeys | None = None
        self._sums = OpenSums(plan)
        self._progress: dict[Key, _Progress] = {}

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
            return (self._sums.abort(key, "The key holder's public key has not arrived; repeat the set-up."),)
        count = self._plan.packing(item.upload).chunks
        self._progress[key] = _Progress([CiphertextSum(self._keys.bfv) for _ in range(count)])
        return ()

    def _deadline(self, item: Deadline) -> tuple[Item, ...]:
        key = self._sums.key_of(item)
        if key is None:
            return ()
        progress = self._progress[key]
        if progress.waiting:
            del self._progress[key]
            return (self._sums.abort(key, "The key holder did not answer; run another round."),)
        progress.waiting = True
        return () if progress.asked else self._ask(key)

    def _hear(self, message: Message) -> tuple[Item, ...]:
        if message.kind == "key":
            self._keys = self._keys or _holder_keys(self._plan, message)
            return ()
        key = self._sums.key_of(message)
        if key is None:
            return ignored(message, "no open sum for it")
        progress = self._progress[key]
        if message.kind == "ciphertexts" and message.sender in self._plan.clients and not progress.asked:
            return self._add(message, key, progress)
        if message.kind == "sum" and message.sender == KEYHOLDER and progress.asked:
            return self._finish(message, key, progress)
        if message.kind == "refused" and message.sender == KEYHOLDER and progress.asked:
            del self._progress[key]
            reason = message.payload[:500].decode(errors="replace")
            return (self._sums.abort(key, f"The key holder refused: {reason}."),)
        return ignored(message, "not expected now")

    def _add(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if message.sender in progress.arrived:
            return ignored(message, "second ciphertext of this client")
        try:
            statement, proof, blocks = self._parts(message, len(progress.sums))
            parsed: list[Any] = [total.parse(raw) for total, raw in zip(progress.sums, blocks, strict=True)]
        except (MessageError, CiphertextError) as error:
            return ignored(message, str(error))
        for total, vector in zip(progress.sums, parsed, strict=True):
            total.add(vector)
        progress.arrived[message.sender] = (statement.digest, statement.exchange, statement.model, proof)
        return self._ask(key) if len(progress.arrived) == len(self._plan.clients) else ()

    def _parts(self, message: Message, count: int) -> tuple[Statement, bytes, list[bytes]]:
        match unpack_value(message.payload):
            case [bytes(exchange), bytes(model), bytes(proof), list(entries)] if len(exchange) == KEY_BYTES:
                blocks = blocks_of(entries, count)
                statement = Statement(message.sender, ciphertext_hash(blocks), exchange, model)
                signed = statement.signed_bytes(self._plan, message.round, message.upload)
                if self._trust.holds(message.sender, signed, proof):
                    return statement, proof, blocks
                raise MessageError("the statement for the key holder is not signed by its sender")
        raise MessageError("the message is no statement with ciphertexts")

    def _ask(self, key: Key) -> tuple[Item, ...]:
        progress = self._progress[key]
        abort = self._sums.too_few(key, len(progress.arrived))
        if abort is not None:
            del self._progress[key]
            return (abort,)
        progress.asked = in_order(self._plan, set(progress.arrived))
        statements = [[name, *progress.arrived[name]] for name in progress.asked]
        payload = pack_value([statements, [total.to_bytes() for total in progress.sums]])
        progress.sums.clear()
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
        del self._progress[key]
        if len(message.payload) != 8 * self._plan.find(message.upload).length:
            return (self._sums.abort(key, "The key holder's answer has the wrong length; restart it."),)
        self._sums.close(key)
        total = np.frombuffer(message.payload, dtype="<i8").astype(np.int64)
        return (Aggregate(self._plan.session, *key, total, progress.asked),)
