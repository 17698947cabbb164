"""PINE: a client proves to two verifiers, who hold shares of its vector, that the vector is short.

Rothblum, Omri, Chen and Talwar, "PINE: Efficient Norm-Bound Verification for Secret-Shared Vectors" (arXiv
2311.10237), as draft-chen-cfrg-vdaf-pine-01 writes it down for Field64, AES-128 and two verifiers; its test vectors are
this module's. The first verifier gets shares, the second seeds.

*Guarantee*, with two proofs of what depends on joint randomness: an honest client is refused with less than 2^-100. A
vector beyond the bound is accepted, by verifiers that both follow the protocol and keep their key from clients until
they have sent, with at most 2^-48 + T 2^-97 if the client tries T nonces and blinds (2^-48: the secret points, for up
to 2^27 entries; 2^-97: joint randomness, and the directions of projections). If one verifier follows the protocol, what
it says to the other can be made up from the bit it decides, without the vector, as long as it answers once for a proof.
Joint randomness depends on nonce and both shares: who changes a byte of either after it was proven is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from crypto.errors import MessageError, SubmissionRefused
from crypto.keys.randomness import RandomBytes
from crypto.norms.circuits import Ints, Short
from crypto.norms.expanding import SEED_BYTES, Expanded, derived, encoded
from crypto.norms.field import Elements, add, subtract
from crypto.planning.norms import exact_norm_square

NONCE_BYTES = 16
#: How often what depends on joint randomness is proven: a client may try many nonces, so one 64-bit chance is too much.
PROOFS = 2
_ENTRIES, _PROOF, _JOINT, _PROVER, _QUERY, _JOINT_SEED, _JOINT_PART = range(1, 8)
_DIRECTIONS, _DIRECTIONS_SEED, _DIRECTIONS_PART = range(8, 11)


@dataclass(frozen=True, eq=False)
class Share:
    """What one verifier gets: elements of vector and proofs, and two blinds; the second one's travel as `Seeds`."""

    vector: Elements = field(repr=False)
    proofs: Elements = field(repr=False)
    blinds: tuple[bytes, bytes] = field(repr=False)


@dataclass(frozen=True)
class Seeds:
    """The second verifier's share, before it is expanded: 128 bytes."""

    vector: bytes = field(repr=False)
    proofs: bytes = field(repr=False)
    blinds: tuple[bytes, bytes] = field(repr=False)


@dataclass(frozen=True)
class Parts:
    """What joint randomness is made from: for directions, and for the rest, a digest of each verifier's share."""

    directions: tuple[bytes, bytes]
    rest: tuple[bytes, bytes]


@dataclass(frozen=True, eq=False)
class Said:
    """One verifier's message to the other: shares of what must hold, and the digests that it found for its share."""

    verifier: Elements = field(repr=False)
    directions: bytes = field(repr=False)
    rest: bytes = field(repr=False)


@dataclass(frozen=True)
class Joint:
    """The seeds of the joint randomness that a verifier used."""

    directions: bytes = field(repr=False)
    rest: bytes = field(repr=False)


def draw(random: RandomBytes) -> tuple[Seeds, tuple[bytes, bytes], bytes]:
    """Return what `prove` takes: the second verifier's seeds, the first one's blinds, and the prover's own seed."""
    seeds = [random(SEED_BYTES) for _ in range(7)]
    return Seeds(seeds[0], seeds[1], (seeds[2], seeds[3])), (seeds[4], seeds[5]), seeds[6]


def prove(
    short: Short, vector: Ints, nonce: bytes, drawn: tuple[Seeds, tuple[bytes, bytes], bytes], proofs: int = PROOFS
) -> tuple[Parts, Share]:
    """Return the public parts and the first verifier's share; the second one's are the seeds that were drawn.

    Raises:
        SubmissionRefused: the vector is longer than the bound, or a projection does not pass (2^-100): draw again.
    """
    if exact_norm_square(vector) > short.bound**2 or vector.shape != (short.length,):
        raise SubmissionRefused(f"a vector of {vector.size} entries exceeds the norm {short.bound}; clip it")
    seeds, blinds, own = drawn
    other = Expanded(seeds.vector, _ENTRIES, b"\x01").elements(short.shared_length)
    first = short.encode(vector)
    mine = subtract(first, other[: len(first)])
    directions = _parts(_DIRECTIONS_PART, (blinds[0], seeds.blinds[0]), nonce, (mine, other[: len(first)]))
    seed = _joined(_DIRECTIONS_SEED, directions)
    projections = short.project(first[: short.length], Expanded(seed, _DIRECTIONS))
    whole = np.concatenate([first, short.encode_checks(projections)])
    mine = subtract(whole, other)
    rest = _parts(_JOINT_PART, (blinds[1], seeds.blinds[1]), nonce, (mine, other))
    joint = Expanded(_joined(_JOINT_SEED, rest), _JOINT, bytes([proofs])).elements(3 * proofs)
    prover = Expanded(own, _PROVER, bytes([1, proofs]))
    random = prover.elements(short.norm.arity + proofs * short.rest.arity)
    made = [short.norm.prove(random[: short.norm.arity], whole[: short.length])]
    for each in range(proofs):
        wire_seeds = random[short.norm.arity + each * short.rest.arity :][: short.rest.arity]
        inputs = short.products_of(whole, projections, joint[3 * each : 3 * each + 3], 1)
        made.append(short.rest.prove(wire_seeds, inputs))
    proven = np.concatenate(made)
    share = subtract(proven, _proof_share(seeds.proofs, proofs, len(proven)))
    return Parts(directions, rest), Share(mine, share, blinds)


