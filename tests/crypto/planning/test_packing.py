import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.planning.packing import PLAIN_MODULUS, RING_DEGREE, choose_packing, pack_fields, unpack_fields


@given(st.integers(1, 20_000), st.integers(0, 2**43 - 2**14), st.integers(0, 2**32), st.integers(1, 6))
def test_packed_sums_are_sums_packed(length: int, bound: int, seed: int, parties: int) -> None:
    packing = choose_packing(length, bound)
    assert packing is not None
    share = bound // parties
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-share, share, size=(parties, length), endpoint=True)
    vectors[:, 0], vectors[:, -1] = share, -share
    slots = sum(pack_fields(vector, packing) for vector in vectors)
    assert isinstance(slots, np.ndarray)
    assert slots.shape == (packing.chunks, RING_DEGREE)
    total, padding = unpack_fields(slots % PLAIN_MODULUS, packing)
    assert np.array_equal(total, vectors.sum(axis=0))
    assert not padding.any()


@given(st.integers(1, 2**43))
def test_the_worst_slot_stays_below_half_the_modulus_and_one_more_field_would_not(bound: int) -> None:
    packing = choose_packing(1, bound)
    if packing is None:
        assert 2 * bound >= PLAIN_MODULUS
        return
    worst = sum(bound << (packing.width * i) for i in range(packing.fields))
    assert 2 * worst < PLAIN_MODULUS
    assert 2 * (worst + (bound << (packing.width * packing.fields))) >= PLAIN_MODULUS
    assert 1 << packing.width >= 2 * bound + 1 > 1 << (packing.width - 1)


@pytest.mark.parametrize(
    ("bound", "fields", "width"),
    [
        (2**21 - 1, 2, 22),
        (2**21, 1, 23),
        (30 * 2**16, 2, 22),
        (1, 22, 2),
        (2**13 - 1, 3, 14),
        (2**43, None, None),
    ],
)
def test_known_packings(bound: int, fields: int | None, width: int | None) -> None:
    packing = choose_packing(100, bound)
    got = (None, None) if packing is None else (packing.fields, packing.width)
    assert got == (fields, width)


def test_centred_representatives_unpack_alike() -> None:
    packing = choose_packing(RING_DEGREE * 2, 1000)
    assert packing is not None
    x = np.arange(RING_DEGREE * 2) % 2001 - 1000
    slots = pack_fields(x, packing)
    centred = np.where(slots > PLAIN_MODULUS // 2, slots - PLAIN_MODULUS, slots)
    assert np.array_equal(unpack_fields(centred, packing)[0], x)


def test_overflow_reaches_the_padding() -> None:
    packing = choose_packing(10, 3)
    assert packing is not None
    slots = pack_fields(np.full(10, 3), packing)
    slots[0, 5000 % RING_DEGREE] = 12345
    assert unpack_fields(slots, packing)[1].any()
