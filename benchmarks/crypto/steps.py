"""Single steps of this package, best of several: a client's vector, its key shares, the recovery of a secret."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import CipherContext

from benchmarks.crypto.results import Point
from benchmarks.timing import best
from crypto import (
    ClientSession,
    FixedPoint,
    Identity,
    Plan,
    Roster,
    Upload,
    make_identities,
    plan,
    set_up,
    system_random,
)
from crypto.keys.randomness import KeyedStream
from crypto.keys.tagging import make_tag
from crypto.planning.packing import pack_fields
from crypto.protocols.bfv.tenseal_backend import KeyPair, encrypt, parse_public_key
from crypto.protocols.masks.bits import pack_bits
from crypto.protocols.masks.channels import (
    ChannelKey,
    accept_capsules,
    joined_lattices,
    make_capsules,
    read_capsules,
    read_lattices,
    receivers,
)
from crypto.protocols.masks.keys import AgreementKey
from crypto.protocols.masks.members import Directory, Member, Setup
from crypto.protocols.masks.offers import EpochKeys, make_offer
from crypto.protocols.masks.shamir import lagrange_weights, recover, split
from crypto.protocols.masks.stream import PIECE_BYTES, apply_masks, by_counter, by_gcm, ring_dtype
from crypto.protocols.masks.vault import agreement_key
from crypto.running.rehearsal import rehearse
from crypto.wire.values import pack_value

BOUND = 32767
Floats = npt.NDArray[np.float32]


def client_functions(x: Floats, neighbours: int, bits: int, repeats: int) -> Point:
    """Encode to 16 bits, mask with `neighbours` pairwise streams and the self mask, pack: ns for each parameter."""
    encoder, coins = FixedPoint(scale=float(BOUND), clip=1.0), KeyedStream(system_random(32))
    values = encoder.encode(x, coins).values
    ring = values.astype(ring_dtype(bits))
    keys = [system_random(32) for _ in range(neighbours + 1)]
    half, flat = len(keys) // 2, ring.tobytes()

    def quantise_and_mask() -> None:
        apply_masks(encoder.encode(x, coins).values.astype(ring_dtype(bits)), keys[:half], keys[half:])

    scale = 1e9 / x.size
    return {
        "quantise_and_mask_ns": scale * best(quantise_and_mask, repeats),
        "encode_ns": scale * best(lambda: encoder.encode(x, coins), repeats),
        "masks_ns": scale * best(lambda: apply_masks(ring, keys[:half], keys[half:]), repeats),
        "stream_gcm_ns": scale * best(lambda: _streams(by_gcm, keys, ring.nbytes), repeats),
        "stream_counter_ns": scale * best(lambda: _streams(by_counter, keys, ring.nbytes), repeats),
        "pack_ns": scale * best(lambda: pack_bits(ring, bits), repeats),
        "plain_add_ns": scale * best(lambda: np.add(ring, ring, out=ring), repeats),
        "tag_byte_ns": 1e9 / ring.nbytes * best(lambda: make_tag(keys[0], bytes(12), flat), repeats),
    }


def _streams(make: Callable[[bytes], CipherContext], keys: list[bytes], size: int) -> None:
    """The key streams of the masks, `size` bytes each, and nothing done with them."""
    zeros, room = memoryview(bytes(PIECE_BYTES)), bytearray(PIECE_BYTES)
    for key in keys:
        stream = make(key)
        for start in range(0, size, PIECE_BYTES):
            stream.update_into(zeros[: size - start], room)


def client_session(protocol: str, n: int, x: Floats, repeats: int, bound: int = BOUND, noise_bound: int = 0) -> Point:
    """The whole step of one client, encode to signed message, in a cohort of `n` that is set up in process.

    Entries within `bound`. Best of `repeats` clients, each once. With a `noise_bound` the client also adds a noise
    share, drawn before.
    """
    upload = Upload(name="update", length=x.size, bound=bound, noise_bound=noise_bound)
    loose = plan(protocol, [f"client{i}" for i in range(n)], [upload], rounds=1)
    identities = make_identities((*loose.clients, *loose.roles))
    agreed = loose.pinned(Roster.of(identities.values()))
    parties = rehearse(agreed, identities)
    set_up(parties)
    encoder, coins = FixedPoint(scale=float(bound), clip=1.0), KeyedStream(system_random(32))
    share = np.full(x.size, noise_bound // n, dtype=np.int64) if noise_bound else None
    sizes: list[int] = []

    def send(client: ClientSession) -> None:
        messages = client.submit(0, "update", encoder.encode(x, coins).values, share)
        sizes.append(sum(len(message.payload) for message in messages))

    clients = [party for party in parties.values() if isinstance(party, ClientSession)][:repeats]
    times = [best(lambda client=client: send(client), 1) for client in clients]  # type: ignore[misc]
    near = 0 if agreed.masks is None else agreed.masks.neighbours
    place = agreed.packing("update").fields if protocol == "bfv" else agreed.ring_bits("update")
    spent = 1e9 * min(times) / x.size
    return {"client_ns": spent, "wire_bytes": sizes[0] / x.size, "bits_or_fields": place, "neighbours": near}


def encrypt_only(x: Floats, repeats: int) -> Point:
    """BFV without encoding, pads and signature: pack and encrypt to bytes, as the peer's figure is."""
    agreed = plan("bfv", ["a", "b"], [Upload(name="update", length=x.size, bound=BOUND)], rounds=1)
    pair = KeyPair()
    public = parse_public_key(pair.public_bytes())
    values = FixedPoint(scale=float(BOUND), clip=1.0).encode(x, KeyedStream(system_random(32))).values

    def send() -> list[bytes]:
        return [encrypt(public, row) for row in pack_fields(values, agreed.packing("update"))]

    spent = best(send, repeats)
    return {"encrypt_ns": 1e9 * spent / x.size, "wire_bytes": sum(map(len, send())) / x.size}


