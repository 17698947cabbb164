"""The server of "helper": adds padded vectors, and takes the pads off once enough helpers answer for one list."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from crypto.errors import MessageError, SealError
from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Trust
from crypto.keys.sealed import BoxKey
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Key, OpenSums, beyond_bound, ignored, in_order
from crypto.protocols.faults import Fault, Faults
from crypto.protocols.helper.client import SERVER, write_key
from crypto.protocols.helper.party import SET_UP
from crypto.protocols.helper.proven import (
    Answer,
    Place,
    Proven,
    accepted_by_both,
    joint_bytes,
    proven,
    read_answer,
    sum_of,
)
from crypto.protocols.helper.shape import Shape
from crypto.protocols.helper.statements import Statement, key_digest, read_statement, vector_digest
from crypto.protocols.masks.adding import VectorSum, unpack_bits, vector_sum
from crypto.protocols.masks.bits import packed_bytes
from crypto.protocols.masks.recovery import signed_total
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Input, Item, Message
from crypto.wire.values import pack_value, unpack_sparse, unpack_value


@dataclass
class _Pile:
    """The padded vectors of one model, added up, and the entries of their list.

    `proven`: where norms are proven each vector, until the helper says whose are summed: 8 bytes an entry and client.
    """

    sum: VectorSum = field(repr=False)
    entries: dict[str, list[object]] = field(default_factory=dict)
    proven: dict[str, Proven] = field(default_factory=dict, repr=False)


@dataclass
class _Progress:
    """One open sum: vectors by model; once the helpers are asked, the digest of the list and what they answered.

    `key`: of the verifiers where norms are proven, which no client knows before its vector is here; `answer`: the
    helper's.
    """

    piles: dict[bytes, _Pile] = field(default_factory=dict)
    asked: _Pile | None = None
    digest: bytes = b""
    pads: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    waiting: bool = False
    key: bytes = field(default=b"", repr=False)
    answer: Answer | None = None

    def has(self, name: str) -> bool:
        """Whether this client's vector is here."""
        return any(name in pile.entries for pile in self.piles.values())

    @property
    def count(self) -> int:
        """How many vectors are here."""
        return sum(len(pile.entries) for pile in self.piles.values())

    def arrived(self) -> set[str]:
        """Everybody whose vector is here."""
        return {name for pile in self.piles.values() for name in pile.entries}


