"""Shamir, masks, bit packing and keys against published vectors, and their laws."""

import hashlib
import hmac

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import MessageError, RandomnessError
from crypto.keys.randomness import KeyedStream, encode_labels, system_random
from crypto.protocols.masks.adding import unpack_bits, vector_sum
from crypto.protocols.masks.bits import pack_bits, packed_bytes
from crypto.protocols.masks.errors import RecordError, ShareError
from crypto.protocols.masks.keys import BOX_OVERHEAD, AgreementKey, digest, hkdf, open_box, seal
from crypto.protocols.masks.recovery import signed_total
from crypto.protocols.masks.shamir import PRIME, SHARE_BYTES, combine, evaluate, lagrange_weights, recover, split
from crypto.protocols.masks.stream import PIECE_BYTES, apply_masks, by_counter, by_gcm, ring_dtype

STREAM = KeyedStream(bytes(range(32)))


# Wikipedia, "Shamir's secret sharing": 1234 + 166 x + 94 x^2, over the integers and modulo 1613.
PUBLISHED = [(1, 1494), (2, 1942), (3, 2578), (4, 3402), (5, 4414), (6, 5614)]
PUBLISHED_MODULO = [(1, 1494), (2, 329), (3, 965), (4, 176), (5, 1188), (6, 775)]


@pytest.mark.parametrize(("prime", "shares"), [(PRIME, PUBLISHED), (1613, PUBLISHED_MODULO)])
def test_published_shares(prime: int, shares: list[tuple[int, int]]) -> None:
    points = [x for x, _ in shares]
    assert evaluate([1234, 166, 94], points, prime) == [y for _, y in shares]
    for chosen in ([0, 1, 2], [5, 1, 3], [0, 1, 2, 3, 4, 5]):
        weights = lagrange_weights([points[i] for i in chosen], prime)
        assert combine(weights, [shares[i][1] for i in chosen], prime) == 1234


def test_two_published_shares_fit_every_secret() -> None:
    """Two of three shares modulo 1613: each secret is possible, by exactly one third share."""
    weights = lagrange_weights([1, 2, 3], 1613)
    assert len({combine(weights, [1494, 329, third], 1613) for third in range(1613)}) == 1613


def test_the_field_is_a_prime_field() -> None:
    for base in range(2, 60):
        assert pow(base, PRIME - 1, PRIME) == 1
    # Pocklington needs factors of p - 1; two of them are enough for a strong-pseudoprime test of our own.
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 60):
        powers = [pow(base, odd << i, PRIME) for i in range(twos)]
        assert powers[0] == 1 or PRIME - 1 in powers


@given(secret=st.binary(min_size=32, max_size=32), n=st.integers(1, 24), data=st.data())
def test_any_threshold_many_shares_recover(secret: bytes, n: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, n))
    points = data.draw(st.lists(st.integers(1, 5000), min_size=n, max_size=n, unique=True))
    shares = dict(zip(points, split(secret, threshold, points, system_random), strict=True))
    chosen = data.draw(st.permutations(points))[:threshold]
    assert recover(lagrange_weights(chosen), [shares[x] for x in chosen]) == secret
    assert {len(share) for share in shares.values()} == {SHARE_BYTES}


def test_one_share_too_few_or_a_changed_one_does_not_recover() -> None:
    secret = STREAM(32)
    points = list(range(1, 8))
    shares = split(secret, 5, points, STREAM)
    assert recover(lagrange_weights(points[:4]), shares[:4]) != secret
    changed = [shares[0][:-2] + bytes((shares[0][-2] ^ 1, shares[0][-1])), *shares[1:5]]
    assert recover(lagrange_weights(points[:5]), changed) != secret