def key_steps(n: int, threshold: int, repeats: int) -> Point:
    """One client's shares for `n` - 1 neighbours, and the server's recovery of a secret from `threshold` shares.

    `channels_s` is paid once a session (ML-KEM and X25519 with every neighbour, from two clients' sides; of it, X25519
    and HKDF alone: `agree_s`), and so are `channels_bytes` sent and `channels_got` received. `share_s` and
    `offer_bytes` are for every sum.
    """
    corrupt = 2 * (threshold - 1) - n
    agreed = plan(
        "secagg",
        [f"client{i}" for i in range(n)],
        [Upload(name="update", length=1, bound=1)],
        rounds=1,
        corrupt=corrupt,
    )
    setup, identities, keys = _complete_setup(agreed)
    peers, curve = [peer for peer in range(n) if peer], AgreementKey(system_random(32))
    made = [
        make_capsules(agreed, setup, identity, key, [keys[peer].lattice for peer in receivers(setup, place)])
        for place, (identity, key) in enumerate(zip(identities, keys, strict=True))
    ]
    handed = [read_capsules(agreed, setup, place, capsules) for place, (capsules, _) in enumerate(made)]
    mine = pack_value([each[0] for each in handed if 0 in each])
    lattices = joined_lattices(setup, 0, {place: key.lattice for place, key in enumerate(keys)})

    def join() -> dict[int, bytes]:
        begun = make_capsules(agreed, setup, identities[0], keys[0], read_lattices(lattices))[1]
        return begun | accept_capsules(agreed, setup, setup.trust, 0, keys[0], mine)

    def offer() -> bytes:
        secrets = EpochKeys(0, system_random)
        return make_offer(agreed, setup, identities[0], secrets, channels, threshold, system_random)

    channels = join()
    points = list(range(1, threshold + 1))
    shares = split(system_random(32), threshold, points, system_random)
    weights = lagrange_weights(points)
    return {
        "threshold": threshold,
        "share_s": best(offer, repeats),
        "channels_s": best(join, repeats),
        "agree_s": best(lambda: [curve.agree(setup.sealings[peer][:32], (0, peer)) for peer in peers], repeats),
        "channels_bytes": len(made[0][0]) + len(keys[0].lattice),
        "channels_got": len(lattices) + len(mine),
        "offer_bytes": len(offer()),
        "recover_s": best(lambda: agreement_key(recover(lagrange_weights(points), shares) or b""), repeats),
        "recover_again_s": best(lambda: agreement_key(recover(weights, shares) or b""), repeats),
    }


def _complete_setup(agreed: Plan) -> tuple[Setup, list[Identity], list[ChannelKey]]:
    """A set-up of all clients, their identities and their channel keys."""
    identities = [Identity.new(name) for name in agreed.clients]
    channels = [ChannelKey(system_random) for _ in identities]
    members = tuple(
        Member(index, identity.name, identity.public, channel.public, b"")
        for index, (identity, channel) in enumerate(zip(identities, channels, strict=True))
    )
    directory = Directory(0, members, bytes(32))
    everyone = range(len(members))
    neighbours = {index: tuple(peer for peer in everyone if peer != index) for index in everyone}
    sealings = {index: channel.public for index, channel in enumerate(channels)}
    return Setup(directory, bytes(32), dict(enumerate(members)), neighbours, sealings), identities, channels
