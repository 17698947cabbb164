"""A helper: it never sees a vector, a sum or a ciphertext, and answers with the sum of the pads of one list."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crypto.errors import ExchangeError, MessageError
from crypto.keys.exchange import HybridKey
from crypto.keys.randomness import RandomBytes
from crypto.keys.roster import Trust
from crypto.keys.secrecy import holds_secrets
from crypto.norms.expanding import encoded
from crypto.norms.field import add
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal, Key, Released, ignored, valid_names
from crypto.protocols.helper.client import SERVER, write_key
from crypto.protocols.helper.journal import claim_list, claim_start
from crypto.protocols.helper.proven import (
    KEY_BYTES,
    Place,
    agreed,
    entries_of,
    helper_shares,
    joint_bytes,
    opinion,
)
from crypto.protocols.helper.shape import Shape
from crypto.protocols.helper.statements import (
    Statement,
    key_digest,
    pad_context,
    pad_key,
    read_statement,
    seed_commitment,
    wrap,
    wrap_place,
)
from crypto.protocols.masks.bits import pack_bits
from crypto.protocols.masks.journal import MemoryJournal
from crypto.protocols.masks.stream import Ring, apply_masks, ring_dtype
from crypto.wire.messages import Input, Item, Message
from crypto.wire.values import pack_value, unpack_sparse

SET_UP = (0, "-")


@dataclass(frozen=True)
class _Proofs:
    """The verifiers' key of one list, and what the server says of each vector's proofs."""

    key: bytes
    opinions: list[bytes]


class Refused(MessageError):
    """A list that is not answered; `names`: the clients because of whose statements."""

    def __init__(self, reason: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.names = names


@holds_secrets
class Helper:
    """Answers one list for each (round, upload), whatever model or attempt the server names.

    That a list is answered is on record before the answer leaves. The keys are drawn anew at every start and kept in
    memory alone: who sets back or loses the journal has no keys that any vector was padded with, and clients take no
    key of a start that they have seen.
    """

    def __init__(
        self, plan: Plan, shape: Shape, role: str, trust: Trust, random: RandomBytes, journal: Journal | None = None
    ) -> None:
        self.name = role
        self._plan, self._shape, self._trust = plan, shape, trust
        self._place = shape.roles.index(role)
        self._journal = MemoryJournal() if journal is None else journal
        self._released = Released(role, self._journal)
        self._keys = HybridKey(random)
        self._digest = key_digest(self._keys.public)
        self._answered: dict[Key, bytes] = {}

    def start(self) -> tuple[Item, ...]:
        """Send the public key to the clients; nothing after too many starts."""
        start = claim_start(self._journal, self._plan, self.name)
        if start is None:
            return ()
        return (self._message("clients", "key", SET_UP, write_key(start, self._keys.public)),)

    def on(self, item: Input) -> tuple[Item, ...]:
        """Answer the server's "list" with "pads" or a "refused" that says why; ignore everything else."""
        if not isinstance(item, Message) or item.kind != "list" or item.sender != SERVER:
            return ()
        key = (item.round, item.upload)
        if item.session != self._plan.session or not self._plan.covers(*key):
            return ignored(item, "other session or unknown sum")
        try:
            statements, proofs = self._request(item)
            secrets = [self._secrets(item, statement) for statement in statements]
            self._claim(key, statements, hashlib.sha256(item.payload).digest())
            if proofs is not None:
                return (self._message(SERVER, "pads", key, self._proven(item, statements, secrets, proofs)),)
        except MessageError as error:
            names = error.names if isinstance(error, Refused) else ()
            return (self._message(SERVER, "refused", key, pack_value([str(error)[:500], list(names)])),)
        return (self._message(SERVER, "pads", key, self._pads(item, secrets)),)

    def _request(self, item: Message) -> tuple[list[Statement], _Proofs | None]:
        """The statements of a list, and where norms are proven what the server says of the proofs.

        Raises:
            MessageError: the list must not be answered.
        """
        proofs: _Proofs | None = None
        match unpack_sparse(item.payload):
            case [bytes(key), list(opinions), list(entries)] if self._plan.find(item.upload).norm_bound:
                proofs = _Proofs(key, [each for each in opinions if isinstance(each, bytes)])
                if len(key) != KEY_BYTES or not len(opinions) == len(proofs.opinions) == len(entries):
                    raise MessageError("the list has no key, or no opinion of each proof")
            case list(entries) if not self._plan.find(item.upload).norm_bound:
                pass
            case _:
                raise MessageError("the list is malformed")
        statements = [self._statement(item, entry) for entry in entries]
        if valid_names(self._plan, [statement.name for statement in statements]) is None:
            least = self._plan.min_clients
            raise MessageError(f"the list is not of at least {least} different clients of the plan")
        models = {statement.model for statement in statements}
        if len(models) != 1:
            raise MessageError(f"the vectors listed belong to {len(models)} models")
        others = [statement.name for statement in statements if statement.keys[self._place + 1] != self._digest]
        if others:
            raise MessageError(f"{len(others)} vectors were padded for another key than this helper's")
        return statements, proofs

    def _statement(self, item: Message, entry: object) -> Statement:
        match entry:
            case [str(name), *fields, bytes(proof)] if name in self._plan.places:
                statement = read_statement(self._shape, name, fields, joint_bytes(self._plan.find(item.upload)))
                if self._trust.holds(name, statement.signed_bytes(self._plan, item.round, item.upload), proof):
                    return statement
                raise MessageError(f"the statement of {name!r} for this sum is not signed by it")
        raise MessageError("a statement is malformed or not of a client of the plan")

    def _secrets(self, item: Message, statement: Statement) -> list[bytes]:
        """The keys of the pads that this helper holds of one vector.

        Raises:
            Refused: a seed is not the one that the client committed to.
        """
        who = (statement.name, statement.attempt, statement.nonce)
        context = pad_context(self._plan, item.round, item.upload, who, self.name)
        try:
            opened = self._keys.open(statement.capsules[self._place], context)
        except ExchangeError as error:
            raise Refused(str(error), (statement.name,)) from error
        held = self._shape.held(self._place)
        if not self._shape.shared:
            return [pad_key(opened, pad) for pad in held]
        found = []
        for pad in held:
            seed = wrap(opened, pad, statement.wraps[wrap_place(self._shape, self._place, pad)])
            made = seed_commitment(self._plan, statement.name, statement.nonce, pad, seed)
            if made != statement.seeds[pad * len(made) : (pad + 1) * len(made)]:
                raise Refused(f"{statement.name!r} committed to another seed than it sent", (statement.name,))
            found.append(pad_key(seed, pad))
        return found

    def _claim(self, key: Key, statements: Sequence[Statement], asked: bytes) -> None:
        """Record the list, unless it is the one that was answered.

        Raises:
            MessageError: another list was answered, or clients of this one were summed at its model.
            JournalError: it cannot be recorded; nothing is answered then.
        """
        if self._answered.get(key) == asked:
            return
        if key in self._answered:
            raise MessageError("another list was answered for this sum; one is all that a helper answers")
        names = [statement.name for statement in statements]
        model = statements[0].model
        clash = self._released.clash(*key, model, names)
        if not clash and not claim_list(self._journal, self._plan, self.name, key):
            clash = "the journal shows that a list was answered for this sum before a restart"
        clash = clash or self._released.take(*key, model, names)
        if clash:
            raise MessageError(clash)
        self._answered[key] = asked

    def _pads(self, item: Message, secrets: Sequence[Sequence[bytes]]) -> bytes:
        """The digest of the list, and the sum of the pads of each kind that this helper holds."""
        bits, length = self._plan.ring_bits(item.upload), self._plan.find(item.upload).length
        sums = []
        for keys in zip(*secrets, strict=True):
            total: Ring = np.zeros(length, dtype=ring_dtype(bits))
            apply_masks(total, keys, ())
            sums.append(bytes(pack_bits(total, bits)))
        return pack_value([hashlib.sha256(item.payload).digest(), sums])

    def _proven(
        self, item: Message, statements: Sequence[Statement], secrets: Sequence[Sequence[bytes]], proofs: _Proofs
    ) -> bytes:
        """The digest of the list, the sum of this helper's shares of vectors that are proven short, whose they are, and
        what it says of each proof.

        Raises:
            MessageError: they are too few to be summed; names the others.
        """
        place, upload = Place(plan=self._plan, round=item.round, upload=item.upload), self._plan.find(item.upload)
        total, passed, opinions = np.zeros(upload.length, dtype=np.uint64), [], []
        for statement, (pad,), theirs in zip(statements, secrets, proofs.opinions, strict=True):
            shares = helper_shares(upload, pad)
            own = opinion(place, statement, proofs.key, 1, shares)
            passed.append(agreed(place, own, theirs, 1))
            opinions.append(own.to_bytes())
            if passed[-1]:
                total = add(total, entries_of(upload, shares))
        if sum(passed) < self._plan.min_clients:
            beyond = [each.name for each, good in zip(statements, passed, strict=True) if not good]
            raise MessageError(
                f"{sum(passed)} of {len(passed)} vectors are proven to keep the norm's bound, the plan demands more; "
                f"not: {', '.join(beyond)}"
            )
        return pack_value([hashlib.sha256(item.payload).digest(), [encoded(total)], passed, opinions])

    def _message(self, receiver: str, kind: str, key: Key, payload: bytes) -> Message:
        return Message(
            sender=self.name, receiver=receiver, kind=kind, session=self._plan.session, round=key[0], upload=key[1],
            payload=payload,
        )  # fmt: skip
