"""Every kind of command survives its frame, and whatever else comes is refused by name."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.planning.upload import Upload
from crypto.protocols.plans import plan
from crypto.wire.arrays import pack
from crypto.wire.messages import Abort, Aggregate, Begin, Message, encode
from crypto.wire.values import pack_value
from privacy import Charge, Cohort, NonPrivate, SampledGaussian
from secure_fcl.config import load_config
from secure_fcl.engines.commands import (
    Answered,
    Close,
    Command,
    Deliver,
    Disclose,
    Done,
    Failed,
    GiveClear,
    GiveCoins,
    GiveHeld,
    GiveKept,
    Given,
    GiveOwn,
    Identify,
    Join,
    Keys,
    Open,
    Restore,
    Sent,
    Settle,
    Settled,
    Simulated,
    Visit,
)
from secure_fcl.engines.frames import KINDS, from_batch, from_frame, grouped, to_batch, to_frame
from secure_fcl.errors import FrameRefused

texts = st.text(max_size=20)
wholes = st.integers(0, 2**31 - 1)
seconds = st.floats(0, 1e9)
dtypes = st.sampled_from(["float32", "float64", "int64", "bool", "uint8"])
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
arrays = st.dictionaries(
    texts, st.builds(lambda kind, shape: (np.arange(27) % 2)[: int(np.prod(shape))].reshape(shape).astype(kind),
                     dtypes, shapes), max_size=3,
)  # fmt: skip
names = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
messages = st.builds(
    Message, sender=names, receiver=names, kind=names, session=names, round=wholes, upload=names,
    payload=st.binary(max_size=40),
)  # fmt: skip
items = st.lists(messages | st.builds(Abort, names, wholes, names, names), max_size=3).map(tuple)
cohorts = st.builds(Cohort, group=texts, arrival=wholes, chunk=wholes, fate=st.sampled_from(["kept", "discarded"]))
events = st.builds(NonPrivate, texts) | st.just(SampledGaussian(q=0.25, noise_multiplier=1.5))
charges = st.lists(st.builds(Charge, cohorts, events, st.integers(1, 99)), max_size=3).map(tuple)
CONFIGS = [load_config(), load_config(None, ['rows=["glfc"]', "glfc.noise=none", "glfc.epsilon=inf", "seed=7"])]
PLANS = [
    plan("plain", [f"client{k}" for k in range(4)], [Upload(name="u", length=9, bound=5)], 3, 1, session=f"s{n}")
    for n in range(2)
]

KIND = {
    Open: st.builds(Open, row=texts, config=st.sampled_from(CONFIGS), simulated=st.builds(
        Simulated, noise_multiplier=seconds | st.just(float("inf")), charged=charges,
        secret=st.none() | st.binary(min_size=32, max_size=32), journals=st.none() | st.just(Path("/j")),
        run=texts, ledger=st.binary(max_size=64))),
    Join: st.builds(Join, row=texts, run=texts, digest=texts, ledger=st.binary(max_size=64)),
    Keys: st.builds(Keys, plan=st.sampled_from(PLANS), items=items),
    Deliver: st.builds(Deliver, items=items),
    Visit: st.builds(Visit, slot=wholes, round=wholes, retired=st.frozensets(st.tuples(texts, wholes), max_size=3),
                     state=arrays, ledger=st.binary(max_size=64),
                     entry=texts),
    Settle: st.builds(Settle, ledger=st.binary(max_size=64), entry=texts),
    Settled: st.builds(Settled, said=texts, proof=texts),
    Close: st.builds(Close, slot=wholes, state=arrays),
    Disclose: st.builds(Disclose, slot=wholes, round=wholes, state=arrays),
    Identify: st.builds(Identify, folder=st.sampled_from([Path("/a/b"), Path("c")])),
    Restore: st.builds(Restore, coins=arrays, kept=arrays),
    **{kind: st.just(kind()) for kind in (GiveCoins, GiveHeld, GiveKept, GiveOwn, GiveClear, Done)},
    Answered: st.builds(Answered, items=items, ready=st.booleans()),
    Sent: st.builds(Sent, items=items, train=seconds, encrypt=seconds, journal=texts),
    Given: st.builds(Given, arrays=arrays),
    Failed: st.builds(Failed, error=texts, text=texts, trace=texts),
}  # fmt: skip
commands: st.SearchStrategy[Any] = st.one_of(*KIND.values())


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays with type and shape."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if is_dataclass(one) and type(one) in KIND:
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return bool(one == other)


def test_every_kind_is_tried() -> None:
    assert {kind.__name__ for kind in KIND} == set(KINDS)


@given(commands)
def test_every_command_survives_its_frame(command: Command) -> None:
    assert same(command, from_frame(to_frame(command)))


def test_totals_survive_inside_items() -> None:
    total = Aggregate("s", 1, "u", np.arange(3), ("client0",))
    (back,) = from_frame(to_frame(Deliver(items=(total,)))).items  # type: ignore[union-attr]
    assert np.array_equal(back.total, total.total)


@given(st.dictionaries(names, commands, max_size=4), wholes)
@settings(max_examples=50)
def test_batches_survive_and_shared_objects_stay_shared(batch: dict[str, Any], number: int) -> None:
    shared = Done()
    batch |= {"one": shared, "two": shared}
    back, found = from_batch(to_batch(number, batch))
    assert back == number
    assert found.keys() == batch.keys()
    assert all(same(batch[party], found[party]) for party in batch)
    assert found["one"] is found["two"]


def test_one_state_for_many_clients_is_written_once() -> None:
    state = {"weights": np.zeros(100_000, dtype=np.float32)}
    visit = Visit(slot=0, round=0, retired=frozenset(), state=state)
    alone, together = (len(to_batch(1, dict.fromkeys([f"client{k}" for k in range(n)], visit))) for n in (1, 50))
    assert together - alone < 1000
    assert [parties for _, parties in grouped({"a": visit, "b": Done(), "c": visit})] == [["a", "c"], ["b"]]


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    for read in (from_frame, from_batch):
        with pytest.raises(FrameRefused) as caught:
            read(data)
        assert "\n" not in str(caught.value)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | texts | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.binary(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(commands, junk, st.data())
@settings(max_examples=300)
def test_a_spoilt_field_is_named_or_still_valid(command: Any, value: Any, data: st.DataObject) -> None:
    """Any field replaced by anything: a frame of the same kind, or a refusal that names kind and field."""
    chosen = [f.name for f in fields(command)]
    if not chosen:
        return
    name = data.draw(st.sampled_from(chosen))
    spoilt = respelled(command, {name: value})
    try:
        outcome = type(from_frame(spoilt)).__name__
    except FrameRefused as error:
        outcome = str(error)
    kind = type(command).__name__
    assert outcome == kind or f"{kind}.{name}" in outcome


def respelled(command: Any, changes: dict[str, Any]) -> bytes:
    from crypto.wire.arrays import unpack

    meta, held = unpack(to_frame(command))
    return pack({**meta, "fields": {**meta["fields"], **changes}}, held)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (pack({"kind": "Destroy", "fields": {}}, {}), "'Destroy'"),
        (pack({"do": "visit"}, {}), "of kind 'None'"),
        (pack({"kind": "Done", "fields": {}, "more": 1}, {}), "'Done'"),
        (pack({"kind": "Done", "fields": {"x": 1}}, {}), "too many or too few fields: x"),
        (pack({"kind": "Done", "fields": {b"x": 1, "y": 1}}, {}), "too many or too few fields: b'x', y"),
        (pack({"kind": "Close", "fields": {"slot": 1}}, {}), "Close has too many or too few fields: state"),
        (pack({"kind": "Close", "fields": {"slot": -1, "state": {}}}, {}), r"Close\.slot is malformed: .*-1 is below"),
        (pack({"kind": "Close", "fields": {"slot": True, "state": {}}}, {}), r"Close\.slot .* bool instead of int"),
        (pack({"kind": "Close", "fields": {"slot": 1, "state": {"w": 3}}}, {}), r"Close\.state is malformed: KeyError"),
        (pack({"kind": "Deliver", "fields": {"items": [encode(Begin(1, "u"))]}}, {}), r"items .* helper parties alone"),
        (pack({"kind": "Open", "fields": {"row": "r", "config": "a = ", "simulated": {}}}, {}), r"Open\.config"),
        (pack({"kind": "Open", "fields": {"row": "r", "config": "", "simulated": {}}}, {}), r"Open\.simulated has"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(frame: bytes, named: str) -> None:
    with pytest.raises(FrameRefused, match=named) as caught:
        from_frame(frame)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [[1], [1, [[["a"], 3]]], [1, [["a", b""]]], ["x", []], [1, [[[1], b""]]]])
def test_batches_of_another_form_are_refused(batch: list[Any]) -> None:
    with pytest.raises(FrameRefused, match="a batch of frames"):
        from_batch(pack_value(batch))


def test_what_has_no_frame_is_refused() -> None:
    odd: list[Any] = [object(), Close(slot=1.5, state={}), Close(slot=1, state={"w": object()})]  # type: ignore[arg-type, dict-item]
    for one in odd:
        with pytest.raises(FrameRefused, match=f"this {type(one).__name__} cannot be sent"):
            to_frame(one)


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(Simulated(noise_multiplier=1.0, charged=(), secret=b"hidden"))
