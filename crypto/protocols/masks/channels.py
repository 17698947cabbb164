"""Channels: once a session, every two neighbours agree on a key by X25519 and ML-KEM-768 together.

Both keys of a client are committed to in its hello and opened with its nonce (`crypto.protocols.masks.members`): the
X25519 key as it is, the ML-KEM key as its hash, as only neighbours need its 1,184 bytes. One end of each pair makes a
capsule for the other's ML-KEM key; it signs all its capsules at once, so that each receiver can tell its own from one
that the server made up. The channel's key is derived from both secrets and from all that both saw. The X25519 secret is
that of the two committed keys: it tells each end that the other one is there, which a capsule alone does not.

From that key come a pair's boxes of shares and, for each epoch, the pair's second secret (`crypto.protocols.masks
.vault`). Who holds a client's memory during a session, and has broken X25519, reads that client's earlier masks too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from crypto.keys.exchange import CAPSULE_BYTES, MLKEM_SEED_BYTES, PUBLIC_BYTES, encapsulated
from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.masks import listing
from crypto.protocols.masks.errors import FaultError, RecordError
from crypto.protocols.masks.keys import AgreementKey, Labels, digest
from crypto.protocols.masks.members import Setup
from crypto.protocols.masks.records import read_record, unpack, write_record
from crypto.wire.values import pack_value

LATTICE_BYTES = PUBLIC_BYTES - KEY_BYTES
SEALED_BYTES = CAPSULE_BYTES - KEY_BYTES


def lattice_usable(lattice: bytes) -> bool:
    """Whether the bytes are an ML-KEM-768 key (FIPS 203, section 7.2)."""
    try:
        MLKEM768PublicKey.from_public_bytes(lattice)
    except ValueError:
        return False
    return True


@holds_secrets
class ChannelKey:
    """One client's private keys for its channels: `public` is its X25519 key and the hash of `lattice`, 64 bytes."""

    def __init__(self, random: RandomBytes) -> None:
        """Make both from 96 random bytes; capsules are made with `random` too (`crypto.keys.exchange.encapsulated`)."""
        self._random = random
        self._curve = AgreementKey(random(KEY_BYTES))
        self._lattice: MLKEM768PrivateKey | None = MLKEM768PrivateKey.from_seed_bytes(random(MLKEM_SEED_BYTES))
        self.lattice = self._lattice.public_key().public_bytes_raw()
        self.public = self._curve.public + hashlib.sha256(self.lattice).digest()

    def begin(self, peer: bytes, lattice: bytes, context: Labels) -> tuple[bytes, bytes]:
        """Return a capsule (1,088 bytes) for the holder of `peer` and `lattice`,
        and the key of the channel.

        Raises:
            RecordError: `lattice` is not the key that `peer` names, or one of the two is not usable.
        """
        if hashlib.sha256(lattice).digest() != peer[KEY_BYTES:] or not lattice_usable(lattice):
            raise RecordError("an ML-KEM key is not the one that was opened, or not usable")
        secret, capsule = encapsulated(lattice, self._random)
        return capsule, self._derived(secret, peer, (*context, self.public, peer, capsule))

    def accept(self, peer: bytes, capsule: bytes, context: Labels) -> bytes:
        """Return the key of the channel that the holder of `peer` began; another one if the capsule is not its.

        Raises:
            RecordError: the capsule has another size, the peer's X25519 key is not usable, or after `erase`.
        """
        if self._lattice is None or len(capsule) != SEALED_BYTES:
            raise RecordError(f"a capsule of {len(capsule)} bytes, or one after the set-up")
        secret = self._lattice.decapsulate(capsule)
        return self._derived(secret, peer, (*context, peer, self.public, capsule))

    def erase(self) -> None:
        """Forget both keys."""
        self._curve.erase()
        self._lattice = None

    def _derived(self, secret: bytes, peer: bytes, labels: Labels) -> bytes:
        return self._curve.agree(peer[:KEY_BYTES], ("masks channel 2", *labels), secret)


def begins(index: int, peer: int) -> bool:
    """Whether `index` makes the capsule of the pair: half of a client's neighbours do."""
    return (index < peer) == ((index + peer) % 2 == 0)


def receivers(setup: Setup, index: int) -> tuple[int, ...]:
    """The neighbours for whom this member makes capsules, sorted."""
    return tuple(peer for peer in setup.neighbours[index] if begins(index, peer))


