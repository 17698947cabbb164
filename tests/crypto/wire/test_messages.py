import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import MessageError
from crypto.wire.messages import (
    MAX_NAME,
    MAX_PROOF,
    MAX_SEQUENCE,
    Abort,
    Aggregate,
    AnyItem,
    Begin,
    Deadline,
    Message,
    decode,
    encode,
)
from crypto.wire.values import _is_sparse, pack_value, unpack_sparse

names = st.text(min_size=1, max_size=MAX_NAME)
rounds = st.integers(0, 2**31 - 1)
totals = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)
items = st.one_of(
    st.builds(
        Message,
        sender=names,
        receiver=names,
        kind=names,
        session=names,
        round=rounds,
        upload=names,
        payload=st.binary(max_size=300),
        sequence=st.integers(0, MAX_SEQUENCE),
        proof=st.binary(max_size=MAX_PROOF),
    ),
    st.builds(Abort, names, rounds, names, st.text(min_size=1, max_size=200)),
    st.builds(Begin, rounds, names),
    st.builds(Deadline, rounds, names),
)


@given(items)
def test_items_survive_the_wire(item: AnyItem) -> None:
    assert decode(encode(item)) == item


@given(names, rounds, names, totals, st.lists(names, max_size=5))
def test_aggregates_survive_the_wire(session: str, number: int, upload: str, total: list[int], who: list[str]) -> None:
    sent = Aggregate(session, number, upload, np.array(total, dtype=np.int64), tuple(who))
    got = decode(encode(sent))
    assert isinstance(got, Aggregate)
    assert got.total.tolist() == total
    assert (got.session, got.round, got.upload, got.contributors) == (session, number, upload, tuple(who))


def test_bytes_are_those_of_the_specification() -> None:
    assert encode(Begin(3, "g")) == b"\x02\x04" + b"\x00\x01g" + bytes(7) + b"\x03"
    abort = encode(Abort("s", 1, "g", "why", ("ann",)))
    assert abort == b"\x02\x03\x00\x01s\x00\x01g" + bytes(7) + b"\x01\x00\x03why" + b"\x00\x00\x00\x01" + (
        b"\x00\x03ann".ljust(40, b"\x00")
    )


@given(st.binary(max_size=400))
def test_random_bytes_raise_message_error_only(data: bytes) -> None:
    for candidate in (data, b"\x02" + data):
        try:
            item = decode(candidate)
        except MessageError:
            continue
        assert isinstance(item, AnyItem)


