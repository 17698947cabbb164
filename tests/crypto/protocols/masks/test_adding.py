"""Sums of packed vectors: every way of adding gives the same numbers, with and without numba, on any threads."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.protocols.masks import fused, stream
from crypto.protocols.masks.adding import AddedAside, FusedSum, PlaneSum, vector_sum
from crypto.protocols.masks.bits import pack_bits
from crypto.protocols.masks.stream import accelerator, apply_masks, ring_dtype, ring_of

SIGNED = st.integers(-(2**63), 2**63 - 1)
LENGTHS = st.sampled_from([1, 7, 8, 9, 64, 1003, (1 << 16) + 24])


def vectors_of(bits: int, size: int, count: int, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    drawn = (
        [rng.integers(0, 1 << bits, size, dtype=np.uint64, endpoint=False) for _ in range(count)] if bits < 64 else []
    )
    drawn = drawn or [rng.integers(0, (1 << 64) - 1, size, dtype=np.uint64, endpoint=True) for _ in range(count)]
    # Carries leave every lane soonest where all bits are set.
    drawn[0][:] = (1 << bits) - 1
    return [vector.astype(ring_dtype(bits)) for vector in drawn]


def summed(total: Any, packed: list[bytes], bits: int) -> list[int]:
    for one in packed:
        total.add(one)
    return [int(entry) % (1 << bits) for entry in total.take()]


@settings(deadline=None, max_examples=60)
@given(bits=st.integers(1, 64), size=LENGTHS, count=st.sampled_from([1, 2, 3, 40]), seed=st.integers(0, 2**32))
def test_every_sum_is_the_sum(bits: int, size: int, count: int, seed: int) -> None:
    count = min(count, 3) if size > 2000 else count
    vectors = vectors_of(bits, size, count, seed)
    packed = [bytes(pack_bits(vector, bits)) for vector in vectors]
    expected = [int(entry) % (1 << bits) for entry in np.sum([v.astype(object) for v in vectors], axis=0)]
    assert summed(PlaneSum(size, bits), packed, bits) == expected
    assert summed(AddedAside(PlaneSum(size, bits), size, bits), packed, bits) == expected
    assert summed(vector_sum(size, bits), packed, bits) == expected
    if size < 100 or accelerator() is not None:
        # Python's own loops where numba is missing, which do not wrap in silence.
        with np.errstate(over="ignore"):
            assert summed(FusedSum(size, bits, fused.add_planes), packed, bits) == expected


def test_a_thousand_vectors_of_all_ones() -> None:
    for bits in (9, 10, 15, 23, 24, 26, 33, 40):
        packed = bytes(pack_bits(np.full(16, (1 << bits) - 1, dtype=ring_dtype(bits)), bits))
        assert summed(PlaneSum(16, bits), [packed] * 1000, bits) == [-1000 % (1 << bits)] * 16


@given(bits=st.integers(1, 64), pair=st.lists(st.tuples(SIGNED, SIGNED), min_size=1, max_size=40))
def test_parts_are_added_in_the_ring(bits: int, pair: list[tuple[int, int]]) -> None:
    vector, noise = (np.array(part, dtype=np.int64) for part in zip(*pair, strict=True))
    ring = ring_of((vector, noise), bits)
    assert ring.dtype == ring_dtype(bits)
    assert [int(entry) % (1 << bits) for entry in ring] == [(a + b) % (1 << bits) for a, b in pair]
    assert (vector.tolist(), noise.tolist()) == tuple(map(list, zip(*pair, strict=True)))


def test_parts_are_added_without_a_sum_of_them() -> None:
    parts = [np.ones(1 << 20, dtype=np.int64)] * 2
    tracemalloc.start()
    ring = ring_of(parts, 24)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * ring.nbytes


@pytest.mark.parametrize("bits", [9, 15, 16, 17, 23, 24, 26, 31, 32, 33, 48])
def test_a_sum_takes_at_most_two_vectors_of_memory(bits: int) -> None:
    size = 1 << 20
    packed = bytes(pack_bits(np.zeros(size, dtype=ring_dtype(bits)), bits))
    tracemalloc.start()
    total = PlaneSum(size, bits)
    total.add(packed)
    total.take()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The scratch is of a fixed size.
    assert peak <= 2 * size * ring_dtype(bits).itemsize + (1 << 21)


@settings(deadline=None, max_examples=25)
@given(
    adds=st.integers(0, 20),
    takes=st.integers(0, 20),
    threads=st.integers(1, 3),
    bits=st.sampled_from([9, 26, 40]),
    size=st.sampled_from([0, 5, 40_001]),
)
def test_masks_are_the_same_on_any_threads_and_compiled(
    adds: int, takes: int, threads: int, bits: int, size: int
) -> None:
    keys = [bytes([place]) * 32 for place in range(40)]
    one, other = np.zeros((2, size), dtype=ring_dtype(bits))
    for key in keys[:adds]:
        apply_masks(one, [key], [])
    for key in keys[20 : 20 + takes]:
        apply_masks(one, [], [key])
    with pytest.MonkeyPatch.context() as patch:
        # Small vectors too, in groups of few keys, so that threads and compiled loops have something to do.
        patch.setattr(stream, "_WORTH_COMPILING", 0)
        patch.setattr(stream, "_MOST_STREAMS", 9)
        apply_masks(other, keys[:adds], keys[20 : 20 + takes], threads)
    assert np.array_equal(one, other)


def test_the_compiled_additions_of_streams() -> None:
    streams = [np.full(9, (1 << 32) - 1 - place, dtype=np.uint32) for place in range(fused.AT_ONCE)]
    total = np.arange(7, dtype=np.uint32)
    with np.errstate(over="ignore"):
        fused.add_all(total, *streams)
        assert total.tolist() == [(start - sum(range(1, 9))) % (1 << 32) for start in range(7)]
        fused.subtract_all(total, *streams)
    assert total.tolist() == list(range(7))
