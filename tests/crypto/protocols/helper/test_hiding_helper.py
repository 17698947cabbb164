"""What server and helpers see is linear in vectors and pads: only the sum of a list comes out of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from crypto.protocols.helper import client as client_module
from crypto.protocols.helper.shape import Shape, shape_of
from crypto.testing import determined, probe

NAMES = ("ada", "bob", "cyd", "dan", "eve")
MakeKit = Callable[[str], Any]
RING = 1 << 64


def padded(kit: Any, values: Sequence[int], number: int, patch: pytest.MonkeyPatch) -> list[int]:
    """The ring element that each client sends, with vectors values[:5] and then the pads of each client in turn."""
    seen: list[int] = []
    pads = np.array(values[5:], dtype=object).reshape(5, -1).sum(axis=1)
    patch.setattr(client_module, "apply_masks", lambda *_: None)

    def note(ring: Any, bits: int) -> bytes:
        seen.append(int(ring.astype(np.int64)[0]))
        return b""

    patch.setattr(client_module, "pack_bits", note)
    for name, value in zip(NAMES, values, strict=False):
        client = kit.parties[name]._inner
        client._submissions._done.clear()
        client.submit(number, "wide", np.full(40, value, dtype=np.int64))
    return [(x + int(p)) % RING for x, p in zip(seen, pads, strict=True)]


def seen_by(shape: Shape, values: Sequence[int], sent: Sequence[int], lists: Sequence[Sequence[int]],
            corrupt: Sequence[int]) -> list[int]:  # fmt: skip
    """The view of a server that works with some helpers; each honest one answers one of the lists."""
    kinds = len(shape.pads)
    pads = [[values[5 + client * kinds + kind] for kind in range(kinds)] for client in range(5)]
    view = list(sent)
    for place in range(shape.helpers):
        for kind in shape.held(place):
            if place in corrupt:
                view += [pads[client][kind] for client in range(5)]
            else:
                view.append(sum(pads[client][kind] for client in lists[place]) % RING)
    return view


ALL = (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("protocol", "lists", "corrupt", "learned"),
    [
        ("helper", [ALL], [], [[1, 1, 1, 1, 1]]),
        ("helper", [(0, 1, 3)], [], [[1, 1, 0, 1, 0]]),
        ("helper-2-of-2", [ALL, ALL], [0], [[1, 1, 1, 1, 1]]),
        ("helper-2-of-2", [ALL, (0, 1, 2)], [], []),
        ("helper-2-of-3", [ALL, ALL, ALL], [], [[1, 1, 1, 1, 1]]),
        ("helper-2-of-3", [ALL, ALL, (0, 1, 2)], [], [[1, 1, 1, 1, 1]]),
        ("helper-3-of-4", [ALL, ALL, ALL, (0, 1, 2)], [3], [[1, 1, 1, 1, 1]]),
    ],
    ids=["one", "survivors", "one-corrupt", "two-lists", "three", "three-two-lists", "four-corrupt"],
)
def test_a_server_and_tolerated_helpers_learn_one_sum(
    protocol: str, lists: list[tuple[int, ...]], corrupt: list[int], learned: list[list[int]], make_kit: MakeKit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shape, kit = shape_of(protocol), make_kit(protocol)
    assert shape is not None
    rounds = iter(range(200))

    def view(values: list[int]) -> list[int]:
        return seen_by(shape, values, padded(kit, values, next(rounds), monkeypatch), lists, corrupt)

    width = 5 + 5 * len(shape.pads)
    assert determined(probe(view, width), 5, RING) == learned


def test_more_helpers_than_tolerated_learn_more(make_kit: MakeKit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit, shape = make_kit("helper-2-of-3"), Shape(threshold=2, helpers=3)
    rounds = iter(range(200))

    def view(values: list[int]) -> list[int]:
        sent = padded(kit, values, next(rounds), monkeypatch)
        return seen_by(shape, values, sent, [ALL, (0, 1, 2, 3), ()], [2])

    # One helper answers both lists beside two honest ones that were told different ones: eve's vector is out.
    assert determined(probe(view, 20), 5, RING) == [[1, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
