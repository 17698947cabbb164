"""The refusals, each at its boundary."""

from collections.abc import Callable
from typing import Any

import pytest

from crypto.keys.roster import Trust
from crypto.protocols.bookkeeping import Released
from crypto.protocols.masks.errors import UnmaskRefused
from crypto.protocols.masks.requests import write_survivors
from crypto.protocols.masks.rules import check_proofs, check_released, check_split, check_survivors
from crypto.wire.messages import Message

COHORT = range(8)


def test_survivors(make_masks: Callable[..., Any]) -> None:
    plan = make_masks(ready=False).plan
    check_survivors(plan, 0, COHORT, range(6))
    for survivors, message in (
        (range(5), "fewer than the 6"),
        (range(1, 8), "not hold this client"),
        (range(9), "cohort"),
    ):
        with pytest.raises(UnmaskRefused, match=message):
            check_survivors(plan, 0, COHORT, survivors)


def test_splits() -> None:
    check_split(COHORT, range(6), (6, 7))
    for dropped, message in (
        ((5, 6, 7), "1 clients are listed"),
        ((6,), "not the cohort"),
        ((6, 7, 8), "not the cohort"),
    ):
        with pytest.raises(UnmaskRefused, match=message):
            check_split(COHORT, range(6), dropped)


def test_signatures(make_masks: Callable[..., Any]) -> None:
    cohort = make_masks(mode="active", ready=False)
    plan, trust, statement = cohort.plan, Trust(cohort.plan.roster), bytes(32)
    proofs = {place: cohort.identities[name].prove(statement) for place, name in enumerate(plan.clients)}
    # More than (8 + 1)/2 are five.
    check_proofs(plan, trust, 1, statement, {place: proofs[place] for place in (7, 1, 2, 3, 4)})
    four = {place: proofs[place] for place in (7, 1, 2, 3)}
    others = {8: proofs[0], -1: proofs[0], 0: proofs[1], 5: b""}
    for given, signed in (
        (four, statement),
        (four | others, statement),
        (proofs, bytes(31) + b"\x01"),
        ({}, statement),
    ):
        with pytest.raises(UnmaskRefused, match="5 of 8 are needed"):
            check_proofs(plan, trust, 1, signed, given)


def test_a_client_is_summed_once_at_a_model_and_once_in_a_round() -> None:
    released = Released("client000")
    check_released(released, 0, "update", b"m", "client000")
    assert not released.take(0, "update", b"m", ("client000",))
    check_released(released, 1, "update", b"other", "client000")
    check_released(released, 1, "counts", b"m", "client000")
    check_released(released, 1, "update", b"", "client000")
    for number, model in ((1, b"m"), (0, b"other"), (0, b"")):
        with pytest.raises(UnmaskRefused, match="with 1 of these clients"):
            check_released(released, number, "update", model, "client000")


def test_a_client_confirms_what_it_sent_once_and_no_small_set(make_masks: Callable[..., Any]) -> None:
    from crypto import Begin

    def confirm(number: int, epoch: int, survivors: range) -> int:
        body = write_survivors(epoch, survivors)
        message = Message(
            sender="server",
            receiver="client000",
            kind="confirm",
            session=cohort.plan.session,
            round=number,
            upload="update",
            payload=body,
        )
        return len(cohort.parties["client000"].on(message))

    cohort = make_masks(mode="active", bare=True)
    assert confirm(0, 0, range(8)) == 0
    cohort.lose = lambda message: message.kind == "confirm"
    cohort.give("server", Begin(0, "update"))
    for name, vector in cohort.vectors("confirm").items():
        cohort.submit(0, "update", name, vector)
    tries = [
        (0, 0, range(5)),
        (0, 1, range(8)),
        (1, 0, range(8)),
        (0, 0, range(1, 8)),
        (0, 0, range(7)),
        (0, 0, range(8)),
    ]
    assert [confirm(*each) for each in tries] == [0, 0, 0, 0, 1, 0]
