"""What the parties of each protocol can work out, from the code itself: it is run with chosen "random" expansions."""

import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import Aggregate, Message, Plan, Upload, open_client, plan, run_round, set_up
from crypto.errors import CryptoError
from crypto.keys.randomness import system_random
from crypto.keys.roster import Identity
from crypto.keys.sealed import BoxKey
from crypto.planning.packing import PLAIN_MODULUS, RING_DEGREE
from crypto.protocols.bfv import sessions as bfv
from crypto.protocols.masks import offers
from crypto.protocols.masks.requests import Shares
from crypto.protocols.mpc import client as mpc
from crypto.protocols.plain import PlainClient
from crypto.protocols.session import hiding
from crypto.running.rehearsal import rehearse
from crypto.testing import determined, probe

RING = 2**64
NAMES = ("a", "b", "c")
Ints = npt.NDArray[np.int64]


def test_known_eliminations() -> None:
    assert determined([[1, 1, 0, 1], [0, 0, 1, -1]], 3, RING) == [[1, 1, 1]]
    # Flower's fault in small: the same mask in two rounds shows the difference of two inputs.
    assert determined([[1, 0, 1], [0, 1, 1]], 2, RING) == [[1, RING - 1]]
    # A mask that is always even shows the lowest bit: 2^63 times the input.
    assert determined([[1, 2]], 1, RING) == [[2**63]]
    assert determined([[1, 2]], 1, PLAIN_MODULUS) == []
    assert determined([], 2, RING) == []
    with pytest.raises(CryptoError):
        determined([[1], [1, 2]], 1, RING)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), max_size=4), st.integers(0, 2**32))
def test_what_is_determined_takes_the_same_value_for_all_unknowns(rows: list[list[int]], seed: int) -> None:
    source = np.random.default_rng(seed)
    functionals = determined(rows, 2, RING)
    # A change of inputs and unknowns that leaves every observation as it is leaves every functional as it is.
    for _ in range(20):
        change = [int(entry) for entry in source.integers(-2, 3, 4)]
        if all(sum(a * b for a, b in zip(row, change, strict=True)) % RING == 0 for row in rows):
            assert all(sum(a * b for a, b in zip(f, change[:2], strict=True)) % RING == 0 for f in functionals)


def only_the_sum(functionals: Sequence[Sequence[int]]) -> bool:
    return [list(row) for row in functionals] == [[1] * len(NAMES)]


def shares_of(made: Plan, values: list[int], monkeypatch: pytest.MonkeyPatch, role: str) -> list[int]:
    """What one computing server holds, with inputs values[:3] and expansions of the clients' seeds values[3:]."""
    keys = {name: BoxKey(system_random) for name in mpc.COMPUTE}
    public = {name: key.public for name, key in keys.items()}
    held: list[int] = []
    for index, name in enumerate(NAMES):
        mask = np.array([values[3 + index]], dtype=np.int64)
        monkeypatch.setattr(mpc, "expand", lambda seed, length, mask=mask: mask)
        client = mpc.MpcClient(made, name, system_random, public)
        for message in client.submit(0, "g", np.array([values[index]], dtype=np.int64)):
            if message.receiver == role:
                raw = keys[role].open(message.payload[1:], (made.session, 0, "g", b"", name, role))
                held.append(values[3 + index] if role == "compute0" else int(np.frombuffer(raw, dtype="<i8")[0]))
    return held