@holds_secrets
class HelperServer:
    """Keeps the running sum of padded vectors, and asks each helper once for each sum.

    A client that signs what is no statement with a vector is left out from then on, and so is one of whom a helper says
    that its seeds are false. A client that pads something else than a vector is never found.
    """

    name = SERVER

    def __init__(self, plan: Plan, shape: Shape, trust: Trust, random: RandomBytes) -> None:
        self._plan, self._shape, self._trust = plan, shape, trust
        self._key = BoxKey(random)
        self._digest = key_digest(self._key.public)
        self._random = random
        self._sums = OpenSums(plan)
        self._faults = Faults(plan)
        self._progress: dict[Key, _Progress] = {}

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The clients at fault, which are left out, with the evidence; of false seeds there is a helper's word."""
        return self._faults.found

    def start(self) -> tuple[Item, ...]:
        """Send the public key that vectors are sealed for."""
        return (self._message("clients", "key", SET_UP, write_key(0, self._key.public)),)

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        match item:
            case Begin():
                if self._sums.begin(item):
                    self._progress[item.round, item.upload] = _Progress(key=self._random(KEY_BYTES))
                return ()
            case Deadline():
                key = self._sums.key_of(item)
                return () if key is None else self._deadline(key, self._progress[key])
            case Message():
                return self._hear(item)

    def _deadline(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if progress.asked is None:
            return self._ask(key, progress)
        if not progress.waiting:
            progress.waiting = True
            return ()
        silent = [role for role in self._shape.roles if role not in progress.pads and role not in progress.refused]
        progress.refused |= dict.fromkeys(silent, "it did not answer")
        return self._finish_if_heard(key, progress)

    def _hear(self, message: Message) -> tuple[Item, ...]:
        key = self._sums.key_of(message)
        if key is None:
            return ignored(message, "no open sum for it")
        progress = self._progress[key]
        if message.kind == "padded" and message.sender in self._plan.places and progress.asked is None:
            return self._add(message, key, progress)
        heard = {*progress.pads, *progress.refused}
        if progress.asked is not None and message.sender in self._shape.roles and message.sender not in heard:
            if message.kind == "pads":
                return self._take(message, key, progress)
            if message.kind == "refused":
                return self._refusal(message, key, progress)
        return ignored(message, "not expected now")

    def _add(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        name = message.sender
        if progress.has(name) or name in self._faults:
            return ignored(message, "second vector of this client, or left out")
        try:
            statement, proof, packed = self._parts(message)
        except (MessageError, SealError) as error:
            self._faults.in_message(message, str(error))
            return self._ask_if_complete(key, progress)
        if statement is None:
            return ignored(message, "sealed for another key of the server's")
        # Vectors of different models do not add up; as many corrupt clients as may be each name one of their own.
        if statement.model not in progress.piles and len(progress.piles) > self._plan.max_dropouts:
            return ignored(message, "of a further model")
        bits = self._plan.ring_bits(key[1])
        empty = _Pile(vector_sum(self._plan.find(key[1]).length, bits))
        pile = progress.piles.get(statement.model, empty)
        try:
            if self._plan.find(key[1]).norm_bound:
                pile.proven[name] = proven(self._place(key), statement, progress.key, packed)
            else:
                pile.sum.add(packed)
        except MessageError as error:
            self._faults.in_message(message, str(error))
            return self._ask_if_complete(key, progress)
        progress.piles[statement.model] = pile
        pile.entries[name] = [name, *statement.fields(), proof]
        return self._ask_if_complete(key, progress)

    def _parts(self, message: Message) -> tuple[Statement | None, bytes, bytes]:
        """Statement, its proof and the padded vector; no statement if it was made for another key of the server's.

        Raises:
            MessageError, SealError: its sender signed what is none.
        """
        match unpack_sparse(message.payload):
            case [*parts, bytes(proof), bytes(box)]:
                joint = joint_bytes(self._plan.find(message.upload))
                statement = read_statement(self._shape, message.sender, parts, joint)
                if statement.keys[0] != self._digest:
                    return None, b"", b""
                signed = statement.signed_bytes(self._plan, message.round, message.upload)
                if not self._trust.holds(message.sender, signed, proof):
                    raise MessageError(f"the statement of {message.sender!r} for the helpers is not signed by it")
                plain = self._key.open(box, ("helper vector 1", signed))
                blinder, packed = plain[:KEY_BYTES], plain[KEY_BYTES:]
                if vector_digest(blinder, packed) == statement.digest:
                    return statement, proof, packed
                raise MessageError(f"{message.sender!r} signed the digest of another vector")
        raise MessageError("the message is no statement with a vector")

    def _ask_if_complete(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        names = self._faults.names
        # Sets of all names for every vector would make the time quadratic in them.
        if progress.count + len(names) < len(self._plan.clients):
            return ()
        return self._ask(key, progress) if progress.arrived() | set(names) >= set(self._plan.clients) else ()

    def _ask(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        pile = max(progress.piles.values(), key=lambda each: len(each.entries), default=None)
        arrived = 0 if pile is None else len(pile.entries)
        abort = self._sums.too_few(key, arrived, self._faults.names)
        if abort is not None or pile is None:
            del self._progress[key]
            return () if abort is None else (abort,)
        names = in_order(self._plan, set(pile.entries))
        listed: list[object] = [pile.entries[name] for name in names]
        if pile.proven:
            listed = [progress.key, [pile.proven[name].own.to_bytes() for name in names], listed]
        payload = pack_value(listed)
        progress.asked, progress.digest = pile, hashlib.sha256(payload).digest()
        progress.piles = {}
        return tuple(self._message(role, "list", key, payload) for role in self._shape.roles)

    def _take(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        held = len(self._shape.held(self._shape.roles.index(message.sender)))
        size = packed_bytes(self._plan.find(key[1]).length, self._plan.ring_bits(key[1]))
        match _unpacked(message.payload):
            case [bytes(digest), *rest] if digest == progress.digest and progress.asked and progress.asked.proven:
                progress.answer = read_answer(self._plan.find(key[1]), len(progress.asked.entries), rest)
                if progress.answer is not None:
                    return (self._finish_proven(key, progress.asked, progress.answer),)
            case [bytes(digest), list(sums)] if digest == progress.digest and len(sums) == held:
                packed = tuple(each for each in sums if isinstance(each, bytes) and len(each) == size)
                if len(packed) == held:
                    progress.pads[message.sender] = packed
                    return self._finish_if_heard(key, progress)
        progress.refused[message.sender] = "its answer is malformed or for another list"
        return self._finish_if_heard(key, progress)

    def _refusal(self, message: Message, key: Key, progress: _Progress) -> tuple[Item, ...]:
        why = "it gave no reason"
        match _unpacked(message.payload):
            case [str(reason), list(names)]:
                why = reason[:500]
                for name in names:
                    if isinstance(name, str) and progress.asked is not None and name in progress.asked.entries:
                        self._faults.note(Fault(name=name, reason=f"{message.sender} says: {why}"))
        progress.refused[message.sender] = why
        return self._finish_if_heard(key, progress)

    def _finish_if_heard(self, key: Key, progress: _Progress) -> tuple[Item, ...]:
        if len(progress.refused) > self._shape.helpers - self._shape.threshold:
            reasons = "; ".join(f"{role} refused: {why}" for role, why in sorted(progress.refused.items()))
            return (self._give_up(key, reasons),)
        heard = len(progress.pads) + len(progress.refused)
        return (
            () if heard < self._shape.helpers or progress.asked is None else self._finish(key, progress.asked, progress)
        )

    def _finish(self, key: Key, pile: _Pile, progress: _Progress) -> tuple[Item, ...]:
        bits, length = self._plan.ring_bits(key[1]), self._plan.find(key[1]).length
        sums: dict[int, bytes] = {}
        for place, role in enumerate(self._shape.roles):
            for pad, packed in zip(self._shape.held(place), progress.pads.get(role, ()), strict=False):
                if sums.setdefault(pad, packed) != packed:
                    return (self._give_up(key, "the helpers gave different sums of one pad; one of them is at fault"),)
        padded = pile.sum.take()
        try:
            for packed in sums.values():
                padded -= unpack_bits(packed, length, bits)
        except MessageError as error:
            return (self._give_up(key, f"a helper's sum is malformed: {error}"),)
        total = signed_total(padded, bits)
        beyond = beyond_bound(self._plan, key[1], total, len(pile.entries))
        if beyond:
            return (self._give_up(key, beyond),)
        del self._progress[key]
        self._sums.close(key)
        names = in_order(self._plan, set(pile.entries))
        return (Aggregate(self._plan.session, *key, total, names, self._faults.names),)

    def _finish_proven(self, key: Key, pile: _Pile, answer: Answer) -> Aggregate | Abort:
        """Add up the vectors that both verifiers accept."""
        names = in_order(self._plan, set(pile.entries))
        kept = accepted_by_both(self._place(key), [pile.proven[name] for name in names], answer)
        if kept is None:
            return self._give_up(key, "server and helper disagree on whose norms are proven; restart both")
        among = tuple(name for name, good in zip(names, kept, strict=True) if good)
        if len(among) < self._plan.min_clients:
            return self._give_up(key, f"the helper summed {len(among)} vectors, the plan demands more")
        total = sum_of([pile.proven[name] for name in among], answer)
        beyond = beyond_bound(self._plan, key[1], total, len(among))
        if beyond:
            return self._give_up(key, beyond)
        del self._progress[key]
        self._sums.close(key)
        left_out = in_order(self._plan, {*names, *self._faults.names} - set(among))
        return Aggregate(self._plan.session, *key, total, among, left_out)

    def _place(self, key: Key) -> Place:
        return Place(plan=self._plan, round=key[0], upload=key[1])

    def _give_up(self, key: Key, reason: str) -> Abort:
        del self._progress[key]
        return self._sums.abort(key, reason, self._faults.names)

    def _message(self, receiver: str, kind: str, key: Key, payload: bytes) -> Message:
        return Message(
            sender=SERVER, receiver=receiver, kind=kind, session=self._plan.session, round=key[0], upload=key[1],
            payload=payload,
        )  # fmt: skip


def _unpacked(payload: bytes) -> object:
    """What the bytes hold, or None if they are malformed."""
    try:
        return unpack_value(payload)
    except MessageError:
        return None
