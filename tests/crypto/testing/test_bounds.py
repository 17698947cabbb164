"""Vector and noise are bounded apart, so that no sum wraps; a total beyond the plan's bound is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import Abort, Aggregate, Begin, Deadline, Message, Party, Upload, plan, run_round, set_up
from crypto.errors import SubmissionRefused
from crypto.protocols.masks.requests import read_masked, write_masked
from crypto.running.driver import deliver
from crypto.running.rehearsal import rehearse
from crypto.testing import corrupt

PROTOCOLS = ("plain", "mpc", "secagg", "bfv")
NAMES = ("a", "b", "c", "d")


def opened(protocol: str, upload: Upload) -> Mapping[str, Party]:
    parties = rehearse(plan(protocol, NAMES, (upload,), 40, max_dropouts=1))
    set_up(parties)
    return parties


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_room_for_noise_is_no_room_for_vectors(protocol: str) -> None:
    parties = opened(protocol, Upload(name="x", length=8, bound=100, noise_bound=1000))
    for entry in (101, -101, 1100):
        with pytest.raises(SubmissionRefused, match="plan's bound 100"):
            run_round(parties, 0, "x", {name: np.full(8, entry) for name in NAMES})


@settings(deadline=None, max_examples=30)
@given(
    protocol=st.sampled_from(PROTOCOLS[:3]),
    bound=st.integers(0, 200),
    noise_bound=st.integers(0, 5000),
    data=st.data(),
)
def test_whatever_is_accepted_is_summed_exactly_or_refused(
    protocol: str, bound: int, noise_bound: int, data: st.DataObject
) -> None:
    """Noise that as a whole keeps its bound never wraps; noise that does not is refused, or right by luck."""
    parties = opened(protocol, Upload(name="x", length=2, bound=bound, noise_bound=noise_bound))
    vectors = {name: np.array(data.draw(st.tuples(*[st.integers(-bound, bound)] * 2))) for name in NAMES}
    share = st.integers(-noise_bound // 4, noise_bound // 4)
    noise = {name: np.array(data.draw(st.tuples(share, share))) for name in NAMES}
    if any(abs(noise[name]).max() > noise_bound for name in NAMES):
        return
    outcome = run_round(parties, 0, "x", vectors, noise=noise)
    if isinstance(outcome, Abort):
        assert abs(sum(noise.values())).max() > noise_bound
    else:
        assert outcome.total.tolist() == (sum(vectors.values()) + sum(noise.values())).tolist()


@pytest.mark.parametrize("protocol", ["secagg", "mpc"])
def test_a_total_beyond_the_bound_is_refused_and_nobody_blamed(protocol: str) -> None:
    """One client sends random bytes in place of its masked vector, or of its share."""

    def change(message: Message) -> Iterable[Message]:
        if message.kind == "masked":
            number, model, packed = read_masked(message.payload)
            top = bytes(len(packed) - 1) + bytes([packed[-1] ^ 0x08])
            return (replace(message, payload=write_masked(number, model, bytearray(top))),)
        return (message,)

    parties: dict[str, Any] = {**opened(protocol, Upload(name="x", length=64, bound=100))}
    if protocol == "secagg":
        parties["b"] = corrupt(parties["b"], change)
    else:
        session = parties["b"]._inner
        split = session._split
        session._split = lambda round, upload, vector, model: split(round, upload, vector * 0 + 10**6, model)
    outcomes = deliver(parties, (), inputs={"server": (Begin(0, "x"),)})
    for name in NAMES:
        outcomes += deliver(parties, parties[name].submit(0, "x", np.ones(64, dtype=np.int64)))
    for _ in range(3):
        outcomes = outcomes or deliver(parties, (), inputs={"server": (Deadline(0, "x"),)})
    (outcome,) = outcomes
    assert isinstance(outcome, Abort)
    assert "plan's bound is 400" in outcome.reason
    assert outcome.blamed == ()


def test_plain_names_who_leaves_the_bound_and_sums_the_others() -> None:
    def change(message: Message) -> Iterable[Message]:
        return (replace(message, payload=np.full(8, 101).astype("<i8").tobytes()),)

    parties: dict[str, Any] = {**opened("plain", Upload(name="x", length=8, bound=100))}
    parties["b"] = corrupt(parties["b"], change)
    for number in range(2):
        outcome = run_round(parties, number, "x", {name: np.ones(8, dtype=np.int64) for name in NAMES})
        assert isinstance(outcome, Aggregate)
        assert outcome.total.tolist() == [3] * 8
        assert (outcome.contributors, outcome.blamed) == (("a", "c", "d"), ("b",))
