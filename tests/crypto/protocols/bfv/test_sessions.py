import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from crypto import (
    Abort,
    Aggregate,
    Begin,
    Deadline,
    Message,
    Upload,
    open_client,
    plan,
    run_round,
    set_up,
)
from crypto.errors import CiphertextError, SubmissionRefused
from crypto.keys.randomness import system_random
from crypto.keys.roster import Identity, Trust
from crypto.planning.packing import PLAIN_MODULUS, RING_DEGREE
from crypto.planning.plans import Plan
from crypto.protocols.bfv.keyholder import BfvKeyHolder
from crypto.protocols.bfv.pads import ClientPads, HolderPads, ciphertext_hash, pad, state
from crypto.protocols.bfv.sessions import MAX_FRESH_KEYS, BfvClient, BfvServer, HolderKeys, write_keys
from crypto.protocols.bfv.tenseal_backend import CiphertextSum, KeyPair, encrypt, parse_public_key, release
from crypto.protocols.envelope import SharedPublic
from crypto.protocols.session import ClientSession, Session
from crypto.running.driver import deliver
from crypto.testing import Bench, random_vectors
from crypto.wire.messages import encode
from crypto.wire.values import pack_value, unpack_value

MakeBench = Callable[[Plan], Bench]
SMALL_ORDER = (bytes(32), b"\x01" + bytes(31))


def tiny(**change: object) -> Plan:
    made: dict[str, object] = {
        "protocol": "bfv",
        "clients": ("a", "b", "c"),
        "uploads": (Upload(name="g", length=5, bound=100),),
        "rounds": 9,
    }
    return plan(**(made | {"max_dropouts": 1} | change))  # type: ignore[arg-type]


def shared(client: ClientSession) -> object:
    assert isinstance(client.public, SharedPublic)
    return client.public.of


def listed(payload: bytes) -> list[Any]:
    value = unpack_value(payload)
    assert isinstance(value, list)
    return value


def bare(made: Plan) -> Bench:
    """The sessions themselves, without envelopes around their messages."""
    clients: dict[str, Session] = {name: BfvClient(made, Identity.new(name), system_random) for name in made.clients}
    helpers: dict[str, Session] = {
        "server": BfvServer(made, Trust()),
        "keyholder": BfvKeyHolder(made, Trust(), system_random),
    }
    bench = Bench(made, {**clients, **helpers})
    set_up(bench.parties)
    return bench


def requests_of(bench: Bench, number: int, names: tuple[str, ...]) -> Message:
    """The server's request to the key holder for the sum of these clients."""
    server = bench.parties["server"]
    assert isinstance(server, BfvServer)
    server.on(Begin(number, "g"))
    out: tuple[object, ...] = ()
    for name in names:
        (message,) = bench.client(name).submit(number, "g", np.full(5, 7))
        out += server.on(message)
    if len(names) < 3:
        out += server.on(Deadline(number, "g"))
    (request,) = out
    assert isinstance(request, Message)
    return request