def expand(short: Short, seeds: Seeds, proofs: int = PROOFS) -> Share:
    """Return the second verifier's share."""
    vector = Expanded(seeds.vector, _ENTRIES, b"\x01").elements(short.shared_length)
    return Share(vector, _proof_share(seeds.proofs, proofs, proof_length(short, proofs)), seeds.blinds)


def proof_length(short: Short, proofs: int = PROOFS) -> int:
    """Return the elements of all proofs."""
    return short.norm.proof_length + proofs * short.rest.proof_length


def verifier_length(short: Short, proofs: int = PROOFS) -> int:
    """Return the elements of a verifier's message."""
    return short.norm.verifier_length + proofs * short.rest.verifier_length


def check(
    short: Short, key: bytes, place: int, nonce: bytes, parts: Parts, share: Share, proofs: int = PROOFS
) -> tuple[Said, Joint]:
    """Return what verifier `place`, 0 or 1, says to the other, and which joint randomness that is for.

    `key`: 32 bytes that both verifiers know and no client does before it has sent.

    Raises:
        MessageError: shares of another length, or a secret point that must not be used (below 2^-48).
    """
    if (len(share.vector), len(share.proofs)) != (short.shared_length, proof_length(short, proofs)):
        raise MessageError(f"the share of verifier {place} has another length than the plan's; refuse the vector")
    binder = bytes([place]) + nonce
    directions = derived(share.blinds[0], _DIRECTIONS_PART, binder + encoded(share.vector[: short.first_length]))
    rest = derived(share.blinds[1], _JOINT_PART, binder + encoded(share.vector))
    used = Joint(
        _joined(_DIRECTIONS_SEED, _with(parts.directions, place, directions)),
        _joined(_JOINT_SEED, _with(parts.rest, place, rest)),
    )
    projections = short.project(share.vector[: short.length], Expanded(used.directions, _DIRECTIONS))
    joint = Expanded(used.rest, _JOINT, bytes([proofs])).elements(3 * proofs)
    points = Expanded(key, _QUERY, bytes([1, proofs]) + nonce).elements(1 + proofs)
    norm, others = np.split(share.proofs, [short.norm.proof_length])
    output = short.norm_output(share.vector, short.norm.outputs(norm))
    said = [_one(output), short.norm.at_point(norm, share.vector[: short.length], int(points[0]))]
    for each, proof in enumerate(np.split(others, proofs)):
        random = joint[3 * each : 3 * each + 3]
        output = short.rest_output(share.vector, short.rest.outputs(proof), random, 2)
        inputs = short.products_of(share.vector, projections, random, 2)
        said += [_one(output), short.rest.at_point(proof, inputs, int(points[1 + each]))]
    return Said(np.concatenate(said), directions, rest), used


def accepted(short: Short, said: Sequence[Said], used: Joint, proofs: int = PROOFS) -> bool:
    """Whether the two messages together show a short vector; `used`: the joint randomness of the verifier that asks."""
    if any(len(each.verifier) != verifier_length(short, proofs) for each in said) or len(said) != 2:
        return False
    found = Joint(
        _joined(_DIRECTIONS_SEED, (said[0].directions, said[1].directions)),
        _joined(_JOINT_SEED, (said[0].rest, said[1].rest)),
    )
    if not (hmac.compare_digest(found.directions, used.directions) and hmac.compare_digest(found.rest, used.rest)):
        return False
    norm, rest = np.split(add(said[0].verifier, said[1].verifier), [short.norm.verifier_length])
    return short.norm.accepts(norm) and all(map(short.rest.accepts, np.split(rest, proofs)))


def _proof_share(seed: bytes, proofs: int, length: int) -> Elements:
    return Expanded(seed, _PROOF, bytes([1, proofs, 1])).elements(length)


def _parts(
    use: int, blinds: tuple[bytes, bytes], nonce: bytes, shares: tuple[Elements, Elements]
) -> tuple[bytes, bytes]:
    found = [derived(blinds[k], use, bytes([k]) + nonce + encoded(shares[k])) for k in range(2)]
    return found[0], found[1]


def _with(parts: tuple[bytes, bytes], place: int, own: bytes) -> tuple[bytes, bytes]:
    """The parts with the one that a verifier found itself: what the client says of that does not count."""
    return (own, parts[1]) if place == 0 else (parts[0], own)


def _joined(use: int, parts: tuple[bytes, bytes]) -> bytes:
    return derived(bytes(SEED_BYTES), use, parts[0] + parts[1])


def _one(element: int) -> Elements:
    return np.array([element], dtype=np.uint64)
