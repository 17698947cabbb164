import math
from typing import Any

import numpy as np
import pytest

from crypto import Upload, plan
from crypto.errors import MessageError, PlanRefused, RosterError
from crypto.keys.roster import Identity, Roster
from crypto.opening import open_client, open_party
from crypto.planning.checks import log2_decryption_failure
from crypto.planning.plans import Plan
from crypto.protocols.plans import plan_from_bytes
from crypto.protocols.session import plan_roles
from crypto.wire.values import pack_value

NAMES = ("a", "b", "c")
GOOD: dict[str, Any] = {
    "protocol": "bfv",
    "clients": NAMES,
    "uploads": (Upload(name="g", length=10, bound=100),),
    "rounds": 5,
    "max_dropouts": 1,
}


def test_derived_numbers() -> None:
    made = plan(**GOOD, session="s")
    assert (made.min_clients, made.session, made.sum_bound("g")) == (2, "s", 300)
    assert plan_roles(made) == ("server", "keyholder")
    assert "do not collude" in made.assumption


def test_sessions_are_fresh() -> None:
    assert len({plan(**GOOD).session for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "rot13"}, "unknown protocol"),
        ({"clients": ("a", "a")}, "name each one once"),
        ({"clients": ()}, "name each one once"),
        ({"clients": ("a", "b", "server")}, "roles"),
        ({"clients": ("a", "b", "clients")}, "roles"),
        ({"clients": ("a", "b", "")}, "characters"),
        ({"clients": ("a", "b", "c" * 129)}, "characters"),
        ({"uploads": ()}, "name each one once"),
        ({"uploads": (Upload(name="g", length=1, bound=1), Upload(name="g", length=1, bound=1))}, "name each one once"),
        ({"uploads": (Upload(name="g", length=0, bound=1),)}, "entries"),
        ({"uploads": (Upload(name="g", length=2**27 + 1, bound=1),)}, "entries"),
        ({"uploads": (Upload(name="g", length=1, bound=-1),)}, "negative"),
        ({"uploads": (Upload(name="g", length=1, bound=1, noise_bound=-1),)}, "negative"),
        ({"uploads": (Upload(name="g", length=1, bound=1, noise_bound=0, noise_excess=math.nan),)}, "probability"),
        ({"uploads": (Upload(name="g", length=1, bound=1, noise_bound=0, noise_excess=1.5),)}, "probability"),
        (
            {"uploads": (Upload(name="g", length=1, bound=1, noise_bound=9, noise_excess=2.0**-42),)},
            "corrupt the neighbour",
        ),
        ({"uploads": (Upload(name="g", length=1, bound=2**43 // 3),)}, "BFV slot"),
        ({"uploads": (Upload(name="g", length=1, bound=2**63 // 3 + 1),)}, "2\\^63"),
        ({"uploads": (Upload(name="g", length=1, bound=2**62, noise_bound=2**62),)}, "2\\^63"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 2.5}, "whole number"),
        ({"uploads": (Upload(name="g", length=1, bound=np.int64(2**62)),)}, "2\\^63"),  # type: ignore[arg-type]
        ({"uploads": (Upload(name="g", length=1, bound=10.0),)}, "whole number"),  # type: ignore[arg-type]
        ({"rounds": 2**31}, "rounds"),
        ({"max_dropouts": -1}, "dropouts"),
        ({"max_dropouts": 3}, "dropouts"),
        ({"max_dropouts": 2}, "hides nothing"),
        ({"protocol": "mpc", "max_dropouts": 2}, "hides nothing"),
        ({"protocol": "mpc", "clients": ("a",), "max_dropouts": 0}, "hides nothing"),
        ({"session": ""}, "session"),
        ({"session": "s" * 129}, "session"),
    ],
)
def test_unsafe_plans_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanRefused, match=message):
        plan(**(GOOD | change))


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "plain", "max_dropouts": 2},
        {"protocol": "plain", "clients": ("a",), "max_dropouts": 0},
        {"protocol": "mpc", "uploads": (Upload(name="g", length=1, bound=2**63 // 3),)},
        {"protocol": "mpc", "uploads": (Upload(name="g", length=1, bound=1, noise_bound=9, noise_excess=0.5),)},
        {"uploads": (Upload(name="g", length=1, bound=1, noise_bound=9, noise_excess=2.0**-43),)},
        {"uploads": (Upload(name="g", length=1, bound=0),)},
    ],
)
def test_plans_at_the_limit_are_accepted(change: dict[str, Any]) -> None:
    assert isinstance(plan(**(GOOD | change)), Plan)


def test_plans_travel_as_bytes_and_are_checked_again() -> None:
    made = plan(
        **(
            GOOD
            | {
                "uploads": (
                    Upload(name="g", length=10, bound=100, noise_bound=7, noise_excess=1e-20),
                    Upload(name="h", length=1, bound=2),
                )
            }
        )
    )
    assert plan_from_bytes(made.to_bytes()) == made
    with pytest.raises(PlanRefused):
        plan_from_bytes(pack_value(["bfv", ["a"], [["g", 1, 1, 0, 0.0, 0, 0]], 1, 0, "s", None, 0]))
    for bad in (
        b"",
        b"\xc0",
        pack_value(["bfv", ["a"], [["g", 1]], 1, 0, "s", None]),
        pack_value(["no", [], [], 1, 0, "s", None]),
        pack_value(["plain", ["a"], [["g", 1, 1, 0, 0.0, 0, 0]], 1, 0, "s", [["a", bytes(32)]]]),
        pack_value(["plain", ["a"], [["g", 1, 1, 0, 0.0, 0, 0]], 1, 0, "s", ["a"]]),
    ):
        with pytest.raises(MessageError):
            plan_from_bytes(bad)


def test_decryption_failure_bound() -> None:
    # Grows with n; thousands of clients are fine, and the bound gives up before the noise room is used up.
    values = [log2_decryption_failure(n) for n in (1, 30, 1000, 5000, 20_000, 40_000)]
    assert values == sorted(values)
    assert values[2] < -500
    assert values[-1] == 0.0
    with pytest.raises(PlanRefused, match="fewer clients"):
        plan("bfv", [f"c{i}" for i in range(20_000)], (Upload(name="g", length=1, bound=1),), 1)


def test_unknown_names_are_refused() -> None:
    made = plan(**GOOD)
    with pytest.raises(PlanRefused, match="no client"):
        open_client(made, "z")
    with pytest.raises(PlanRefused, match="keyholder"):
        open_party(made, "compute0")
    with pytest.raises(PlanRefused, match="no upload"):
        made.client_bytes("z")
    with pytest.raises(PlanRefused, match="process of its own"):
        open_party(plan(**(GOOD | {"protocol": "mpc"})), "compute0")
    with pytest.raises(PlanRefused, match="packing"):
        plan(**(GOOD | {"protocol": "plain"})).packing("g")


@pytest.mark.parametrize("protocol", ["bfv", "mpc", "secagg", "secagg+"])
def test_without_a_roster_the_printed_assumption_trusts_the_server(protocol: str) -> None:
    """Whoever carries the first messages can invent the other clients; the certificate must not say less."""
    names = ("a", "b", "c", "d")
    made = plan(protocol, names, (Upload(name="g", length=1, bound=1),), 1)
    assert "could invent all other clients" in made.assumption
    assert "So the server is assumed to follow the protocol" in made.assumption
    known = Roster.of(Identity.new(name) for name in (*names, *made.roles))
    assert "roster pins" in made.pinned(known).assumption
    assert "invent" not in made.pinned(known).assumption


def test_colluders_travel_with_the_plan() -> None:
    made = plan("bfv", ("a", "b", "c", "d"), (Upload(name="g", length=1, bound=1),), 1, corrupt=2)
    assert plan_from_bytes(made.to_bytes()) == made
    assert made.corrupt == 2
    roster = Roster.of(Identity.new(name) for name in ("a", "b", "c", "d", *made.roles))
    assert made.pinned(roster).corrupt == 2


@pytest.mark.parametrize(
    "mark", ["\n", "\r", "\x00", "\x1b[31m", "\x85", "\u2028", "\u2029", "\u202e", "\ud800", "\x7f"]
)
def test_names_are_one_printable_line(mark: str) -> None:
    name = f"a{mark}b"
    upload = Upload(name="g", length=1, bound=1)
    for change in (
        {"clients": ("a", name, "c")},
        {"uploads": (Upload(name=name, length=1, bound=1),)},
        {"session": name},
    ):
        with pytest.raises(PlanRefused, match="printable"):
            plan(**(GOOD | {"uploads": (upload,)} | change))
    with pytest.raises(RosterError, match="printable"):
        Identity.new(name)
    with pytest.raises(RosterError, match="printable"):
        Roster(((name, bytes(31) + b"\x10"),))
    assert plan(**(GOOD | {"clients": ("Zo\u00eb", "\u4e2d\u6587", "o'neil & co")}))