@pytest.mark.parametrize("bound", [2**21 - 1, 2**43 // 4 - 4096])
def test_extreme_sums_fill_the_fields_exactly(bound: int, make_bench: MakeBench) -> None:
    share = bound // 4
    bench = make_bench(
        tiny(clients=("a", "b", "c", "d"), uploads=(Upload(name="g", length=8200, bound=share),), max_dropouts=0)
    )
    for number, sign in enumerate((1, -1)):
        vector = np.full(8200, sign * share)
        outcome = run_round(bench.parties, number, "g", dict.fromkeys(bench.plan.clients, vector))
        assert isinstance(outcome, Aggregate)
        assert (outcome.total == 4 * sign * share).all()


def test_predicted_bytes_are_the_bytes_sent(make_bench: MakeBench) -> None:
    bench = make_bench(tiny(uploads=(Upload(name="g", length=20_000, bound=1000),)))
    (message,) = bench.client("a").submit(0, "g", np.zeros(20_000, dtype=np.int64))
    assert len(message.payload) == bench.plan.client_bytes("g")
    assert len(encode(message)) - len(message.payload) < 280


def test_only_the_key_holder_has_the_secret_key() -> None:
    keys = KeyPair()
    public = parse_public_key(keys.public_bytes())
    assert not public.context.has_secret_key()
    assert not public.context.has_galois_keys()
    assert not public.context.has_relin_keys()
    vector = CiphertextSum(public).parse(encrypt(public, np.zeros(RING_DEGREE, dtype=np.int64)))
    with pytest.raises(ValueError, match="secret_key"):
        vector.decrypt()


def test_a_context_with_a_secret_key_or_other_parameters_is_refused() -> None:
    keys = KeyPair()
    with pytest.raises(CiphertextError):
        parse_public_key(keys._context.serialize(save_secret_key=True, save_galois_keys=False, save_relin_keys=False))
    for bad in (b"", b"\x00" * 50, keys.public_bytes()[:1000], keys.public_bytes() + bytes(5000)):
        with pytest.raises(CiphertextError):
            parse_public_key(bad)


def test_another_modulus_is_refused() -> None:
    import tenseal

    other = tenseal.context(tenseal.SCHEME_TYPE.BFV, RING_DEGREE, plain_modulus=1032193, coeff_mod_bit_sizes=[54, 54])
    raw = other.serialize(save_secret_key=False, save_galois_keys=False, save_relin_keys=False)
    with pytest.raises(CiphertextError, match="other parameters"):
        parse_public_key(raw)


def test_sessions_of_one_process_share_the_parsed_key(make_bench: MakeBench) -> None:
    bench = make_bench(tiny())
    keys = [shared(bench.client(name)) for name in bench.plan.clients]
    assert all(isinstance(key, HolderKeys) for key in keys)
    assert len({id(key.bfv) for key in keys if isinstance(key, HolderKeys)}) == 1
    late = open_client(bench.plan, "a", public=bench.client("b").public)
    assert late.ready
    assert shared(late) is shared(bench.client("b"))


def test_values_that_tenseal_would_alter_are_refused() -> None:
    public = parse_public_key(KeyPair().public_bytes())
    row = np.zeros(RING_DEGREE, dtype=np.int64)
    for value in (-1, PLAIN_MODULUS):
        row[7] = value
        with pytest.raises(CiphertextError):
            encrypt(public, row)
    with pytest.raises(CiphertextError):
        encrypt(public, row[:-1])
    with pytest.raises(CiphertextError, match="empty"):
        CiphertextSum(public).to_bytes()


def test_noise_of_a_fresh_ciphertext_is_what_the_plan_assumes() -> None:
    # SEAL's own count: log2(q / (2 t |noise|)) bits. The plan assumes rounding noise only, |noise| near 60.
    import tenseal.sealapi as seal

    keys = KeyPair()
    public = parse_public_key(keys.public_bytes())
    row = np.full(RING_DEGREE, PLAIN_MODULUS // 2)
    raw = encrypt(public, row)
    vector = CiphertextSum(public).parse(raw)
    meter = seal.Decryptor(keys._context.data.seal_context(), keys._context.secret_key().data)
    assert meter.invariant_noise_budget(vector.ciphertext()[0]) in (8, 9)


def test_submitting_before_the_key_is_refused() -> None:
    made = tiny()
    client = open_client(made, "a")
    assert not client.ready
    assert client.public is None
    with pytest.raises(SubmissionRefused, match="public key"):
        client.submit(0, "g", np.zeros(5, dtype=np.int64))


def test_a_false_key_message_is_ignored_and_the_true_one_taken(caplog: pytest.LogCaptureFixture) -> None:
    made = tiny()
    bench = bare(made)
    holder, client = bench.parties["keyholder"], BfvClient(made, Identity.new("a"), system_random)
    assert isinstance(holder, BfvKeyHolder)
    (_, true) = holder.start()
    assert isinstance(true, Message)
    with caplog.at_level(logging.INFO, "crypto"):
        for false in (
            replace(true, payload=pack_value([0, release(), b"\x00" * 500, listed(true.payload)[3]])),
            replace(true, payload=pack_value([-1, *listed(true.payload)[1:]])),
            replace(true, payload=pack_value([MAX_FRESH_KEYS + 1, *listed(true.payload)[1:]])),
            replace(true, payload=true.payload[:500]),
            replace(true, payload=pack_value([1, 2])),
            replace(true, session="other"),
            replace(true, sender="a"),
        ):
            client.on(false)
            assert not client.ready
    assert "no TenSEAL public key" in caplog.text
    client.on(true)
    first = client.public
    client.on(replace(true, payload=write_keys(0, KeyPair().public_bytes(), listed(true.payload)[3])))
    assert client.public is first


def test_a_key_of_another_tenseal_release_is_refused_with_both_names() -> None:
    made = tiny()
    bench = bare(made)
    holder, client = bench.parties["keyholder"], BfvClient(made, Identity.new("a"), system_random)
    server = BfvServer(made, Trust())
    assert isinstance(holder, BfvKeyHolder)
    (_, true) = holder.start()
    assert isinstance(true, Message)
    number, _, *keys = listed(true.payload)
    for party in (client, server):
        party.on(replace(true, payload=pack_value([number, "0.3.16", *keys])))
    both = f"TenSEAL '0.3.16', this program has '{release()}'"
    with pytest.raises(SubmissionRefused, match=both):
        client.submit(0, "g", np.ones(5, dtype=np.int64))
    (outcome,) = server.on(Begin(0, "g"))
    assert isinstance(outcome, Abort)
    assert both in outcome.reason


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda names, blocks: [names[:1], blocks], "at least 2"),
        (lambda names, blocks: [[names[0], names[0]], blocks], "at least 2"),
        (lambda names, blocks: [[names[0], ["z", *names[1][1:]]], blocks], "not of a client"),
        (lambda names, blocks: [[names[0], ["c", *names[1][1:]]], blocks], "not signed"),
        (lambda names, blocks: [[names[0], [names[1][0], bytes(32), *names[1][2:]]], blocks], "not signed"),
        (lambda names, blocks: [[names[0], [*names[1][:4], bytes(96)]], blocks], "not signed"),
        (lambda names, blocks: [[names[0], "b"], blocks], "malformed"),
        (lambda names, blocks: [names, blocks * 2], "1 ciphertexts"),
        (lambda names, blocks: [names, ["x"]], "bytes"),
        (lambda names, blocks: [names, [blocks[0][:-1]]], "no ciphertext"),
        (lambda names, blocks: [names], "malformed"),
        (lambda names, blocks: 7, "malformed"),
    ],
)
def test_the_key_holder_refuses_bad_requests_and_serves_the_good_one_once(
    edit: Callable[[list[Any], list[bytes]], object], reason: str
) -> None:
    bench = bare(tiny())
    holder = bench.parties["keyholder"]
    assert isinstance(holder, BfvKeyHolder)
    request = requests_of(bench, 0, ("a", "b"))
    number, names, blocks = listed(request.payload)
    edited = edit(names, blocks)
    (refusal,) = holder.on(
        replace(request, payload=pack_value([number, *edited] if isinstance(edited, list) else edited))
    )
    assert isinstance(refusal, Message)
    assert refusal.kind == "refused"
    assert reason in refusal.payload.decode()
    (answer,) = holder.on(request)
    assert isinstance(answer, Message)
    assert answer.kind == "sum"
    assert np.frombuffer(answer.payload, dtype="<i8").tolist() == [14] * 5
    (again,) = holder.on(request)
    assert isinstance(again, Message)
    assert again.kind == "refused"
    assert b"once" in again.payload
    for foreign in (replace(request, session="x"), replace(request, round=99), replace(request, sender="a")):
        assert holder.on(foreign) == ()


