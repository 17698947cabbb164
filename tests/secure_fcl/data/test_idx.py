import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from secure_fcl.data import DataDamaged
from secure_fcl.data.idx import is_gzip, parse_idx, unpack, write_idx

HERE = Path("file")
# LeCun's published header of the training labels: magic 2049, 60,000 items.
LABEL_HEADER = bytes.fromhex("00000801 0000ea60")


def test_header_known_from_the_format() -> None:
    labels = parse_idx(LABEL_HEADER + bytes(60_000), 1, HERE)
    assert labels.shape == (60_000,)
    image = parse_idx(bytes.fromhex("00000803 00000001 00000002 00000003") + bytes(range(6)), 3, HERE)
    assert image.tolist() == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize(
    ("content", "dimensions", "words"),
    [
        (b"", 1, "fewer than its header"),
        (LABEL_HEADER[:6], 1, "fewer than its header"),
        (LABEL_HEADER + bytes(59_999), 1, "holds 59999"),
        (LABEL_HEADER + bytes(60_001), 1, "holds 60001"),
        (LABEL_HEADER + bytes(60_000), 3, "not 00000803"),
        (bytes.fromhex("00000d01 00000001 00000000"), 1, "starts with 00000d01"),
        (bytes.fromhex("00000801 00000000"), 1, "announces shape"),
        (bytes.fromhex("00000803 ffffffff ffffffff ffffffff"), 3, "announces shape"),
    ],
)
def test_wrong_files_are_refused(content: bytes, dimensions: int, words: str) -> None:
    with pytest.raises(DataDamaged, match=words):
        parse_idx(content, dimensions, HERE)


@given(values=arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=6)), packed=st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, packed: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / "values"
    write_idx(values, path, compress=packed)
    content = path.read_bytes()
    assert is_gzip(content) == packed
    plain = unpack(content, len(content) * 100, path)
    np.testing.assert_array_equal(parse_idx(plain, values.ndim, path), values)


def test_damaged_gzip_is_refused() -> None:
    packed = gzip.compress(bytes(1_000))
    assert unpack(packed, 1_000, HERE) == bytes(1_000)
    with pytest.raises(DataDamaged, match="cut off"):
        unpack(packed[:-9], 1_000, HERE)
    with pytest.raises(DataDamaged, match="more than the 999"):
        unpack(packed, 999, HERE)
    wrong_sum = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    with pytest.raises(DataDamaged, match="not a readable gzip"):
        unpack(wrong_sum, 1_000, HERE)