def test_one_set_of_weights_serves_many_secrets() -> None:
    secrets = [STREAM(32) for _ in range(20)]
    points = [3, 7, 9, 12]
    weights = lagrange_weights(points)
    assert [recover(weights, split(secret, 4, points, STREAM)) for secret in secrets] == secrets


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [(31, 1, [1]), (33, 1, [1]), (32, 0, [1]), (32, 3, [1, 2]), (32, 1, []), (32, 2, [1, 1]), (32, 2, [0, 1])],
)
def test_bad_sharings_are_refused(secret: int, threshold: int, points: list[int]) -> None:
    with pytest.raises(ShareError):
        split(bytes(secret), threshold, points, STREAM)


# Masks


def test_the_stream_is_the_published_one() -> None:
    """McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", 2005, appendix B, test case 14."""
    vector = np.zeros(4, dtype=np.uint32)
    apply_masks(vector, [bytes(32)], [])
    assert vector.astype("<u4").tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@given(key=st.binary(min_size=32, max_size=32), size=st.integers(0, 5000))
def test_both_ways_to_draw_a_stream_give_the_same_bytes(key: bytes, size: int) -> None:
    drawn = [make(key).update(bytes(size)) for make in (by_gcm, by_counter)]
    assert drawn[0] == drawn[1]