def test_statements_of_another_round_are_refused() -> None:
    bench = bare(tiny())
    holder = bench.parties["keyholder"]
    assert isinstance(holder, BfvKeyHolder)
    (answer,) = holder.on(replace(requests_of(bench, 0, ("a", "b")), round=1))
    assert isinstance(answer, Message)
    assert b"not signed" in answer.payload


def test_a_ciphertext_of_another_key_is_noticed() -> None:
    bench = bare(tiny())
    keys = bench.client("b").public
    assert isinstance(keys, HolderKeys)
    other = replace(keys, bfv=parse_public_key(KeyPair().public_bytes()))
    impostor = BfvClient(bench.plan, Identity.new("b"), system_random, other)
    server = bench.parties["server"]
    assert isinstance(server, BfvServer)
    server.on(Begin(0, "g"))
    for client in (bench.client("a"), impostor):
        server.on(*client.submit(0, "g", np.ones(5, dtype=np.int64)))
    (outcome,) = deliver(bench.parties, (), inputs={"server": (Deadline(0, "g"),)})
    assert isinstance(outcome, Abort)
    assert "malformed or of another key" in outcome.reason


def test_malformed_ciphertexts_count_as_not_arrived() -> None:
    bench = bare(tiny())
    holder, client = bench.parties["keyholder"], bench.client("a")
    assert isinstance(holder, BfvKeyHolder)
    assert isinstance(client, BfvClient)
    (good,) = client.submit(0, "g", np.ones(5, dtype=np.int64))
    key, exchange, model, proof, (block,) = listed(good.payload)
    blocks: list[Any] = [[], [block, block], [block[:-1]], [b""], ["text"], [block + b"x" * 1000], [bytes(len(block))]]
    bad: list[bytes] = [pack_value([key, exchange, model, proof, each]) for each in blocks]
    wrong = ([model, bytes(96), [block]], [b"other", proof, [block]], [model, proof])
    bad += [pack_value([key, exchange, *entries]) for entries in wrong]
    bad += [pack_value(7), b"", pack_value([-1, exchange, model, proof, [block]])]
    bad += [state(bench.plan, client._identity, exchange, 0, "g", [bytes(len(block))])]
    # A key of small order for pads, rightly signed, would make the key holder refuse the whole sum.
    bad += [state(bench.plan, client._identity, weak + exchange[32:], 0, "g", [block]) for weak in SMALL_ORDER]
    for payload in bad:
        server = BfvServer(bench.plan, Trust())
        server.on(holder.start()[0])  # type: ignore[arg-type]
        server.on(Begin(0, "g"))
        assert server.on(replace(good, payload=payload)) == ()
        assert server.on(good) == ()
        (outcome,) = server.on(Deadline(0, "g"))
        assert isinstance(outcome, Abort)
        assert outcome.reason.startswith("0 of 3 clients")
        assert outcome.blamed == ("a",)
        assert server.faults["a"].evidence[0].payload == payload


