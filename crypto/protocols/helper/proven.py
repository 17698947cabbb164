"""Sums of "helper" whose norms are proven: server and helper are the two verifiers of PINE (`crypto.norms.pine`).

Instead of a vector plus pad in a ring of few bits, the server gets a share modulo p and proofs, 8 bytes an entry; the
helper's share is seeds from the key of the pad, so nothing more travels to it but what the client signs: the digests
that joint randomness is made from. A noise share is proven apart, by a proof of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError, PlanRefused, SubmissionRefused
from crypto.keys.randomness import RandomBytes, derive_key, encode_labels
from crypto.norms import pine
from crypto.norms.circuits import Short
from crypto.norms.expanding import SEED_BYTES, encoded
from crypto.norms.field import Elements, P, add, to_signed
from crypto.planning.norms import exact_norm_square
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.helper.statements import Statement

_JOINT_BYTES = 4 * SEED_BYTES
_BLINDS_BYTES = 2 * SEED_BYTES
KEY_BYTES = 32


def statements_of(upload: Upload) -> tuple[Short, ...]:
    """What is proven of one client's vector, and of its noise share if that has a bound; empty if nothing is.

    Raises:
        PlanRefused: norms that cannot be proven modulo p.
    """
    bounds = [bound for bound in (upload.norm_bound, upload.noise_norm_bound) if bound]
    return tuple(Short(length=upload.length, bound=bound) for bound in bounds)


def check_provable(plan: Plan) -> None:
    """Raise PlanRefused for norms that cannot be proven, or sums of vectors within them that could wrap modulo p."""
    for upload in plan.uploads:
        try:
            found = statements_of(upload)
        except PlanRefused as error:
            raise PlanRefused(f"upload {upload.name!r}: {error}") from None
        most = len(plan.clients) * sum(short.bound for short in found)
        if most > P // 2:
            raise PlanRefused(f"upload {upload.name!r}: a sum can reach {most}, beyond {P // 2}; lower the norm_bound")


def require_short(upload: Upload, parts: Sequence[npt.NDArray[np.int64]]) -> None:
    """Raise SubmissionRefused for a vector or noise share that exceeds its bound, before anything is used up."""
    bounds = (upload.norm_bound, upload.noise_norm_bound)
    for what, bound, part in zip(("vector", "noise share"), bounds, parts, strict=False):
        square = exact_norm_square(part) if bound else 0
        if square > bound * bound:
            raise SubmissionRefused(
                f"the {what} has norm {math.isqrt(square)}, above the plan's {bound}, and would be refused; clip it, "
                "or draw the noise again"
            )


def joint_bytes(upload: Upload) -> int:
    """Bytes of the digests that a client signs."""
    return _JOINT_BYTES * sum(bool(bound) for bound in (upload.norm_bound, upload.noise_norm_bound))


def share_bytes(upload: Upload) -> int:
    """Bytes of what the server gets of one vector."""
    return sum(8 * (short.shared_length + pine.proof_length(short)) + _BLINDS_BYTES for short in statements_of(upload))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which vector of which client a proof is for."""

    plan: Plan
    round: int
    upload: str

    @property
    def statements(self) -> tuple[Short, ...]:
        """What is proven."""
        return statements_of(self.plan.find(self.upload))

    def nonces(self, who: Statement) -> list[bytes]:
        """One nonce for each proof, bound to plan, sum, client, attempt, model, and the vector's own nonce."""
        place = (
            self.plan.digest,
            self.plan.session,
            self.round,
            self.upload,
            who.name,
            who.attempt,
            who.model,
            who.nonce,
        )
        labels = [encode_labels(("helper norm nonce 1", *place, part)) for part in range(len(self.statements))]
        return [hashlib.sha256(each).digest()[: pine.NONCE_BYTES] for each in labels]


def prove(
    place: Place, who: Statement, vectors: Sequence[npt.NDArray[np.int64]], pad: bytes, random: RandomBytes
) -> tuple[bytes, bytes]:
    """Return what the client signs, and what the server gets; `pad`: the key that the helper will have.

    Raises:
        SubmissionRefused: a vector exceeds its bound.
    """
    joint, shares = [], []
    for part, (short, vector, nonce) in enumerate(zip(place.statements, vectors, place.nonces(who), strict=True)):
        _, blinds, own = pine.draw(random)
        parts, share = pine.prove(short, vector, nonce, (_seeds(pad, part), blinds, own))
        joint += [*parts.directions, *parts.rest]
        shares += [encoded(share.vector), encoded(share.proofs), *share.blinds]
    return b"".join(joint), b"".join(shares)


def server_shares(upload: Upload, data: bytes | bytearray) -> list[pine.Share]:
    """Read what the server gets of one vector.

    Raises:
        MessageError: another length, or numbers that are no elements.
    """
    if len(data) != share_bytes(upload):
        raise MessageError(f"{len(data)} bytes instead of {share_bytes(upload)} of a share and its proofs")
    found, start = [], 0
    for short in statements_of(upload):
        sizes = (short.shared_length, pine.proof_length(short))
        words = np.frombuffer(data, dtype="<u8", count=sum(sizes), offset=start).astype(np.uint64)
        if (words >= np.uint64(P)).any():
            raise MessageError("a share holds numbers beyond the field")
        start += 8 * len(words) + _BLINDS_BYTES
        blinds = bytes(data[start - _BLINDS_BYTES : start])
        vector, proofs = np.split(words, [sizes[0]])
        found.append(pine.Share(vector, proofs, (blinds[:SEED_BYTES], blinds[SEED_BYTES:])))
    return found


