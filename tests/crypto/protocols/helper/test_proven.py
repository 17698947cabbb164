"""Sums of "helper" whose norms are proven to server and helper."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Aggregate, Message, Upload, make_identities, open_client, open_party, plan, set_up
from crypto.errors import PlanRefused, SubmissionRefused
from crypto.keys.roster import Roster
from crypto.norms import pine
from crypto.protocols.envelope import SealedClient
from crypto.protocols.helper import client as client_module
from crypto.protocols.helper import party as party_module
from crypto.protocols.helper.party import Helper
from crypto.protocols.helper.proven import Place
from crypto.protocols.helper.statements import Statement
from crypto.protocols.session import Session
from crypto.running.driver import deliver, run_round
from crypto.testing import CHECKS, Bench
from crypto.wire.messages import Begin
from crypto.wire.values import pack_value, unpack_value

NAMES = ("ada", "bob", "cyd", "dan", "eve")
SHORT = Upload(name="short", length=40, bound=1000, noise_bound=2000, norm_bound=900, noise_norm_bound=400)
BARE = Upload(name="bare", length=3, bound=50, norm_bound=60)
FREE = Upload(name="free", length=3, bound=50)
#: Bounds that no vector within the entries' bounds exceeds, so that the conformance suite may send any.
ROOMY = (
    Upload(name="update", length=901, bound=1 << 16, noise_bound=1000, norm_bound=1 << 21, noise_norm_bound=31_000),
    Upload(name="counts", length=3, bound=5, norm_bound=10),
)


def parties_of(uploads: tuple[Upload, ...], rounds: int = 20) -> tuple[Any, dict[str, Session]]:
    loose = plan("helper", NAMES, uploads, rounds, max_dropouts=1)
    own = make_identities((*NAMES, *loose.roles))
    made = loose.pinned(Roster.of(own.values()))
    parties: dict[str, Session] = {name: open_client(made, name, identity=own[name]) for name in NAMES}
    parties |= {role: open_party(made, role, identity=own[role]) for role in made.roles}
    set_up(parties)
    return made, parties


@pytest.fixture
def played() -> tuple[Any, dict[str, Session]]:
    return parties_of((SHORT, BARE, FREE))


def ints(seed: int, size: int, most: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-most, most, size)


def test_the_sum_of_short_vectors_and_shares_of_noise_is_exact(played: tuple[Any, dict[str, Session]]) -> None:
    _, parties = played
    vectors = {name: ints(k, 40, 120) for k, name in enumerate(NAMES)}
    noises = {name: ints(k + 9, 40, 60) for k, name in enumerate(NAMES)}
    outcome = run_round(parties, 0, "short", vectors, noise=noises)
    assert isinstance(outcome, Aggregate)
    assert (outcome.contributors, outcome.blamed) == (NAMES, ())
    assert np.array_equal(outcome.total, sum(vectors.values()) + sum(noises.values()))
    for upload in ("bare", "free"):
        outcome = run_round(parties, 0, upload, {name: np.full(3, -k) for k, name in enumerate(NAMES)})
        assert isinstance(outcome, Aggregate)
        assert outcome.total.tolist() == [-10] * 3


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_conforms(check: Callable[[Bench], None]) -> None:
    bench = Bench(*parties_of(ROOMY, 200))
    check(bench)
    assert bench.next_round > 0


def test_bytes_are_as_the_plan_says(played: tuple[Any, dict[str, Session]]) -> None:
    made, parties = played
    for upload in made.uploads:
        client = parties["ada"]
        assert isinstance(client, SealedClient)
        sent = client.submit(1, upload.name, np.zeros(upload.length, dtype=np.int64))
        assert sum(len(message.payload) for message in sent) == made.client_bytes(upload.name)


def test_an_honest_client_refuses_what_would_be_refused_and_may_clip(played: tuple[Any, dict[str, Session]]) -> None:
    client = played[1]["ada"]
    assert isinstance(client, SealedClient)
    fine = np.full(40, 100)
    with pytest.raises(SubmissionRefused, match=r"the vector has norm 1264, above the plan's 900"):
        client.submit(0, "short", 2 * fine)
    with pytest.raises(SubmissionRefused, match="the noise share has norm 632, above the plan's 400"):
        client.submit(0, "short", fine, fine)
    assert client.submit(0, "short", fine, fine // 2)


# ---- A corrupt client


def poison(parties: dict[str, Session], names: tuple[str, ...], number: int, noise: bool) -> Iterator[Message]:
    """What everybody sends; of the corrupt `names` the vector, or the share of noise, is a thousand times too long."""
    for k, name in enumerate(NAMES):
        client, good, long = parties[name], np.full(40, k), np.full(40, 100_000)
        assert isinstance(client, SealedClient)
        if name not in names:
            yield from client.submit(number, "short", good, good, model=bytes([number]))
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client_module, "require_short", lambda upload, parts: None)
            patch.setattr(pine, "exact_norm_square", lambda vector: 0)
            patch.setattr("crypto.protocols.bookkeeping._fitting", lambda *_: None)
            pair = (good, long) if noise else (long, good)
            signed = client._envelope.sign(client._inner.submit_apart(number, "short", *pair, bytes([number])))  # type: ignore[attr-defined]
        yield from (item for item in signed if isinstance(item, Message))


@pytest.mark.parametrize("noise", [False, True], ids=["vector", "noise"])
def test_a_vector_or_share_of_noise_that_is_too_long_is_left_out_and_named(
    played: tuple[Any, dict[str, Session]], noise: bool
) -> None:
    _, parties = played
    deliver(parties, (), inputs={"server": (Begin(0, "short"),)})
    (outcome,) = deliver(parties, list(poison(parties, ("cyd",), 0, noise)))
    assert isinstance(outcome, Aggregate)
    assert (outcome.contributors, outcome.blamed) == (("ada", "bob", "dan", "eve"), ("cyd",))
    assert outcome.total.tolist() == [2 * (0 + 1 + 3 + 4)] * 40
    # The next sum is checked anew.
    again = run_round(parties, 1, "short", dict.fromkeys(NAMES, np.ones(40, dtype=np.int64)))
    assert isinstance(again, Aggregate)
    assert (again.contributors, again.blamed) == (NAMES, ())


def test_too_many_of_them_end_the_sum_and_are_named(played: tuple[Any, dict[str, Session]]) -> None:
    _, parties = played
    deliver(parties, (), inputs={"server": (Begin(0, "short"),)})
    (outcome,) = deliver(parties, list(poison(parties, ("bob", "cyd"), 0, False)))
    assert isinstance(outcome, Abort)
    assert "3 of 5 vectors are proven to keep the norm's bound, the plan demands more; not: bob, cyd" in outcome.reason


def test_a_helper_that_does_not_look_is_noticed(
    played: tuple[Any, dict[str, Session]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, parties = played
    monkeypatch.setattr(party_module, "agreed", lambda *_: True)
    deliver(parties, (), inputs={"server": (Begin(0, "short"),)})
    (outcome,) = deliver(parties, list(poison(parties, ("cyd",), 0, False)))
    assert isinstance(outcome, Abort)
    assert "disagree on whose norms are proven" in outcome.reason


def bent(data: bytes, rng: np.random.Generator) -> bytes:
    """One bit changed, or another length, or numbers that are no elements of the field."""
    place, kind = int(rng.integers(len(data))), int(rng.integers(6))
    flipped = data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]
    return [data[:-8], data + bytes(8), b"\xff" * len(data), flipped, flipped, flipped][kind]


def test_whatever_an_insider_signs_instead_of_a_proof_leaves_itself_out_alone(
    played: tuple[Any, dict[str, Session]],
) -> None:
    rng, honest = np.random.default_rng(3), client_module.prove
    for trial in range(12):
        _, parties = parties_of((SHORT,))

        def lie(*given: Any, which: int = trial % 2) -> tuple[bytes, bytes]:
            both = list(honest(*given))
            both[which] = bent(both[which], rng)
            return both[0], both[1]

        deliver(parties, (), inputs={"server": (Begin(0, "short"),)})
        sent: list[Message] = []
        for k, name in enumerate(NAMES):
            client = parties[name]
            assert isinstance(client, SealedClient)
            with pytest.MonkeyPatch.context() as patch:
                if name == "cyd":
                    patch.setattr(client_module, "prove", lie)
                sent += client.submit(0, "short", np.full(40, k), model=b"m")
        (outcome,) = deliver(parties, sent)
        assert isinstance(outcome, Aggregate)
        assert (outcome.contributors, outcome.blamed) == (("ada", "bob", "dan", "eve"), ("cyd",))
        assert outcome.total.tolist() == [0 + 1 + 3 + 4] * 40


# ---- What a proof is bound to, and one answer


def test_a_proof_serves_one_place_only(played: tuple[Any, dict[str, Session]]) -> None:
    made, _ = played
    other = parties_of((SHORT, BARE, FREE))[0]
    who = Statement(
        name="ada", attempt=0, model=b"m", nonce=bytes(32), digest=b"", keys=(), capsules=(), wraps=b"", seeds=b""
    )
    here = Place(plan=made, round=0, upload="short")
    places = [(here, who), (replace(here, round=1), who), (replace(here, plan=other), who)]
    changes: list[dict[str, Any]] = [{"name": "bob"}, {"attempt": 1}, {"model": b"n"}, {"nonce": b"1" * 32}]
    places += [(here, replace(who, **change)) for change in changes]
    nonces = [nonce for place, statement in places for nonce in place.nonces(statement)]
    assert len(set(nonces)) == 2 * len(places)
    assert here.nonces(who) == here.nonces(replace(who, digest=b"other"))


def listed(parties: dict[str, Session], number: int) -> Message:
    """The list that an honest server shows the helper."""
    server = parties["server"]._inner  # type: ignore[attr-defined]
    server.on(Begin(number, "short"))
    replies = [item for message in poison(parties, (), number, False) for item in server.on(message)]
    (request,) = replies
    assert isinstance(request, Message)
    return request


def test_a_helper_answers_one_list_one_key_and_one_opinion(played: tuple[Any, dict[str, Session]]) -> None:
    """A second secret point for the same proofs would say something of the vector."""
    _, parties = played
    helper = parties["helper"]._inner  # type: ignore[attr-defined]
    assert isinstance(helper, Helper)
    request = listed(parties, 0)
    (first,) = helper.on(request)
    assert isinstance(first, Message)
    assert first.kind == "pads"
    assert helper.on(request) == (first,)
    key, opinions, entries = unpack_value(request.payload)  # type: ignore[misc]
    other = [b"k" * 32, opinions, entries]
    fewer = [key, opinions[:-1], entries[:-1]]
    bent = [key, [opinions[0][:-1] + b"\x00", *opinions[1:]], entries]
    for changed in (other, fewer, bent):
        (refused,) = helper.on(replace(request, payload=pack_value(changed)))
        assert isinstance(refused, Message)
        assert refused.kind == "refused"
        assert b"another list was answered" in refused.payload


@pytest.mark.parametrize("what", ["no key", "no opinions", "bare list"])
def test_malformed_lists_are_refused_and_use_nothing_up(played: tuple[Any, dict[str, Session]], what: str) -> None:
    _, parties = played
    helper = parties["helper"]._inner  # type: ignore[attr-defined]
    request = listed(parties, 0)
    key, opinions, entries = unpack_value(request.payload)  # type: ignore[misc]
    wrong: object = {"no key": [b"", opinions, entries], "no opinions": [key, [], entries], "bare list": entries}[what]
    (refused,) = helper.on(replace(request, payload=pack_value(wrong)))
    assert refused.kind == "refused"
    (answer,) = helper.on(request)
    assert answer.kind == "pads"


def test_the_server_learns_no_vector_from_the_helpers_opinions(played: tuple[Any, dict[str, Session]]) -> None:
    """Opinions of the same vector differ from sum to sum in every number: they carry fresh randomness."""
    _, parties = played
    helper = parties["helper"]._inner  # type: ignore[attr-defined]
    said = []
    for number in range(3):
        (answer,) = helper.on(listed(parties, number))
        said.append(np.frombuffer(unpack_value(answer.payload)[3][0][:800], dtype="<u8"))  # type: ignore[index]
    assert all((one != other).all() for one, other in combinations(said, 2))


# ---- Plans


def test_plans_that_cannot_be_proven_are_refused() -> None:
    with pytest.raises(PlanRefused, match="helper-2-of-3 cannot check: one server gets a client's vector"):
        plan("helper-2-of-3", NAMES, (BARE,), 1)
    long = Upload(name="long", length=100_000, bound=10**6, norm_bound=1_000_000)
    with pytest.raises(PlanRefused, match="upload 'long': "):
        plan("helper", NAMES, (long,), 1)
    made = plan("helper", NAMES, (SHORT,), 1)
    assert "Each client proves to server and helper" in made.assumption
    assert made.roles == ("server", "helper")