@pytest.mark.parametrize("role", mpc.COMPUTE)
def test_a_computing_server_learns_the_sum_alone(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan("mpc", NAMES, (Upload(name="g", length=1, bound=1000),), 1)
    assert hiding(made) == "shares"

    def view(values: list[int]) -> list[int]:
        return [*shares_of(made, values, monkeypatch, role), sum(values[:3])]

    assert only_the_sum(determined(probe(view, 6), 3, RING))

    def shares_alone(values: list[int]) -> list[int]:
        return shares_of(made, values, monkeypatch, role)

    assert determined(probe(shares_alone, 6), 3, RING) == []


def test_a_client_that_works_with_a_computing_server_leaves_the_sum_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = plan("mpc", NAMES, (Upload(name="g", length=1, bound=1000),), 1)

    def view(values: list[int]) -> list[int]:
        # Client c's input and mask are known as well.
        return [*shares_of(made, values, monkeypatch, "compute1"), sum(values[:3]), values[2], values[5]]

    # The sum of all and c's own input, and so the sum of a and b: nothing else.
    assert determined(probe(view, 6), 3, RING) == [[1, 1, 1], [0, 0, 1]]


def test_two_worlds_of_equal_sum_give_a_computing_server_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan("mpc", NAMES, (Upload(name="g", length=1, bound=1000),), 1)
    one, two = [5, -3, 100], [1000, -1000, 102]
    masks = [11, 2**62, -17]
    moved = [mask + b - a for mask, a, b in zip(masks, one, two, strict=True)]
    seen = [shares_of(made, [*world, *m], monkeypatch, "compute1") for world, m in ((one, masks), (two, moved))]
    assert sum(one) == sum(two)
    assert seen[0] == seen[1]


def test_the_plain_protocol_hides_nothing() -> None:
    made = plan("plain", NAMES, (Upload(name="g", length=1, bound=1000),), 1)
    assert hiding(made) == "nothing"

    def view(values: list[int]) -> list[int]:
        sent = [PlainClient(made, n).submit(0, "g", np.array([v])) for n, v in zip(NAMES, values, strict=True)]
        return [int(np.frombuffer(message.payload, dtype="<i8")[0]) for (message,) in sent]

    assert determined(probe(view, 3), 3, RING) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def padded(values: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first slot that each client encrypts, with inputs values[:3] and pads values[3:]."""
    made = plan("bfv", NAMES, (Upload(name="g", length=1, bound=1000),), 1)
    assert hiding(made) == "ciphertext"
    seen: list[int] = []

    def note(key: object, row: Ints) -> bytes:
        seen.append(int(row[0]))
        return b"ciphertext"

    monkeypatch.setattr(bfv, "encrypt", note)
    keys = bfv.HolderKeys(0, None, BoxKey(system_random).public)  # type: ignore[arg-type]
    for index, name in enumerate(NAMES):
        rows = np.full((1, RING_DEGREE), values[3 + index] % PLAIN_MODULUS)
        monkeypatch.setattr(bfv, "pad", lambda *_, rows=rows: rows)
        client = bfv.BfvClient(made, Identity.new(name), system_random, keys)
        client.submit(0, "g", np.array([values[index]], dtype=np.int64))
    return seen


@pytest.mark.parametrize(
    ("actual", "named", "learned"),
    [
        ([1, 1, 1], [1, 1, 1], [[1, 1, 1]]),
        ([1, 1, 0], [1, 1, 0], [[1, 1, 0]]),
        ([1, 0, 0], [1, 1, 0], []),
        ([1, 1, 0], [1, 1, 1], []),
        ([2, 1, 0], [1, 1, 0], []),
        ([1, 1, 0], [0, 1, 1], []),
        ([2, 2, 2], [1, 1, 1], []),
    ],
    ids=["honest", "survivors", "one", "fewer", "doubled", "other", "scaled"],
)
def test_a_cheating_server_learns_nothing_from_the_key_holder(
    actual: list[int], named: list[int], learned: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server sees ciphertexts only; what decryption adds is one combination of slots less the pads of the list.
    def view(values: list[int]) -> list[int]:
        slots = padded(values, monkeypatch)
        pads = sum(n * pad for n, pad in zip(named, values[3:], strict=True))
        return [(sum(a * slot for a, slot in zip(actual, slots, strict=True)) - pads + 10**9) % PLAIN_MODULUS - 10**9]

    assert determined(probe(view, 6), 3, PLAIN_MODULUS) == learned


def test_the_key_holder_learns_the_sum_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows all pads, and sees the summed slots once; with a corrupt client it learns the sum of the others."""

    def view(values: list[int]) -> list[int]:
        slots = padded(values, monkeypatch)
        total = (sum(slots) - sum(values[3:]) + 10**9) % PLAIN_MODULUS - 10**9
        return [total, *values[3:]]

    assert determined(probe(view, 6), 3, PLAIN_MODULUS) == [[1, 1, 1]]

    def with_client(values: list[int]) -> list[int]:
        return [*view(values), values[2]]

    assert determined(probe(with_client, 6), 3, PLAIN_MODULUS) == [[1, 1, 1], [0, 0, 1]]


def test_two_worlds_of_equal_sum_give_the_key_holder_the_same_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same pads, other inputs of the same sum: what it decrypts is equal, though every client's slot differs."""
    pads = [11, 2**40, PLAIN_MODULUS - 1]
    one, two = (padded([*world, *pads], monkeypatch) for world in ([5, -3, 100], [1000, -1000, 102]))
    assert sum(one) % PLAIN_MODULUS == sum(two) % PLAIN_MODULUS
    assert all(a != b for a, b in zip(one, two, strict=True))


def test_every_protocol_declares_what_hides() -> None:
    names: tuple[str, ...] = ("plain", "bfv", "mpc", "secagg", "secagg+")
    found = {name: hiding(plan(name, NAMES, (Upload(name="g", length=1, bound=10),), 1)) for name in names}
    declared = {"plain": "nothing", "bfv": "ciphertext", "mpc": "shares", "secagg": "masks", "secagg+": "masks"}
    assert found == declared
    sent: tuple[Message, ...] = open_client(
        plan("plain", NAMES, (Upload(name="g", length=1, bound=10),), 1), "a"
    ).submit(0, "g", np.array([7]))
    assert sent[0].payload == b"\x07" + bytes(7)


def dataclasses_of_crypto() -> list[type]:
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "crypto"]
    found = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    return [kind for kind in found if is_dataclass(kind) and kind.__module__.split(".")[0] == "crypto"]


@pytest.mark.parametrize("protocol", ["secagg", "mpc"])
def test_no_object_that_is_made_on_the_way_shows_a_share_in_its_repr(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every dataclass of the package that is made in a set-up and a sum with a dropout is asked for its repr."""
    secrets: set[bytes] = set()
    made: list[object] = []
    true = offers.split

    def split(secret: bytes, *rest: Any) -> list[bytes]:
        shares = true(secret, *rest)
        secrets.update((secret, *shares))
        return shares

    monkeypatch.setattr(offers, "split", split)
    names = ("a", "b", "c", "d", "e")
    planned = plan(protocol, names, (Upload(name="g", length=3, bound=10**9),), 3, max_dropouts=1)
    parties: dict[str, Any] = {**rehearse(planned)}
    for kind in dataclasses_of_crypto():
        start = kind.__init__

        def noted(self: object, *given: Any, start: Any = start, **named: Any) -> None:
            start(self, *given, **named)
            made.append(self)

        monkeypatch.setattr(kind, "__init__", noted)
    set_up(parties)
    vectors = {name: np.full(3, 123456789 + place) for place, name in enumerate(names)}
    outcome = run_round(parties, 0, "g", vectors, drop=("e",))
    assert isinstance(outcome, Aggregate)
    if protocol == "mpc":
        secrets |= {part[1] for shares in parties["compute0"]._inner._shares.values() for part in shares.values()}
    shown = "\n".join(repr(each) for each in [*made, *parties.values()] if not isinstance(each, Aggregate))
    assert len(made) > 20
    assert protocol == "mpc" or len(secrets) > 50
    for secret in secrets:
        assert repr(secret[:16])[2:-1] not in shown
    assert "12345678" not in shown


def test_an_answer_shows_no_share() -> None:
    answer = Shares(0, ((1, 0, b"0123456789abcdef" * 2 + b"!"),), (), b"")
    assert "0123456789" not in repr(answer)