def test_one_client_of_another_model_or_of_nonsense_leaves_the_sum_of_the_others() -> None:
    bench = bare(tiny(clients=("a", "b", "c", "d"), max_dropouts=2))
    server = bench.parties["server"]
    assert isinstance(server, BfvServer)
    server.on(Begin(0, "g"))
    models = {"a": b"one", "b": b"", "c": b"", "d": b""}
    outcomes: list[Any] = []
    for name, model in models.items():
        (sent,) = bench.client(name).submit(0, "g", np.ones(5, dtype=np.int64), model)  # type: ignore[call-arg]
        outcomes += deliver(bench.parties, [replace(sent, payload=b"nonsense") if name == "b" else sent])
    (outcome,) = outcomes or deliver(bench.parties, (), inputs={"server": (Deadline(0, "g"),)})
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [2] * 5
    assert (outcome.contributors, outcome.blamed) == (("c", "d"), ("b",))


def spoil(bench: Bench, number: int) -> Abort | Aggregate:
    """One sum in which a encrypts what no vector is: a slot far beyond every bound."""
    outcomes = deliver(bench.parties, (), inputs={"server": (Begin(number, "g"),)})
    for name in bench.plan.clients:
        client = bench.client(name)
        assert isinstance(client, BfvClient)
        true = client._submissions
        if name == "a":
            client._submissions = lambda: None  # type: ignore[assignment]
            client._submissions.check = lambda *_: None  # type: ignore[method-assign]
        sent = client.submit(number, "g", np.full(5, 10**5 if name == "a" else 1))
        client._submissions = true
        outcomes += deliver(bench.parties, sent)
    (outcome,) = outcomes
    return outcome


def test_a_failure_that_depends_on_decryption_costs_the_key_and_so_many_at_most() -> None:
    made = tiny(rounds=2 * MAX_FRESH_KEYS + 9)
    bench = bare(made)
    holder = bench.parties["keyholder"]
    assert isinstance(holder, BfvKeyHolder)
    seen = set()
    for number in range(MAX_FRESH_KEYS + 1):
        seen.add(holder._keys.public_bytes())  # type: ignore[union-attr]
        outcome = spoil(bench, 2 * number)
        assert isinstance(outcome, Abort)
        assert "leaves the plan's bound" in outcome.reason
        assert outcome.blamed == ()
        if number < MAX_FRESH_KEYS:
            vectors = {name: np.full(5, number) for name in made.clients}
            after = run_round(bench.parties, 2 * number + 1, "g", vectors)
            assert isinstance(after, Aggregate)
            assert after.total.tolist() == [3 * number] * 5
    assert len(seen) == MAX_FRESH_KEYS + 1
    last = spoil(bench, made.rounds - 1)
    assert isinstance(last, Abort)
    assert "open a new session" in last.reason


def test_what_is_refused_before_decryption_costs_no_key() -> None:
    bench = bare(tiny())
    holder = bench.parties["keyholder"]
    assert isinstance(holder, BfvKeyHolder)
    keys = holder._keys
    request = requests_of(bench, 0, ("a", "b"))
    number, names, blocks = listed(request.payload)
    for payload in ([number + 1, names, blocks], [number, names, [b"x" * 60_000]], [number, names[:1], blocks], 7):
        (refusal,) = holder.on(replace(request, payload=pack_value(payload)))
        assert isinstance(refusal, Message)
        assert refusal.kind == "refused"
        assert holder._keys is keys
    assert holder.on(request)[0].kind == "sum"  # type: ignore[union-attr]