@given(items, st.data())
def test_damaged_bytes_are_refused_or_read_as_an_item(item: AnyItem, data: st.DataObject) -> None:
    whole = encode(item)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MessageError):
        decode(whole[:cut])
    with pytest.raises(MessageError):
        decode(whole + b"\x00")
    flipped = bytearray(whole)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    try:
        decode(flipped)
    except MessageError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02",
        b"\x01" + encode(Begin(0, "g"))[1:],
        b"\x02\x06" + encode(Begin(0, "g"))[2:],
        b"\x02\x00" + encode(Begin(0, "g"))[2:],
        b"\x02\x04\x00\x00" + bytes(8),
        b"\x02\x04\x00\x01\xff" + bytes(8),
        b"\x02\x04\x00\x01g" + b"\xff" * 8,
        b"\x02\x04\xff\xffg" + bytes(8),
        b"\x02\x03\x00\x01s\x00\x01g" + bytes(8) + b"\x00\x01w\xff\xff\xff\xff",
        b"\x02\x03\x00\x01s\x00\x01g" + bytes(8) + b"\x00\x01w\x00\x00\x00\x01\x00\x01a" + b"x" * 37,
        b"\x02\x03\x00\x01s\x00\x01g" + bytes(8) + b"\x00\x01w\x00\x00\x00\x01" + bytes(40),
        b"\x02\x02\x00\x01s\x00\x01g" + bytes(8) + b"\x00\x00\x00\x09" + bytes(17),
    ],
    ids=[
        "empty",
        "one-byte",
        "version",
        "tag",
        "zero-tag",
        "no-name",
        "utf8",
        "round",
        "cut-text",
        "many-names",
        "filling",
        "empty-name",
        "odd-total",
    ],
)
def test_known_malformed_messages(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(data)


@pytest.mark.parametrize(
    "item",
    [
        Begin(-1, "g"),
        Begin(2**31, "g"),
        Begin(0, ""),
        Begin(0, "g" * 129),
        Message(sender="a", receiver="b", kind="k", session="s", round=0, upload="g", payload="text"),  # type: ignore[arg-type]
        Message(sender="a", receiver="b", kind="k", session="s", round=True, upload="g", payload=b""),
        Message(sender="a", receiver="b", kind="k", session="s", round=0, upload="g", payload=b"", sequence=-1),
        Message(
            sender="a", receiver="b", kind="k", session="s", round=0, upload="g", payload=b"", sequence=MAX_SEQUENCE + 1
        ),
        Message(
            sender="a",
            receiver="b",
            kind="k",
            session="s",
            round=0,
            upload="g",
            payload=b"",
            proof=bytes(MAX_PROOF + 1),
        ),
        Aggregate("s", 0, "g", np.zeros((2, 2), dtype=np.int64), ()),
        Aggregate("s", 0, "g", np.zeros(2), ()),  # type: ignore[arg-type]
    ],
)
def test_nothing_is_sent_that_would_be_refused(item: AnyItem) -> None:
    with pytest.raises(MessageError):
        encode(item)


def test_repr_shows_the_size_not_the_payload() -> None:
    text = repr(
        Message(
            sender="a", receiver="server", kind="vector", session="s", round=0, upload="g", payload=b"secret payload"
        )
    )
    assert "14 bytes" in text
    assert "secret" not in text


def allocated(data: bytes) -> int:
    """The most bytes that decoding holds at a time."""
    tracemalloc.start()
    with contextlib.suppress(MessageError):
        decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@settings(deadline=None)
@given(
    st.one_of(items, st.builds(Abort, names, rounds, names, names, st.lists(names, max_size=400).map(tuple))).map(
        encode
    ),
    st.binary(max_size=8),
    st.data(),
)
def test_decoding_allocates_at_most_four_times_the_frame(frame: bytes, extra: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(frame)))
    for candidate in (frame, frame[:at] + extra + frame[at:], frame[:2] + extra * 500):
        assert allocated(candidate) <= 4 * len(candidate) + 8192


@pytest.mark.parametrize(
    "name", ["ab", "a" * 38, "a" * 39, "\u0439" * 19, "\u4e2d" * 12, "\U0001f600" * 9, "x" * 37 + "\u0439"]
)
def test_names_of_all_widths_take_at_most_four_times_the_frame(name: str) -> None:
    number = 20_000
    shown = tuple(name[:-1] + chr(ord(name[-1]) + i % 17) for i in range(number))
    frame = encode(Aggregate("s", 0, "g", np.zeros(3, dtype=np.int64), shown))
    assert allocated(frame) <= 4 * len(frame)


@pytest.mark.parametrize("value", [b"\x90", b"\xc0", b"\x80", b"\xa0", b"\x01", b"\xc4\x00", b"\x91\x90"])
def test_a_payload_of_small_values_is_refused_before_it_is_built(value: bytes) -> None:
    count = 400_000
    payload = b"\xdd" + count.to_bytes(4, "big") + value * count
    tracemalloc.start()
    with pytest.raises(MessageError, match="more small values"):
        unpack_sparse(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(), st.binary(), st.floats()),
        lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(st.text(), inner, max_size=5)),
    )
)
def test_values_are_counted_as_msgpack_has_them(value: object) -> None:
    def count(each: object) -> int:
        match each:
            case list():
                return 1 + sum(map(count, each))
            case dict():
                return 1 + sum(1 + count(part) for part in each.values())
        return 1

    view = memoryview(pack_value(value))
    assert _is_sparse(view, count(value))
    assert not _is_sparse(view, count(value) - 1)
