import numpy as np
import pytest
from hypothesis import given
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


def test_bytes_follow_the_msgpack_specification() -> None:
    assert encode(Begin(3, "g")) == b"\x02" + b"\x93\xa5begin\x03\xa1g"


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
        b"\x01" + encode(Begin(0, "g"))[1:],
        b"\x02\xdd\xff\xff\xff\xff",
        b"\x02" + b"\x91" * 5000,
        b"\x02\x93\xa5begin\xc3\xa1g",
        b"\x02\x93\xa5begin\xff\xa1g",
        b"\x02\x93\xa5begin\x00\xa0",
        b"\x02\x93\xa5other\x00\xa1g",
        b"\x02\xc7\x00\x05",
        b"\x02\xd6\xff\x00\x00\x00\x00",
        b"\x02\x93\xa5begin\x00\xa1\xff",
    ],
    ids=[
        "empty",
        "version",
        "long-list",
        "deep",
        "bool-round",
        "negative",
        "no-name",
        "tag",
        "ext",
        "time",
        "utf8",
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