def test_ciphertexts_under_the_old_key_are_not_added_to_those_under_the_new() -> None:
    bench = bare(tiny())
    server, holder = bench.parties["server"], bench.parties["keyholder"]
    assert isinstance(server, BfvServer)
    assert isinstance(holder, BfvKeyHolder)
    server.on(Begin(0, "g"))
    server.on(Begin(1, "g"))
    old = {name: bench.client(name).submit(0, "g", np.ones(5, dtype=np.int64)) for name in ("a", "b", "c")}
    server.on(*old["a"])
    renewed = deliver(bench.parties, holder._renew())
    assert [type(outcome) for outcome in renewed] == [Abort]
    assert server.on(*old["b"]) == ()
    late = bench.client("c").submit(1, "g", np.ones(5, dtype=np.int64))
    assert server.on(*late) == ()
    assert server.on(*[replace(m, round=1) for m in old["b"]]) == ()
    fresh = [m for n in ("a", "b") for m in bench.client(n).submit(1, "g", np.ones(5, dtype=np.int64))]
    outcomes = deliver(bench.parties, fresh)
    outcomes = outcomes or deliver(bench.parties, (), inputs={"server": (Deadline(1, "g"),)})
    assert isinstance(outcomes[0], Aggregate)


@pytest.mark.parametrize("shift", [-3, 0, 5])
def test_answers_depend_on_plan_and_honest_sums_alone(shift: int) -> None:
    """Two worlds of equal sum give the same answers, byte for byte, whatever a server adds for itself."""
    answers = []
    for world in ((1, 2, 4), (4, 3, 0)):
        bench = bare(tiny())
        server = bench.parties["server"]
        assert isinstance(server, BfvServer)
        server.on(Begin(0, "g"))
        out: tuple[Any, ...] = ()
        for name, entry in zip(bench.plan.clients, world, strict=True):
            out += server.on(*bench.client(name).submit(0, "g", np.full(5, entry)))
        (request,) = out
        number, names, (block,) = listed(request.payload)
        total = CiphertextSum(server._keys.bfv)  # type: ignore[union-attr]
        total.add(total.parse(block))
        own = np.zeros(RING_DEGREE, dtype=np.int64)
        own[0] = shift % PLAIN_MODULUS
        total.add(total.parse(encrypt(server._keys.bfv, own)))  # type: ignore[union-attr]
        changed = replace(request, payload=pack_value([number, names, [total.to_bytes()]]))
        answer = bench.parties["keyholder"].on(changed)[0]  # type: ignore[union-attr]
        assert isinstance(answer, Message)
        answers.append((answer.kind, answer.payload))
    assert answers[0] == answers[1]
    assert answers[0][0] == "sum"


def test_a_short_answer_of_the_key_holder_aborts() -> None:
    bench = bare(tiny())
    request = requests_of(bench, 0, ("a", "b", "c"))
    server = bench.parties["server"]
    assert isinstance(server, BfvServer)
    assert server.on(Deadline(0, "g")) == ()
    answer = replace(request, sender="keyholder", receiver="server", kind="sum", payload=b"short")
    (outcome,) = server.on(answer)
    assert isinstance(outcome, Abort)
    assert server.on(answer) == ()


def test_a_lost_answer_and_a_missing_key_end_in_an_abort() -> None:
    bench = bare(tiny())
    requests_of(bench, 0, ("a", "b", "c"))
    server = bench.parties["server"]
    assert isinstance(server, BfvServer)
    assert server.on(Deadline(0, "g")) == ()
    (outcome,) = server.on(Deadline(0, "g"))
    assert isinstance(outcome, Abort)
    assert "did not answer" in outcome.reason
    (outcome,) = BfvServer(bench.plan, Trust()).on(Begin(0, "g"))
    assert isinstance(outcome, Abort)
    assert "public key" in outcome.reason