def helper_shares(upload: Upload, pad: bytes) -> list[pine.Share]:
    """Return the helper's shares of one vector."""
    return [pine.expand(short, _seeds(pad, part)) for part, short in enumerate(statements_of(upload))]


def _seeds(pad: bytes, part: int) -> pine.Seeds:
    one, two, three, four = (derive_key(pad, "helper norm seed 1", part, use) for use in range(4))
    return pine.Seeds(one, two, (three, four))


@dataclass(frozen=True, eq=False)
class Opinion:
    """What one verifier says of one client's proofs, and which joint randomness it used."""

    said: tuple[pine.Said, ...]
    used: tuple[pine.Joint, ...]

    def to_bytes(self) -> bytes:
        """Write what goes to the other verifier."""
        return b"".join(encoded(each.verifier) + each.directions + each.rest for each in self.said)


def opinion(place: Place, who: Statement, key: bytes, verifier: int, shares: Sequence[pine.Share]) -> Opinion:
    """Return what verifier 0, the server, or 1, the helper, finds.

    Raises:
        MessageError: as `pine.check`.
    """
    found = []
    for part, (short, share, nonce) in enumerate(zip(place.statements, shares, place.nonces(who), strict=True)):
        joint = who.joint[part * _JOINT_BYTES : (part + 1) * _JOINT_BYTES]
        four = [joint[start : start + SEED_BYTES] for start in range(0, _JOINT_BYTES, SEED_BYTES)]
        parts = pine.Parts((four[0], four[1]), (four[2], four[3]))
        found.append(pine.check(short, key, verifier, nonce, parts, share))
    return Opinion(tuple(said for said, _ in found), tuple(used for _, used in found))


def agreed(place: Place, own: Opinion, other: bytes, verifier: int) -> bool:
    """Whether own and the other verifier's opinion together accept all proofs; malformed bytes do not."""
    start = 0
    for short, said, used in zip(place.statements, own.said, own.used, strict=True):
        size = 8 * pine.verifier_length(short)
        piece, start = other[start : start + size + 2 * SEED_BYTES], start + size + 2 * SEED_BYTES
        if len(piece) != size + 2 * SEED_BYTES:
            return False
        words = np.frombuffer(piece, dtype="<u8", count=size // 8).astype(np.uint64)
        theirs = pine.Said(words, piece[size : size + SEED_BYTES], piece[size + SEED_BYTES :])
        both = (said, theirs) if verifier == 0 else (theirs, said)
        if (words >= np.uint64(P)).any() or not pine.accepted(short, both, used):
            return False
    return start == len(other)


def entries_of(upload: Upload, shares: Sequence[pine.Share]) -> Elements:
    """Return (a share of) vector and noise together."""
    total = np.zeros(upload.length, dtype=np.uint64)
    for share in shares:
        total = add(total, share.vector[: upload.length])
    return total


@dataclass(frozen=True, eq=False)
class Proven:
    """What the server keeps of one vector: its opinion of the proofs, and its share of vector and noise together."""

    own: Opinion = field(repr=False)
    entries: Elements = field(repr=False)


def proven(place: Place, who: Statement, key: bytes, data: bytes | bytearray) -> Proven:
    """Return what the server keeps of one vector.

    Raises:
        MessageError: the share is malformed, or as `pine.check`.
    """
    upload = place.plan.find(place.upload)
    shares = server_shares(upload, data)
    return Proven(opinion(place, who, key, 0, shares), entries_of(upload, shares))


@dataclass(frozen=True, eq=False)
class Answer:
    """A helper's: the sum of its shares, whose they are, and what it says of each proof."""

    total: Elements = field(repr=False)
    passed: tuple[bool, ...]
    opinions: tuple[bytes, ...] = field(repr=False)


def read_answer(upload: Upload, clients: int, parts: Sequence[object]) -> Answer | None:
    """Read a helper's answer to a list of so many clients; None if it is malformed."""
    match parts:
        case [[bytes(total)], list(passed), list(opinions)] if len(total) == 8 * upload.length:
            words = np.frombuffer(total, dtype="<u8").astype(np.uint64)
            good = tuple(bit for bit in passed if isinstance(bit, bool))
            said = tuple(each for each in opinions if isinstance(each, bytes))
            whole = len(passed) == len(opinions) == len(good) == len(said) == clients
            return Answer(words, good, said) if whole and not (words >= np.uint64(P)).any() else None
    return None


def accepted_by_both(place: Place, kept: Sequence[Proven], answer: Answer) -> tuple[bool, ...] | None:
    """Return whose proofs hold as the server sees it, or None if the helper summed others."""
    pairs = zip(kept, answer.opinions, strict=True)
    found = tuple(agreed(place, each.own, theirs, 0) for each, theirs in pairs)
    return found if found == answer.passed else None


def sum_of(kept: Sequence[Proven], answer: Answer) -> npt.NDArray[np.int64]:
    """Return the sum of these vectors, of which the helper summed the other shares."""
    total = answer.total
    for each in kept:
        total = add(total, each.entries)
    return to_signed(total)
