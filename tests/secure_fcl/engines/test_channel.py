import numpy as np
import pytest

from crypto.wire.messages import Begin, Message
from secure_fcl.engines.channel import Channel, pack_items, unpack_items


@pytest.fixture
def ends():  # type: ignore[no-untyped-def]
    from multiprocessing import Pipe

    ours, theirs = Pipe()
    first, second = Channel(ours), Channel(theirs)  # type: ignore[arg-type]
    yield first, second
    first.close()
    second.close()


def test_frames_arrive_as_they_were_sent(ends) -> None:  # type: ignore[no-untyped-def]
    first, second = ends
    meta = {
        "do": "open",
        "clients": [0, 2],
        "secret": b"\x00\xff",
        "none": None,
        "inf": float("inf"),
        "deep": {"a": [1.5]},
    }
    arrays = {"x": np.arange(6, dtype=np.int64).reshape(2, 3), "empty": np.zeros((0, 3), dtype=np.float32)}
    first.send(meta, arrays)
    got, values = second.receive()
    assert got == meta
    for name, array in arrays.items():
        assert values[name].dtype == array.dtype
        np.testing.assert_array_equal(values[name], array)


def test_the_end_of_the_other_side_is_seen(ends) -> None:  # type: ignore[no-untyped-def]
    first, second = ends
    first.close()
    with pytest.raises(EOFError):
        second.receive()


def test_objects_are_refused(ends) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Exception, match=r".+"):
        ends[0].send({"do": object()})


def test_protocol_items_survive() -> None:
    items = [Message("a", "server", "vector", "s", 3, "u", b"\x01"), Begin(3, "u")]
    assert unpack_items(pack_items(items)) == items