@given(
    size=st.sampled_from([0, 1, 7, PIECE_BYTES // 4, PIECE_BYTES // 4 + 1, 3 * PIECE_BYTES // 4 + 5]),
    dtype=st.sampled_from([np.uint16, np.uint32, np.uint64]),
    keys=st.integers(0, 70),
)
@settings(deadline=None)
def test_masks_cancel(size: int, dtype: type, keys: int) -> None:
    vector = np.arange(size).astype(dtype)
    masked = vector.copy()
    names = [STREAM(32) for _ in range(keys)]
    apply_masks(masked, names[::2], names[1::2])
    if keys and size > 8:
        assert np.count_nonzero(masked == vector) < size // 2
    apply_masks(masked, names[1::2], names[::2])
    assert np.array_equal(masked, vector)


def test_a_mask_does_not_depend_on_the_pieces() -> None:
    key = STREAM(32)
    whole, part = np.zeros(PIECE_BYTES, np.uint32), np.zeros(100, np.uint32)
    apply_masks(whole, [key], [])
    apply_masks(part, [key], [])
    assert np.array_equal(whole[:100], part)
    assert len(np.unique(whole)) > 0.99 * whole.size
    with pytest.raises(RandomnessError):
        apply_masks(part, [key[:31]], [])


@pytest.mark.parametrize(("bits", "dtype"), [(1, "u2"), (16, "u2"), (17, "u4"), (32, "u4"), (33, "u8"), (64, "u8")])
def test_rings(bits: int, dtype: str) -> None:
    assert ring_dtype(bits) == np.dtype(dtype)


# Bits


@given(bits=st.integers(1, 64), size=st.sampled_from([0, 1, 2, 63, 64, 65, 1000, 20_001]))
def test_packing_takes_exactly_its_bits_and_comes_back(bits: int, size: int) -> None:
    vector = np.frombuffer(STREAM(8 * size), dtype=np.uint64).astype(ring_dtype(bits))
    data = pack_bits(vector, bits)
    assert len(data) == packed_bytes(size, bits) == -(-size * bits // 8)
    low = vector & np.array((1 << bits) - 1, dtype=np.uint64).astype(vector.dtype)
    back = unpack_bits(data, size, bits)
    assert back.dtype == ring_dtype(bits)
    assert np.array_equal(back, low)


def test_the_planes_of_a_known_packing() -> None:
    """Eight entries of 11 bits: low bytes, then two bits of four entries a byte, then one bit of eight; one more."""
    vector = np.array([0x7AB, 0, 0x100, 0x200, 0x401, 0, 0, 0x4FF, 0x123], dtype=np.uint16)
    planes = bytes([0xAB, 0, 0, 0, 0x01, 0, 0, 0xFF])
    assert pack_bits(vector, 11)[:8] == planes
    # Slabs of two bytes: entry i shares byte i % 2 with entries i + 2, i + 4, i + 6.
    pairs = [3, 0, 1, 2, 0, 0, 0, 0]
    assert pack_bits(vector, 11)[8:10] == bytes(sum(pairs[i + 2 * row] << 2 * row for row in range(4)) for i in (0, 1))
    assert pack_bits(vector, 11)[10:] == bytes([0b1001_0001]) + (0x123).to_bytes(2, "little")


def test_a_malformed_packing_adds_nothing() -> None:
    vector = np.arange(9, dtype=np.uint16)
    for threads in (1, 2):
        total = vector_sum(9, 11, threads)
        total.add(pack_bits(vector, 11))
        with pytest.raises(MessageError):
            total.add(bytes(12) + b"\xff")
        assert np.array_equal(total.take(), vector)


def test_three_bytes_a_parameter() -> None:
    assert len(pack_bits(np.zeros(1_000_000, np.uint32), 24)) == 3_000_000


@pytest.mark.parametrize("data", [b"", bytes(3), bytes(5), b"\x00\x00\x00\xf0"])
def test_malformed_packings(data: bytes) -> None:
    with pytest.raises(MessageError):
        unpack_bits(data, 4, 7)


@given(bits=st.integers(2, 64), data=st.data())
def test_signed_totals(bits: int, data: st.DataObject) -> None:
    half = 1 << (bits - 1)
    values = data.draw(st.lists(st.integers(-half, half - 1), max_size=20))
    ring = np.array([value % (1 << bits) for value in values], dtype=np.uint64).astype(ring_dtype(bits))
    assert signed_total(ring, bits).tolist() == values


# Keys


def test_agreement_is_x25519_and_hkdf() -> None:
    """RFC 7748, section 5.2, first vector."""
    key = AgreementKey(bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"))
    peer = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    shared = bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    assert key.agree(peer, ("a", 1)) == hkdf(shared, ("a", 1))


def test_hkdf_is_rfc_5869_with_our_labels() -> None:
    labels = ("purpose", 7, b"bytes")
    prk = hmac.new(bytes(32), b"s" * 32, hashlib.sha256).digest()
    assert hkdf(b"s" * 32, labels) == hmac.new(prk, encode_labels(labels) + b"\x01", hashlib.sha256).digest()
    assert digest(labels) == hashlib.sha256(encode_labels(labels)).digest()


def test_both_sides_agree_and_labels_separate() -> None:
    one, two = AgreementKey(STREAM(32)), AgreementKey(STREAM(32))
    assert one.agree(two.public, ("a", 1)) == two.agree(one.public, ("a", 1))
    seen = {one.agree(two.public, labels) for labels in (("a", 1), ("a", 2), ("a1",), ("b", 1), ("a", "1"))}
    assert len(seen) == 5


@pytest.mark.parametrize("peer", [b"", bytes(31), bytes(32), (1).to_bytes(32, "little")])
def test_useless_public_keys_are_refused(peer: bytes) -> None:
    with pytest.raises(RecordError):
        AgreementKey(STREAM(32)).agree(peer, ("a",))


def test_an_erased_key_is_gone() -> None:
    key = AgreementKey(STREAM(32))
    peer = AgreementKey(STREAM(32)).public
    key.agree(peer, ("a",))
    key.erase()
    assert key._key is None
    with pytest.raises(RecordError, match="erased"):
        key.agree(peer, ("a",))
    assert "secrets not shown" in repr(key)


def test_boxes_open_whole_in_their_context_only() -> None:
    key, other = STREAM(32), STREAM(32)
    box = seal(key, b"share", ("from", 1, "to", 2), STREAM)
    assert len(box) == 5 + BOX_OVERHEAD
    assert open_box(key, box, ("from", 1, "to", 2)) == b"share"
    bad = [(other, box, ("from", 1, "to", 2)), (key, box, ("from", 2, "to", 1)), (key, b"", ("from", 1, "to", 2))]
    bad += [(key, box[:i] + bytes((box[i] ^ 1,)) + box[i + 1 :], ("from", 1, "to", 2)) for i in range(len(box))]
    for wrong_key, wrong_box, context in bad:
        with pytest.raises(RecordError):
            open_box(wrong_key, wrong_box, context)