def cheat(actual: tuple[str, ...], named: tuple[str, ...]) -> tuple[Message, npt.NDArray[np.int64]]:
    """A server that adds the ciphertexts of `actual` but shows the statements of `named`: the key holder's answer,
    and what it decrypted before it checked the bound."""
    bench = bare(tiny(clients=("a", "b", "c", "d"), max_dropouts=2))
    holder = bench.parties["keyholder"]
    assert isinstance(holder, BfvKeyHolder)
    keys = bench.client("a").public
    assert isinstance(keys, HolderKeys)
    parts = {name: listed(bench.client(name).submit(0, "g", np.full(5, 7))[0].payload) for name in bench.plan.clients}
    total = CiphertextSum(keys.bfv)
    for name in actual:
        total.add(total.parse(parts[name][4][0]))
    statements = [[name, ciphertext_hash(parts[name][4]), *parts[name][1:4]] for name in named]
    payload = pack_value([0, statements, [total.to_bytes()]])
    agreed = [holder._padding.key(entry[0], entry[2]) for entry in statements]
    pads = sum(pad(key, 0, "g", 1) for key in agreed)
    assert holder._keys is not None
    decrypted = (holder._keys.decrypt(total.to_bytes()) - pads) % PLAIN_MODULUS
    answer, *_ = holder.on(
        Message(
            sender="server",
            receiver="keyholder",
            kind="open",
            session=bench.plan.session,
            round=0,
            upload="g",
            payload=payload,
        )
    )
    assert isinstance(answer, Message)
    (again,) = holder.on(
        Message(
            sender="server",
            receiver="keyholder",
            kind="open",
            session=bench.plan.session,
            round=0,
            upload="g",
            payload=payload,
        )
    )
    assert isinstance(again, Message)
    assert b"once" in again.payload
    return answer, decrypted[0]


@pytest.mark.parametrize(
    ("actual", "named"),
    [
        (("a",), ("a", "b")),
        (("a", "b"), ("a", "c")),
        (("a", "b", "c"), ("a", "b")),
        (("a", "b"), ("a", "b", "c", "d")),
        (("a", "a", "b"), ("a", "b")),
        (("c", "d"), ("a", "b")),
    ],
    ids=["sum-of-one", "other-subset", "one-more", "fewer", "doubled-client", "disjoint"],
)
def test_a_cheating_server_gets_noise(actual: tuple[str, ...], named: tuple[str, ...]) -> None:
    answer, decrypted = cheat(actual, named)
    assert answer.kind == "refused"
    # Uniform modulo t: of 4,096 slots, those in the lowest quarter are 1,024 with standard deviation 28.
    assert abs(int((decrypted < PLAIN_MODULUS // 4).sum()) - 1024) < 200
    assert len(np.unique(decrypted)) > 4090


def test_an_honest_server_gets_the_sum_in_the_same_way() -> None:
    answer, decrypted = cheat(("a", "b", "d"), ("a", "b", "d"))
    assert answer.kind == "sum"
    assert np.frombuffer(answer.payload, dtype="<i8").tolist() == [21] * 5
    assert not decrypted[5:].any()


def test_pads_agree_and_differ_by_sum_and_chunk() -> None:
    plans = [tiny(session=session) for session in ("s", "t")]
    holder, client = HolderPads(plans[0], system_random), ClientPads(plans[0], "a", system_random)
    capsule, key = client.agreed(holder.public)
    assert client.agreed(holder.public) == (capsule, key)
    assert key == holder.key("a", capsule)
    assert len({key, holder.key("b", capsule), ClientPads(plans[1], "a", system_random).agreed(holder.public)[1]}) == 3
    rows = [pad(key, number, upload, 2) for number in (0, 1) for upload in ("g", "h")]
    flat = [tuple(row[:8]) for pair in rows for row in pair]
    assert len(set(flat)) == 8
    for row in rows:
        assert row.min() >= 0
        assert row.max() < PLAIN_MODULUS
    assert (pad(key, 0, "g", 2) == rows[0]).all()
    for weak in (bytes(32) + capsule[32:], b"short"):
        with pytest.raises(CiphertextError, match="a usable X25519 key"):
            holder.key("a", weak)
        with pytest.raises(CiphertextError, match="no usable pair"):
            client.agreed(weak)


@pytest.mark.slow
def test_a_thousand_clients_at_the_extremes(make_bench: MakeBench) -> None:
    names = tuple(f"c{i}" for i in range(1000))
    bench = make_bench(
        tiny(clients=names, uploads=(Upload(name="g", length=2 * RING_DEGREE, bound=2**21 // 1000),), rounds=1)
    )
    vectors = random_vectors(bench.plan, bench.plan.uploads[0], "thousand")
    outcome = run_round(bench.parties, 0, "g", vectors)
    assert isinstance(outcome, Aggregate)
    assert np.array_equal(outcome.total, np.sum(list(vectors.values()), axis=0))
