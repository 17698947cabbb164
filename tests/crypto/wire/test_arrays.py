import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crypto.errors import MessageError
from crypto.wire.messages import pack, unpack
from crypto.wire.values import pack_value

dtypes = st.sampled_from(["bool", "int8", "int64", "uint16", "uint64", "float16", "float32", "float64"])
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
metas = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(metas, hnp.arrays(dtypes, shapes))
def test_values_and_arrays_survive(meta: dict[str, object], array: npt.NDArray[np.generic]) -> None:
    got_meta, got = unpack(pack(meta, {"x": array, "": array.T}))
    assert got_meta == meta
    assert list(got) == ["x", ""]
    for sent, came in ((array, got["x"]), (array.T, got[""])):
        assert came.shape == sent.shape
        assert came.dtype == sent.dtype
        assert came.tobytes() == sent.tobytes()


def test_big_endian_arrays_arrive_with_the_same_values() -> None:
    _, got = unpack(pack({}, {"x": np.array([1, -2], dtype=">i4")}))
    assert got["x"].tolist() == [1, -2]


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(["a"]), np.zeros(2, complex), np.zeros(1, "M8[s]")])
def test_other_dtypes_are_refused(bad: npt.NDArray[np.generic]) -> None:
    with pytest.raises(MessageError, match="dtype"):
        pack({}, {"x": bad})


@given(st.binary(max_size=200))
def test_random_bytes_raise_message_error_only(data: bytes) -> None:
    try:
        meta, arrays = unpack(data)
    except MessageError:
        return
    assert isinstance(meta, dict)
    assert isinstance(arrays, dict)


@pytest.mark.parametrize(
    "entry",
    [
        ["object", [1], bytes(8)],
        ["O", [1], bytes(8)],
        ["int64", [2], bytes(8)],
        ["int64", [-1], bytes(8)],
        ["int64", [True], bytes(8)],
        ["int64", [0, 2**29, 2**29, 2**29], b""],
        ["int64", [1] * 17, bytes(8)],
        ["bool", [1], b"\x02"],
        ["int64", [1]],
    ],
)
def test_lying_array_headers_are_refused(entry: list[object]) -> None:
    data = pack_value([{}, {"x": entry}])
    try:
        _, arrays = unpack(data)
    except MessageError:
        return
    assert arrays["x"].size == 0, "only an empty array may have a long shape"


def test_meta_that_msgpack_cannot_hold_is_refused() -> None:
    for value in (object(), 2**64, {1, 2}, np.zeros(1)):
        with pytest.raises(MessageError):
            pack({"x": value}, {})
