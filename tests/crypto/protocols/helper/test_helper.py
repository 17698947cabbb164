"""What a helper answers, and what it never does; each law fails on a helper or client that was made wrong for it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Aggregate, Message, Upload, open_client, open_party, plan
from crypto.errors import PlanRefused, SubmissionRefused
from crypto.protocols.bookkeeping import Released
from crypto.protocols.helper import client as client_module
from crypto.protocols.helper import party as party_module
from crypto.protocols.helper.party import Helper
from crypto.protocols.helper.shape import Shape, shape_of
from crypto.protocols.helper.statements import Statement
from crypto.protocols.masks import MemoryJournal
from crypto.protocols.masks.adding import unpack_bits
from crypto.protocols.masks.bits import pack_bits
from crypto.running.driver import deliver
from crypto.wire.values import pack_value, unpack_value

NAMES = ("ada", "bob", "cyd", "dan", "eve")
MODEL = b"digest of a model"
MakeKit = Callable[[str], Any]


def entries_of(messages: Mapping[str, Message]) -> list[object]:
    """The list that a server would show for these vectors."""
    found: list[object] = []
    for name, message in messages.items():
        parts = unpack_value(message.payload)
        assert isinstance(parts, list)
        found.append([name, *parts[:-1]])
    return found


def inner(kit: Any, role: str = "helper") -> Helper:
    found = kit.parties[role]._inner
    assert isinstance(found, Helper)
    return found


def ask(kit: Any, number: int, messages: Mapping[str, Message], role: str = "helper") -> Message:
    """What a helper answers to the list of these vectors, whoever vouches for the server."""
    request = Message(
        sender="server", receiver=role, kind="list", session=kit.plan.session, round=number, upload="counts",
        payload=pack_value(entries_of(messages)),
    )  # fmt: skip
    (answer,) = inner(kit, role).on(request)
    assert isinstance(answer, Message)
    return answer


def without(messages: Mapping[str, Message], *names: str) -> dict[str, Message]:
    return {name: message for name, message in messages.items() if name not in names}


def forgetful(self: Helper, *_: object) -> None:
    """A helper that answers any list that is well signed."""


# ---- Two lists


def two_lists(kit: Any) -> None:
    sent = kit.send(0)
    first = ask(kit, 0, sent)
    assert first.kind == "pads"
    assert ask(kit, 0, sent) == first
    for other in (without(sent, "eve"), without(sent, "ada", "bob"), dict(reversed(sent.items()))):
        refused = ask(kit, 0, other)
        assert refused.kind == "refused"
        assert b"another list was answered" in refused.payload
    assert ask(kit, 0, sent) == first


def test_two_lists(kit: Any) -> None:
    two_lists(kit)


def test_two_lists_of_a_helper_that_answers_both_are_found(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Helper, "_claim", forgetful)
    with pytest.raises(AssertionError):
        two_lists(kit)


def test_two_lists_would_give_one_client_away(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why the law is there: the server subtracts two answers, and the two sums of padded vectors.
    monkeypatch.setattr(Helper, "_claim", forgetful)
    bits, padded = kit.plan.ring_bits("counts"), {}
    for name, message in (sent := kit.send(0)).items():
        parts = kit.parties["server"]._inner._parts(message)
        padded[name] = unpack_bits(parts[2], 3, bits).astype(np.int64)
    pads = [unpack_bits(unpack_value(ask(kit, 0, each).payload)[1][0], 3, bits).astype(np.int64)  # type: ignore[index]
            for each in (sent, without(sent, "eve"))]  # fmt: skip
    assert ((padded["eve"] - pads[0] + pads[1]) % (1 << bits)).tolist() == [5, 5, 5]


# ---- A list after a restart


def list_after_restart(kit: Any) -> None:
    sent = kit.send(0)
    assert ask(kit, 0, sent).kind == "pads"
    kit.restart("helper")
    # What was sent before was padded for keys that are gone.
    assert b"another key" in ask(kit, 0, sent).payload
    for name in NAMES:
        # Clients that lost everything, their journals too, take the new keys and send again.
        kit.journals[name] = MemoryJournal()
        kit.restart(name)
        kit.parties[name].on(kit.parties["server"].start()[0])
    kit.restart("helper")
    again = kit.send(0, model=b"another model")
    for chosen in (again, without(again, "eve")):
        refused = ask(kit, 0, chosen)
        assert refused.kind == "refused"
        assert b"before a restart" in refused.payload
    assert ask(kit, 1, kit.send(1)).kind == "refused"
    assert ask(kit, 1, {}).kind == "refused"
    assert ask(kit, 2, kit.send(2, model=b"a third model")).kind == "pads"


def test_list_after_restart(kit: Any) -> None:
    list_after_restart(kit)


def test_a_list_after_a_restart_is_found_if_the_helper_writes_nothing_down(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(party_module, "claim_list", lambda *_: True)
    with pytest.raises(AssertionError):
        list_after_restart(kit)


# ---- Replay to another plan


def replay_to_another_plan(kit: Any, make: MakeKit) -> None:
    sent = kit.send(0)
    for change in ({"rounds": 201}, {"max_dropouts": 1}):
        arguments = {"rounds": 200, "max_dropouts": 2} | change
        other = plan("helper", NAMES, kit.plan.uploads, session=kit.plan.session, roster=kit.plan.roster, **arguments)
        twin = make("helper")
        twin.plan, twin.identities = other, kit.identities
        twin.journals.clear()
        deliver(twin.parties, [item for name in (*other.clients, *other.roles) for item in twin.open(name)])
        refused = ask(twin, 0, sent)
        assert refused.kind == "refused"
        assert b"not signed by it" in refused.payload
        assert twin.parties["helper"].on(kit.parties["server"]._envelope.sign([sent["ada"]])[0]) == ()
    assert ask(kit, 1, sent).kind == "refused"
    assert ask(kit, 0, sent).kind == "pads"


def test_replay_to_another_plan(kit: Any, make_kit: MakeKit) -> None:
    replay_to_another_plan(kit, make_kit)


def test_a_replay_to_another_plan_is_found_if_statements_do_not_name_it(
    kit: Any, make_kit: MakeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Statement, "signed_bytes", lambda self, plan, round, upload: self.nonce)
    with pytest.raises(AssertionError):
        replay_to_another_plan(kit, make_kit)


# ---- Sent again after a crash


def resend_after_a_crash(kit: Any) -> None:
    first = kit.client("ada").submit(0, "update", np.zeros(901, dtype=np.int64), model=MODEL)[0]
    kit.restart("ada")
    deliver({"ada": kit.parties["ada"]}, [*kit.parties["server"].start(), *inner(kit).start()])
    kit.parties["ada"]._inner._public = kit.parties["bob"]._inner._public
    again = kit.client("ada").submit(0, "update", np.zeros(901, dtype=np.int64), model=MODEL)[0]
    server = kit.parties["server"]._inner
    one, two = (server._parts(message) for message in (first, again))
    assert (one[0].attempt, two[0].attempt) == (0, 1)
    assert one[0].nonce != two[0].nonce
    bits = kit.plan.ring_bits("update")
    difference = unpack_bits(one[2], 901, bits) - unpack_bits(two[2], 901, bits)
    # Two vectors of zeros under one pad would differ by zeros.
    assert np.count_nonzero(difference) > 890
    assert len(np.unique(difference)) > 890
    others = [kit.client(n).submit(0, "update", np.ones(901, dtype=np.int64), model=MODEL)[0] for n in NAMES[1:]]
    from crypto.wire.messages import Begin

    outcomes = deliver(kit.parties, (), inputs={"server": (Begin(0, "update"),)})
    outcomes += deliver(kit.parties, [again, first, *others])
    (outcome,) = outcomes
    assert isinstance(outcome, Aggregate)
    assert (outcome.total == 4).all()
    with pytest.raises(SubmissionRefused, match="already submitted"):
        kit.client("ada").submit(0, "update", np.zeros(901, dtype=np.int64))


def test_resend_after_a_crash(kit: Any) -> None:
    resend_after_a_crash(kit)


def test_a_pad_that_is_used_twice_after_a_crash_is_found(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "claim_attempt", lambda *_: 0)
    with pytest.raises(AssertionError):
        resend_after_a_crash(kit)


def test_equal_pads_are_found_after_a_crash(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "pad_key", lambda secret, pad: bytes(32))
    with pytest.raises(AssertionError):
        resend_after_a_crash(kit)


def test_the_claim_is_on_record_before_anything_is_sent(kit: Any) -> None:
    class Full(MemoryJournal):
        def claim(self, entry: str) -> bool:
            raise OSError("no space")

    kit.parties["ada"]._inner._journal = Full()
    with pytest.raises(OSError, match="no space"):
        kit.client("ada").submit(0, "counts", np.ones(3, dtype=np.int64))
    helper, sent = inner(kit), kit.send(1, NAMES[1:])
    helper._journal = Full()
    with pytest.raises(OSError, match="no space"):
        ask(kit, 1, sent)
    assert (1, "counts") not in helper._answered


# ---- One bit of the model changed


def one_bit_of_the_model_changed(kit: Any) -> None:
    changed = bytes([MODEL[0] ^ 1, *MODEL[1:]])
    sent = kit.send(0, NAMES[:4])
    mixed = {**sent, **kit.send(0, NAMES[4:], changed)}
    refused = ask(kit, 0, mixed)
    assert refused.kind == "refused"
    assert b"belong to 2 models" in refused.payload
    # The honest server leaves the one out that names another model.
    (outcome,) = kit.sum(0, mixed)
    assert isinstance(outcome, Aggregate)
    assert outcome.contributors == NAMES[:4]
    # A list at the changed model is a second list, and so is one of other attempts.
    for name in NAMES:
        kit.journals[name] = MemoryJournal()
        public = kit.parties[name]._inner._public
        kit.open(name)
        kit.parties[name]._inner._public = public
    again = ask(kit, 0, kit.send(0, model=changed))
    assert again.kind == "refused"


def test_one_bit_of_the_model_changed(kit: Any) -> None:
    one_bit_of_the_model_changed(kit)


def test_a_helper_that_keeps_lists_by_model_is_found(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_model(self: Helper, key: object, statements: list[Statement], asked: bytes) -> None:
        answered: dict[object, bytes] = self.__dict__.setdefault("by_model", {})
        if answered.setdefault((key, statements[0].model), asked) != asked:
            raise party_module.Refused("another list")

    monkeypatch.setattr(Helper, "_claim", by_model)
    with pytest.raises(AssertionError):
        one_bit_of_the_model_changed(kit)


# ---- A helper that was restored


def helper_restored(kit: Any) -> None:
    sent = kit.send(0)
    assert ask(kit, 0, sent).kind == "pads"
    # Set back to before its start, or to nothing: it draws keys that no vector was padded with.
    kit.restart("helper", MemoryJournal())
    for chosen in (sent, without(sent, "eve")):
        assert b"another key" in ask(kit, 0, chosen).payload
    # No client takes the keys of a start that it has seen, so it gets no vector in this session.
    later = kit.send(1)
    assert b"another key" in ask(kit, 1, later).payload
    (outcome,) = kit.sum(1, later)
    assert isinstance(outcome, Abort)
    # Nor does a client that starts again show it a second vector for a sum under other keys.
    kit.open("ada")
    deliver({"ada": kit.parties["ada"]}, kit.parties["server"].start())
    kit.parties["ada"].on(kit.parties["helper"]._envelope.sign(inner(kit).start())[0])
    assert kit.client("ada").ready
    with pytest.raises(SubmissionRefused, match="under other keys"):
        kit.client("ada").submit(0, "counts", np.ones(3, dtype=np.int64))


def test_helper_restored(kit: Any) -> None:
    helper_restored(kit)


def test_a_restored_helper_that_kept_its_keys_is_found(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = inner(kit)._keys
    monkeypatch.setattr(party_module, "HybridKey", lambda random: kept)
    with pytest.raises(AssertionError):
        helper_restored(kit)


def test_a_helper_that_starts_again_with_its_journal_serves_later_sums(kit: Any) -> None:
    before = kit.send(0)
    kit.restart("helper")
    (lost,) = kit.sum(0, before)
    assert isinstance(lost, Abort)
    assert "another key" in lost.reason
    (outcome,) = kit.sum(1, kit.send(1, model=b"next"))
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [15] * 3


# ---- What else a helper refuses


def test_lists_that_are_too_short_doubled_or_of_strangers_are_refused(kit: Any) -> None:
    sent = kit.send(0)
    entries = entries_of(sent)
    assert isinstance(entries[0], list)
    stranger = ["zoe", *entries[0][1:]]
    for bad, why in (
        (entries[:2], b"at least 3"),
        ([entries[0], *entries[:3]], b"at least 3"),
        ([*entries[:4], stranger], b"not of a client"),
        ([*entries[:4], ["ada", *entries[1][1:]]], b"not signed by it"),  # type: ignore[index]
        ([*entries[:4], entries[4][:-2]], b"malformed"),  # type: ignore[index]
        (7, b"malformed"),
    ):
        request = Message(
            sender="server", receiver="helper", kind="list", session=kit.plan.session, round=0, upload="counts",
            payload=pack_value(bad),
        )  # fmt: skip
        (answer,) = inner(kit).on(request)
        assert isinstance(answer, Message)
        assert answer.kind == "refused"
        assert why in answer.payload
        for other in (replace(request, sender="ada"), replace(request, session="x"), replace(request, round=200)):
            assert inner(kit).on(other) == ()
    assert ask(kit, 0, sent).kind == "pads"


def test_a_helper_that_shifts_its_sum_is_not_noticed_and_one_that_leaves_the_bound_is(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, bits = Helper._pads, kit.plan.ring_bits("counts")
    for number, shift in enumerate((1, 14)):

        def shifted(self: Helper, item: Message, secrets: Any, shift: int = shift) -> bytes:
            digest, (packed,) = unpack_value(true(self, item, secrets))  # type: ignore[misc]
            return pack_value([digest, [bytes(pack_bits(unpack_bits(packed, 3, bits) - shift, bits))]])

        monkeypatch.setattr(Helper, "_pads", shifted)
        (outcome,) = kit.sum(number, kit.send(number, model=b"%d" % number))
        if shift == 1:
            # The assumption says so.
            assert isinstance(outcome, Aggregate)
            assert outcome.total.tolist() == [16] * 3
            assert "shift a sum unnoticed" in kit.plan.assumption
        else:
            assert isinstance(outcome, Abort)


def test_a_plan_without_a_roster_opens_no_session() -> None:
    loose = plan("helper", NAMES, (Upload(name="g", length=3, bound=5),), 1)
    for open_one in (lambda: open_client(loose, "ada"), lambda: open_party(loose, "helper")):
        with pytest.raises(PlanRefused, match="pinned identities"):
            open_one()


def test_the_planned_bytes_are_those_that_are_sent(make_kit: MakeKit) -> None:
    for protocol in ("helper", "helper-2-of-2", "helper-2-of-3", "helper-3-of-4"):
        kit = make_kit(protocol)
        for upload in kit.plan.uploads:
            zeros = np.zeros(upload.length, dtype=np.int64)
            (message,) = kit.client("ada").submit(0, upload.name, zeros)
            assert len(message.payload) == kit.plan.client_bytes(upload.name)


def test_a_helper_takes_fewer_bytes_than_ciphertexts() -> None:
    upload = Upload(name="g", length=1_000_000, bound=1 << 15)
    sizes = [plan(protocol, NAMES, (upload,), 1).client_bytes("g") for protocol in ("bfv", "helper")]
    assert sizes[0] > 2.8 * sizes[1]


# ---- Several helpers


@pytest.mark.parametrize(("protocol", "gone"), [("helper-2-of-3", 1), ("helper-3-of-4", 1), ("helper-4-of-5", 1)])
def test_as_many_helpers_as_planned_may_be_missing(protocol: str, gone: int, make_kit: MakeKit) -> None:
    kit = make_kit(protocol)
    helpers = kit.plan.roles[1:]
    for number, missing in enumerate(helpers):
        parties = kit.parties
        kit.parties = {name: party for name, party in parties.items() if name != missing}
        (outcome,) = kit.sum(number, kit.send(number, model=b"%d" % number))
        assert isinstance(outcome, Aggregate), missing
        assert outcome.total.tolist() == [15] * 3
        kit.parties = parties
    kit.parties = {name: party for name, party in kit.parties.items() if name not in helpers[: gone + 1]}
    (outcome,) = kit.sum(50, kit.send(50, model=b"last"))
    assert isinstance(outcome, Abort)
    assert "did not answer" in outcome.reason


def test_fewer_helpers_than_must_answer_lack_a_pad() -> None:
    for h in range(1, 6):
        for t in range(h // 2 + 1, h + 1):
            shape = Shape(threshold=t, helpers=h)
            for pad, holders in enumerate(shape.pads):
                assert len(holders) == h - t + 1
                assert all(pad in shape.held(place) for place in holders)
            from itertools import combinations

            for group in combinations(range(h), t):
                assert {pad for place in group for pad in shape.held(place)} == set(range(len(shape.pads)))
            for group in combinations(range(h), t - 1):
                assert {pad for place in group for pad in shape.held(place)} != set(range(len(shape.pads)))


def two_lists_at_two_helpers(shape: Shape, corrupt: int) -> bool:
    """Whether a server that tells honest helpers different lists can open two, corrupt ones answering both."""
    from itertools import product

    honest = range(corrupt, shape.helpers)
    for told in product((0, 1), repeat=len(honest)):
        answered = [set(range(corrupt)) | {h for h, which in zip(honest, told, strict=True) if which == each}
                    for each in (0, 1)]  # fmt: skip
        if all({pad for place in group for pad in shape.held(place)} == set(range(len(shape.pads)))
               for group in answered):  # fmt: skip
            return True
    return False


def test_as_many_helpers_as_tolerated_may_answer_two_lists() -> None:
    for h in range(1, 6):
        for t in range(h // 2 + 1, h + 1):
            shape = Shape(threshold=t, helpers=h)
            assert not two_lists_at_two_helpers(shape, shape.tolerated)
            assert two_lists_at_two_helpers(shape, shape.tolerated + 1)
            said = plan(f"helper-{t}-of-{h}", NAMES, (Upload(name="g", length=3, bound=5),), 1) if h > 1 else None
            assert said is None or t == h or f"At most {shape.tolerated} of them" in said.assumption


def test_shapes_that_hold_nothing_together_are_refused() -> None:
    assert shape_of("helper") == Shape(threshold=1, helpers=1)
    assert shape_of("helper-2-of-3") == Shape(threshold=2, helpers=3)
    for name in ("helpers", "helper-0-of-1", "helper-2", "secagg", "helper-2-of-33"):
        assert shape_of(name) is None
    for name, why in (
        ("helper-1-of-2", "half of them could open one list"),
        ("helper-2-of-4", "ask 3 of them"),
        ("helper-3-of-2", "choose 1 to 5 helpers"),
        ("helper-6-of-6", "choose 1 to 5 helpers"),
        ("helper-1-of-1", "is 'helper'"),
    ):
        with pytest.raises(PlanRefused, match=why):
            plan(name, NAMES, (Upload(name="g", length=3, bound=5),), 1)


def test_a_client_of_false_seeds_is_named_and_left_out(make_kit: MakeKit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = make_kit("helper-2-of-3")
    true = client_module.wrap
    with monkeypatch.context() as patch:
        patch.setattr(client_module, "wrap", lambda key, pad, seed: true(key, pad, seed[::-1]))
        bad = kit.send(0, ("bob",))
    (outcome,) = kit.sum(0, {**kit.send(0, ("ada", "cyd", "dan", "eve")), **bad})
    assert isinstance(outcome, Abort)
    assert outcome.blamed == ("bob",)
    (outcome,) = kit.sum(1, kit.send(1, model=b"next"))
    assert isinstance(outcome, Aggregate)
    assert outcome.contributors == ("ada", "cyd", "dan", "eve")


def test_helpers_that_give_different_sums_of_one_pad_end_the_sum(
    make_kit: MakeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = make_kit("helper-2-of-3")
    helper, bits = inner(kit, "helper1"), kit.plan.ring_bits("counts")
    true = helper._pads

    def shifted(item: Message, secrets: Any) -> bytes:
        digest, sums = unpack_value(true(item, secrets))  # type: ignore[misc]
        return pack_value([digest, [bytes(pack_bits(unpack_bits(each, 3, bits) + 1, bits)) for each in sums]])

    monkeypatch.setattr(helper, "_pads", shifted)
    (outcome,) = kit.sum(0, kit.send(0))
    assert isinstance(outcome, Abort)
    assert "different sums of one pad" in outcome.reason


def test_the_digest_of_a_vector_tells_a_helper_nothing(kit: Any) -> None:
    # A helper knows the pad and the statement: without the blinder it could try vectors until the digest fits.
    (one,), (two,) = (kit.client(name).submit(0, "counts", np.ones(3, dtype=np.int64)) for name in ("ada", "bob"))
    server = kit.parties["server"]._inner
    for message in (one, two):
        statement, _, packed = server._parts(message)
        from hashlib import sha256

        assert sha256(packed).digest() != statement.digest
        assert packed not in message.payload
        box = unpack_value(message.payload)[-1]  # type: ignore[index]
        assert len(box) > len(packed) + 32


def test_released_cohorts_of_an_older_session_are_remembered_by_a_helper(kit: Any, make_kit: MakeKit) -> None:
    assert isinstance(kit.sum(0, kit.send(0))[0], Aggregate)
    later = make_kit("helper")
    inner(later)._released = Released("helper", kit.journals["helper"])
    (outcome,) = later.sum(0, later.send(0))
    assert isinstance(outcome, Abort)
    assert "summed at this model" in outcome.reason
    assert Released("helper", kit.journals["helper"]).take(3, "counts", MODEL, ["ada"])
