"""The client of "helper": one padded vector for the server, with a statement that helpers can check.

*Guarantee*: a pad is used once, across crashes too if there is a journal; the helpers learn of a vector only its
name, place and model, the server only that much until enough helpers answer one list with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError, SubmissionRefused
from crypto.keys.exchange import agree, usable_hybrid
from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity
from crypto.keys.sealed import seal
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal, Submissions, ignored
from crypto.protocols.helper.journal import MAX_STARTS, claim_attempt
from crypto.protocols.helper.proven import Place, prove, require_short
from crypto.protocols.helper.shape import Shape
from crypto.protocols.helper.statements import (
    NONCE_BYTES,
    Statement,
    key_digest,
    pad_context,
    pad_key,
    seed_commitment,
    vector_digest,
    wrap,
    wrap_place,
    wraps_bytes,
)
from crypto.protocols.masks.bits import pack_bits
from crypto.protocols.masks.journal import MemoryJournal
from crypto.protocols.masks.stream import apply_masks, ring_of
from crypto.wire.messages import Input, Item, Message
from crypto.wire.values import pack_value, unpack_value

SERVER = "server"


@dataclass(frozen=True)
class PublicKeys:
    """The public keys of server and helpers that have arrived, with the number of each party's start, from 0."""

    keys: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)


def write_key(start: int, public: bytes) -> bytes:
    """The payload of a party's first message."""
    return pack_value([start, public])


@holds_secrets
class HelperClient:
    """Pads its vectors."""

    def __init__(
        self,
        plan: Plan,
        shape: Shape,
        identity: Identity,
        random: RandomBytes,
        public: object | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.name = identity.name
        self._plan, self._shape, self._identity, self._random = plan, shape, identity, random
        self._public = public if isinstance(public, PublicKeys) else PublicKeys()
        self._journal = MemoryJournal() if journal is None else journal
        self._submissions = Submissions(plan)

    @property
    def ready(self) -> bool:
        """Whether the keys of the server, and of as many helpers as must answer, are here."""
        keys = self._public.keys
        return SERVER in keys and sum(role in keys for role in self._shape.roles) >= self._shape.threshold

    @property
    def public(self) -> object | None:
        """The public keys, or None before there are enough."""
        return self._public if self.ready else None

    def start(self) -> tuple[Item, ...]:
        """Nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Take a public key; of one party's, that of a later start counts."""
        if not isinstance(item, Message) or item.session != self._plan.session or item.kind != "key":
            return ()
        if item.sender not in (SERVER, *self._shape.roles):
            return ignored(item, "of nobody whose key is needed")
        try:
            content = unpack_value(item.payload)
        except MessageError as error:
            return ignored(item, str(error))
        match content:
            case [int(start), bytes(public)] if 0 <= start < MAX_STARTS and usable_hybrid(public):
                if start <= self._public.keys.get(item.sender, (-1,))[0]:
                    return ignored(item, "a key of no later start: its sender lost its journal, or this is a copy")
                self._public = PublicKeys({**self._public.keys, item.sender: (start, public)})
                return ()
        return ignored(item, "no pair of public keys")

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`: one message of `ring_bits` bits an entry, or 64 with a proof, and a statement."""
        parts = (vector, np.zeros_like(vector)) if self._plan.find(upload).noise_norm_bound else (vector,)
        return self._submit(round, upload, parts, model)

    def submit_apart(
        self,
        round: int,
        upload: str,
        vector: npt.NDArray[np.int64],
        noise: npt.NDArray[np.int64],
        model: bytes = b"",
    ) -> tuple[Message, ...]:
        """The same with a noise share: its norm, if bounded, is proven apart; else the two are added in the ring."""
        declared = self._plan.find(upload)
        apart = bool(declared.noise_norm_bound) or not declared.norm_bound
        return self._submit(round, upload, (vector, noise) if apart else (vector + noise,), model)

    def _submit(
        self, round: int, upload: str, parts: Sequence[npt.NDArray[np.int64]], model: bytes
    ) -> tuple[Message, ...]:
        if not self.ready:
            raise SubmissionRefused("the keys of server and helpers have not arrived; deliver their start messages")
        require_short(self._plan.find(upload), parts)
        self._submissions.check(round, upload, parts[0], model)
        roles = (SERVER, *self._shape.roles)
        publics = [self._public.keys[role][1] if role in self._public.keys else b"" for role in roles]
        keys = tuple(key_digest(public) if public else b"" for public in publics)
        attempt = claim_attempt(self._journal, self._plan, self.name, (round, upload), keys[1:])
        draft = Statement(
            name=self.name, attempt=attempt, model=model, nonce=self._random(NONCE_BYTES), digest=b"", keys=keys,
            capsules=(), wraps=b"", seeds=b"",
        )  # fmt: skip
        statement, pads = self._padded(draft, publics[1:], round, upload)
        if self._plan.find(upload).norm_bound:
            place = Place(plan=self._plan, round=round, upload=upload)
            joint, packed = prove(place, statement, parts, pads[0], self._random)
            statement = replace(statement, joint=joint)
        else:
            bits = self._plan.ring_bits(upload)
            ring = ring_of(parts, bits)
            apply_masks(ring, pads, ())
            packed = bytes(pack_bits(ring, bits))
        blinder = self._random(KEY_BYTES)
        statement = replace(statement, digest=vector_digest(blinder, packed))
        signed = statement.signed_bytes(self._plan, round, upload)
        box = seal(publics[0], blinder + packed, ("helper vector 1", signed), self._random)
        payload = pack_value([*statement.fields(), self._identity.prove(signed), box])
        return (
            Message(
                sender=self.name, receiver=SERVER, kind="padded", session=self._plan.session, round=round,
                upload=upload, payload=payload,
            ),
        )  # fmt: skip

    def _padded(self, draft: Statement, publics: list[bytes], round: int, upload: str) -> tuple[Statement, list[bytes]]:
        """Agree on keys with the helpers that have shown one; returns the statement with capsules, and the pads."""
        shape, who = self._shape, (draft.name, draft.attempt, draft.nonce)
        capsules, agreed = [b""] * shape.helpers, dict[int, bytes]()
        for place, (role, public) in enumerate(zip(shape.roles, publics, strict=True)):
            if public:
                context = pad_context(self._plan, round, upload, who, role)
                capsules[place], agreed[place] = agree(public, context, self._random)
        if not shape.shared:
            keys = [pad_key(agreed[holder], pad) for pad, (holder,) in enumerate(shape.pads)]
            return replace(draft, capsules=tuple(capsules)), keys
        wraps, commitments, pads = bytearray(wraps_bytes(shape)), [], []
        for pad, holders in enumerate(shape.pads):
            seed = self._random(KEY_BYTES)
            commitments.append(seed_commitment(self._plan, draft.name, draft.nonce, pad, seed))
            pads.append(pad_key(seed, pad))
            for holder in holders:
                if holder in agreed:
                    wraps[wrap_place(shape, holder, pad)] = wrap(agreed[holder], pad, seed)
        made = replace(draft, capsules=tuple(capsules), wraps=bytes(wraps), seeds=b"".join(commitments))
        return made, pads
