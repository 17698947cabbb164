from dataclasses import fields, replace

import numpy as np
import pytest

from secure_fcl.data import NO_CLIENT, DataDamaged, Dataset


def small(**changes: object) -> Dataset:
    n = 4
    columns: dict[str, object] = {
        "name": "small",
        "x": np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3),
        "y": np.array([0, 1, 1, 0]),
        "client": np.array([3, NO_CLIENT, 1, 3]),
        "session": np.zeros(n, dtype=np.int64),
        "run": np.arange(n),
        "position": np.zeros(n, dtype=np.int64),
        "train": np.array([True, True, False, False]),
        "test": np.array([False, False, True, False]),
        "classes": ("a", "b", "c"),
        "units": "none",
    }
    return Dataset(**{**columns, **changes})  # type: ignore[arg-type]


def test_length_shape_and_clients() -> None:
    data = small()
    assert (len(data), data.shape, data.clients) == (4, (2, 3), (1, 3))


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        small().x[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": np.array([0, 1, 1])}, "unequal length"),
        ({"y": np.array([0, 1, 1, 3])}, "do not fit 3 classes"),
        ({"y": np.array([0, -1, 1, 0])}, "do not fit"),
        ({"y": np.array([0, 1, 1, 0], dtype=np.int32)}, "type int32"),
        ({"run": np.zeros((4, 1), dtype=np.int64)}, "not \\(n,\\)"),
        ({"x": np.zeros(4, dtype=np.float32)}, "neither"),
        ({"x": np.full((4, 2, 3), np.nan, dtype=np.float32)}, "NaN"),
        ({"x": np.full((4, 2, 3), np.inf, dtype=np.float32)}, "NaN"),
        ({"test": np.array([True, False, False, False])}, "1 examples are both"),
    ],
)
def test_bad_content_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(DataDamaged, match=words):
        small(**changes)


def test_an_empty_set_is_refused() -> None:
    empty = {name: getattr(small(), name)[:0] for name in ("x", "y", "client", "session", "run", "position")}
    flags = np.zeros(0, dtype=np.bool_)
    with pytest.raises(DataDamaged, match="no example"):
        small(**empty, train=flags, test=flags)


def test_digest_follows_every_column_and_nothing_else() -> None:
    first = small()
    assert first.digest == small().digest == small(units="other", source="other").digest
    assert len(first.digest) == 64
    arrays = [f.name for f in fields(first) if isinstance(getattr(first, f.name), np.ndarray)]
    for name in arrays:
        values = getattr(first, name).copy()
        values[-1] = False if name in ("train", "test") else 1
        if name in ("train", "test"):
            values[:] = False
        assert replace(first, **{name: values}, digest="").digest != first.digest, name
    assert small(classes=("a", "b", "d")).digest != first.digest


def test_repr_shows_no_data() -> None:
    assert repr(small()).startswith("Dataset('small', x=(4, 2, 3), 3 classes, 2 train, 1 test, sha256=")
