"""What a client signs for server and helpers, and the keys of its pads.

For every vector the client agrees on a fresh key with each helper. A pad with one holder has that key; a pad with
several has a seed of its own, laid under the key of each holder (shares of one seed would not do: a sum of pads is
asked for, and whoever puts a seed together from shares reads one vector). The digest of the masked vector is blinded,
as a helper knows the pad and could try out vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from crypto.errors import MessageError
from crypto.keys.exchange import Context, usable_capsule
from crypto.keys.randomness import KEY_BYTES, derive_key, encode_labels
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import MAX_MODEL
from crypto.protocols.helper.shape import Shape

NONCE_BYTES = 32
MAX_ATTEMPT = 63


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One vector: whose, at which attempt and model, under which keys.

    `digest`: of the blinded masked vector. `keys`: digests of the public keys it was made for, the server's and each
    helper's, empty for a helper whose key had not arrived; `capsules`: for each helper. `wraps`: for each helper the
    seeds of the pads it holds, laid under its key, and `seeds`: commitments to them; both empty unless pads are shared.
    `joint`: where norms are proven, the digests of the shares that joint randomness is made from; else empty.
    """

    name: str
    attempt: int
    model: bytes
    nonce: bytes
    digest: bytes
    keys: tuple[bytes, ...]
    capsules: tuple[bytes, ...] = field(repr=False)
    wraps: bytes = field(repr=False)
    seeds: bytes = field(repr=False)
    joint: bytes = field(default=b"", repr=False)

    def fields(self) -> list[object]:
        """All but the name, in the order in which they travel."""
        keys, capsules = list(self.keys), list(self.capsules)
        found = [self.attempt, self.model, self.nonce, self.digest, keys, capsules, self.wraps, self.seeds]
        return [*found, *([self.joint] if self.joint else [])]

    def signed_bytes(self, plan: Plan, round: int, upload: str) -> bytes:
        """What the signature covers."""
        place = ("helper statement 1", plan.digest, plan.session, round, upload, self.attempt, self.name)
        parts = (*self.keys, *self.capsules, self.wraps, self.seeds, *([self.joint] if self.joint else []))
        return encode_labels((*place, self.model, self.nonce, self.digest, *parts))


def read_statement(shape: Shape, name: str, parts: Sequence[object], joint_bytes: int = 0) -> Statement:
    """Read what `Statement.fields` wrote, for the client `name`; `joint_bytes`: what proofs of norms sign.

    Raises:
        MessageError: it is not of this form: no client that follows the protocol signs that.
    """
    match parts:
        case [int(attempt), bytes(model), bytes(nonce), bytes(digest), list(keys), list(capsules), bytes(wraps),
              bytes(seeds), *rest]:  # fmt: skip
            joint = rest[0] if rest else b""
            given = tuple(key for key in keys if isinstance(key, bytes))
            boxes = tuple(capsule for capsule in capsules if isinstance(capsule, bytes))
            if (
                0 <= attempt <= MAX_ATTEMPT
                and len(model) <= MAX_MODEL
                and len(nonce) == NONCE_BYTES
                and len(digest) == KEY_BYTES
                and len(given) == len(keys) == shape.helpers + 1
                and len(boxes) == len(capsules) == shape.helpers
                and _fits(shape, given, boxes)
                and (len(wraps), len(seeds)) == (wraps_bytes(shape), seeds_bytes(shape))
                and isinstance(joint, bytes)
                and (len(rest), len(joint)) == (bool(joint_bytes), joint_bytes)
            ):
                return Statement(
                    name=name, attempt=attempt, model=model, nonce=nonce, digest=digest, keys=given, capsules=boxes,
                    wraps=wraps, seeds=seeds, joint=joint,
                )  # fmt: skip
    raise MessageError(f"the statement of {name!r} is malformed")


def _fits(shape: Shape, keys: Sequence[bytes], capsules: Sequence[bytes]) -> bool:
    """Whether there are capsules for the helpers whose keys are named, at least as many as must answer."""
    pairs = list(zip(keys[1:], capsules, strict=True))
    whole = all(
        (len(key) == KEY_BYTES and usable_capsule(capsule)) or (key, capsule) == (b"", b"") for key, capsule in pairs
    )
    return whole and sum(bool(key) for key, _ in pairs) >= shape.threshold and len(keys[0]) == KEY_BYTES


def wraps_bytes(shape: Shape) -> int:
    """Bytes of the wrapped seeds of one statement."""
    return KEY_BYTES * sum(len(holders) for holders in shape.pads) if shape.shared else 0


def seeds_bytes(shape: Shape) -> int:
    """Bytes of the commitments to seeds of one statement."""
    return KEY_BYTES * len(shape.pads) if shape.shared else 0


def wrap_place(shape: Shape, place: int, pad: int) -> slice:
    """Where in `Statement.wraps` lies what helper `place` gets of one pad."""
    order = [(holder, index) for index, holders in enumerate(shape.pads) for holder in holders]
    start = KEY_BYTES * order.index((place, pad))
    return slice(start, start + KEY_BYTES)


def pad_context(plan: Plan, round: int, upload: str, statement: tuple[str, int, bytes], helper: str) -> Context:
    """What the key agreed with one helper is bound to; `statement`: name, attempt and nonce."""
    return ("helper pad 1", plan.digest, plan.session, round, upload, helper, *statement)


def wrap(key: bytes, pad: int, seed: bytes) -> bytes:
    """Lay a seed under a key that serves this vector alone, or take it from there."""
    return bytes(a ^ b for a, b in zip(derive_key(key, "helper wrap 1", pad), seed, strict=True))


def seed_commitment(plan: Plan, name: str, nonce: bytes, pad: int, seed: bytes) -> bytes:
    """Hiding, as seeds are uniform, and binding."""
    return hashlib.sha256(encode_labels(("helper seed 1", plan.digest, name, nonce, pad, seed))).digest()


def pad_key(secret: bytes, pad: int) -> bytes:
    """The key of a pad's stream (`masks.stream.apply_masks`), from the agreed key or the seed."""
    return derive_key(secret, "helper stream 1", pad)


def key_digest(public: bytes) -> bytes:
    """What statements name a public key by."""
    return hashlib.sha256(public).digest()


def vector_digest(blinder: bytes, packed: bytes | bytearray) -> bytes:
    """The digest of a masked vector; 32 random bytes blind it."""
    return hashlib.sha256(blinder + bytes(packed)).digest()