def make_capsules(
    plan: Plan, setup: Setup, identity: Identity, key: ChannelKey, lattices: Sequence[bytes]
) -> tuple[bytes, dict[int, bytes]]:
    """Return this client's signed capsules, and the keys of the channels that it began; `lattices` of its receivers.

    Raises:
        RecordError: the lattices are not those of all receivers, in order.
    """
    me = plan.clients.index(identity.name)
    others = receivers(setup, me)
    if len(lattices) != len(others):
        raise RecordError(f"{len(lattices)} ML-KEM keys are not those of {len(others)} neighbours")
    capsules, channels = [], {}
    for peer, lattice in zip(others, lattices, strict=True):
        capsule, channels[peer] = key.begin(setup.sealings[peer], lattice, _context(plan, setup, me, peer))
        capsules.append(capsule)
    signed = listing.heads(_leaves(plan, setup, me, capsules))
    record = write_record(identity, plan.session, "capsules", pack_value([setup.digest, signed]))
    return pack_value([record, b"".join(capsules)]), channels


def read_capsules(plan: Plan, setup: Setup, index: int, payload: bytes) -> dict[int, bytes]:
    """The server's check of what `make_capsules` wrote: what to hand to each receiver.

    Raises:
        RecordError: it is not signed by the member.
        FaultError: it is malformed.
    """
    name, others = plan.clients[index], receivers(setup, index)
    match unpack(payload):
        case [bytes(record), bytes(joined)] if len(joined) == SEALED_BYTES * len(others):
            signed = _read_heads(plan, setup, name, record)
        case _:
            raise FaultError(f"the capsules of {name!r} are malformed, or not one for each receiver")
    capsules = [joined[start : start + SEALED_BYTES] for start in range(0, len(joined), SEALED_BYTES)]
    leaves = _leaves(plan, setup, index, capsules)
    if listing.heads(leaves) != signed:
        raise FaultError(f"the capsules of {name!r} are not those it signed")
    handed = {}
    for place, (peer, capsule) in enumerate(zip(others, capsules, strict=True)):
        handed[peer] = pack_value([index, record, listing.part(leaves, place), capsule])
    return handed


def accept_capsules(
    plan: Plan, setup: Setup, trust: Trust, me: int, key: ChannelKey, payload: bytes
) -> dict[int, bytes]:
    """The receiver's side: the keys of the channels that others began.

    Raises:
        RecordError: something in it is not what a neighbour signed for this client in this set-up.
    """
    channels: dict[int, bytes] = {}
    entries = unpack(payload)
    for entry in entries if isinstance(entries, list) else (None,):
        match unpack(entry) if isinstance(entry, bytes) else None:
            case [int(sender), bytes(record), bytes(shown), bytes(capsule)] if sender not in channels:
                pass
            case _:
                raise RecordError("a capsule is malformed or there twice")
        if sender not in setup.neighbours[me] or not begins(sender, me):
            raise RecordError("a capsule of a member that makes none for this client")
        signed = _read_heads(plan, setup, plan.clients[sender], record, trust)
        place = receivers(setup, sender).index(me)
        if listing.entry(signed, shown, place) != _leaf(plan, setup, sender, me, capsule):
            raise RecordError(f"a capsule of {plan.clients[sender]!r} is not the one that it signed")
        channels[sender] = key.accept(setup.sealings[sender], capsule, _context(plan, setup, sender, me))
    return channels


def joined_lattices(setup: Setup, index: int, lattices: Mapping[int, bytes]) -> bytes:
    """The server's message to a member before it makes capsules: its receivers' ML-KEM keys."""
    return pack_value([lattices[peer] for peer in receivers(setup, index)])


def read_lattices(payload: bytes) -> list[bytes]:
    """Read `joined_lattices`.

    Raises:
        RecordError: it is malformed.
    """
    match unpack(payload):
        case list(keys):
            found = [key for key in keys if isinstance(key, bytes)]
            if len(found) == len(keys):
                return found
    raise RecordError("a list of ML-KEM keys is malformed")


def _read_heads(plan: Plan, setup: Setup, name: str, record: bytes, trust: Trust | None = None) -> bytes:
    match unpack(read_record(trust or setup.trust, plan.session, "capsules", name, record)):
        case [bytes(label), bytes(signed)] if label == setup.digest:
            return signed
    raise FaultError(f"the capsules of {name!r} are malformed, or of another set-up")


def _leaf(plan: Plan, setup: Setup, sender: int, receiver: int, capsule: bytes) -> bytes:
    return digest(("masks capsule 1", plan.session, setup.digest, sender, receiver, capsule))


def _leaves(plan: Plan, setup: Setup, sender: int, capsules: Sequence[bytes]) -> bytes:
    pairs = zip(receivers(setup, sender), capsules, strict=True)
    return b"".join(_leaf(plan, setup, sender, receiver, capsule) for receiver, capsule in pairs)


def _context(plan: Plan, setup: Setup, sender: int, receiver: int) -> Labels:
    return (plan.session, setup.digest, sender, receiver)
