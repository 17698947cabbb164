from collections.abc import Iterator
from multiprocessing import Pipe

import numpy as np
import pytest

from secure_fcl.engines.commands import Close, Done
from secure_fcl.engines.link import Link
from secure_fcl.errors import FrameRefused


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    ours, theirs = Pipe()
    first, second = Link(ours), Link(theirs)  # type: ignore[arg-type]
    yield first, second
    first.close()
    second.close()


def test_batches_arrive_as_they_were_sent(ends: tuple[Link, Link]) -> None:
    first, second = ends
    state = {"x": np.arange(6, dtype=np.int64).reshape(2, 3), "empty": np.zeros((0, 3), dtype=np.float32)}
    first.send(7, {"client0": Close(slot=3, state=state), "client1": Done()})  # type: ignore[arg-type]
    number, got = second.receive()
    assert number == 7
    assert got.keys() == {"client0", "client1"}
    assert got["client1"] == Done()
    closing = got["client0"]
    assert isinstance(closing, Close)
    assert closing.slot == 3
    for name, array in state.items():
        assert closing.state[name].dtype == array.dtype
        np.testing.assert_array_equal(closing.state[name], array)


def test_the_end_of_the_other_side_is_seen(ends: tuple[Link, Link]) -> None:
    first, second = ends
    first.close()
    with pytest.raises(EOFError):
        second.receive()


def test_objects_are_refused_and_nothing_is_sent(ends: tuple[Link, Link]) -> None:
    first, second = ends
    with pytest.raises(FrameRefused, match="object cannot be sent"):
        first.send(1, {"client0": object()})  # type: ignore[dict-item]
    first.send(2, {})
    assert second.receive() == (2, {})
