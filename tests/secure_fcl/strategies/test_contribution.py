import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Part, UploadSpec

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4)


def declared(shapes: list[list[int]], bound: float = 2.0) -> UploadSpec:
    parts = tuple(Part(f"part{i}", tuple(shape), bound + i) for i, shape in enumerate(shapes))
    return UploadSpec(
        name="upload", parts=parts, scale=100.0, sensitivity_l2=None, sensitivity_entries=None, unit="none"
    )


def drawn(spec: UploadSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {part.name: rng.normal(scale=3, size=part.shape) for part in spec.parts}


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_split_inverts_flatten(shapes: list[list[int]], seed: int) -> None:
    spec = declared(shapes)
    arrays = drawn(spec, seed)
    flat = spec.flatten(arrays)
    assert flat.shape == (spec.length,)
    for name, array in spec.split(flat).items():
        np.testing.assert_array_equal(array, arrays[name])


@given(SHAPES, st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
def test_the_split_of_a_sum_is_the_sum_of_the_parts(shapes: list[list[int]], seeds: list[int]) -> None:
    spec = declared(shapes)
    clients = [drawn(spec, seed) for seed in seeds]
    total = spec.split(np.sum([spec.flatten(c) for c in clients], axis=0))
    for part in spec.parts:
        np.testing.assert_allclose(total[part.name], np.sum([c[part.name] for c in clients], axis=0), atol=1e-12)


def test_the_order_of_the_mapping_does_not_matter() -> None:
    spec = declared([[2], [3]])
    arrays = drawn(spec, 0)
    np.testing.assert_array_equal(spec.flatten(arrays), spec.flatten(dict(reversed(arrays.items()))))


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_clipping_holds_each_part_to_its_own_bound(shapes: list[list[int]], seed: int) -> None:
    spec = declared(shapes)
    vector = spec.flatten(drawn(spec, seed))
    clipped, beyond = spec.clip(vector)
    assert beyond == int((clipped != vector).sum())
    for part in spec.parts:
        assert (np.abs(spec.split(clipped)[part.name]) <= part.bound).all()
    np.testing.assert_array_equal(spec.clip(clipped)[0], clipped)
    inside = np.abs(vector) <= spec.parts[0].bound
    np.testing.assert_array_equal(clipped[inside], vector[inside])
    assert spec.largest_bound == spec.parts[-1].bound


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"part0": np.zeros(2)}, "declares"),
        ({"part0": np.zeros(2), "part1": np.zeros(3), "extra": np.zeros(1)}, "extra"),
        ({"part0": np.zeros(3), "part1": np.zeros(3)}, r"part 'part0' has shape \(3,\), declared \(2,\)"),
        ({"part0": np.zeros((2, 1)), "part1": np.zeros(3)}, "declared"),
    ],
)
def test_what_is_not_as_declared_is_refused(arrays: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(ConfigInvalid, match=named):
        declared([[2], [3]]).flatten(arrays)
