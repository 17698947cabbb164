"""The norm check: its parts by themselves, then with CrypTen and a dealer in processes of their own."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import Abort, Aggregate, Message, Upload, open_client, open_party, plan, plan_roles, run_round, set_up
from crypto.errors import PlanRefused
from crypto.planning.norms import REPETITIONS, directions, exact_norm_square, largest_norm, project, projection_bound
from crypto.protocols.envelope import SealedClient
from crypto.protocols.mpc.client import MpcClient
from crypto.running.driver import Party, deliver
from crypto.running.processes import child_environment, host_parties
from crypto.running.rehearsal import rehearse
from crypto.wire.messages import Begin, Deadline

Ints = npt.NDArray[np.int64]
WRAP = 2**32


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_norms_are_exact(values: list[int]) -> None:
    assert exact_norm_square(np.array(values, dtype=np.int64)) == sum(value**2 for value in values)


def test_long_norms_are_exact() -> None:
    vector = np.full(200_000, 2**24 - 1)
    assert exact_norm_square(vector) == 200_000 * (2**24 - 1) ** 2


def test_directions_have_the_stated_distribution() -> None:
    drawn = directions(bytes(32), 100_000)
    assert drawn.shape == (REPETITIONS, 100_000)
    for value, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        deviation = abs((drawn == value).mean() - share)
        assert deviation < 5 * (share * (1 - share) / drawn.size) ** 0.5
    assert (directions(b"\x01" * 32, 100) != drawn[:, :100]).any()


@given(st.integers(1, 5), st.integers(1, 20_000), st.binary(min_size=32, max_size=32))
@settings(max_examples=20, deadline=None)
def test_projections_are_linear_modulo_the_ring(rows: int, length: int, seed: bytes) -> None:
    source = np.random.default_rng(length)
    one = source.integers(-(2**63), 2**63 - 1, (rows, length))
    two = source.integers(-(2**63), 2**63 - 1, (rows, length))
    assert (project(one + two, seed) == project(one, seed) + project(two, seed)).all()


def passes(vector: Ints, bound: int, seed: bytes) -> bool:
    projected = project(vector[None], seed)
    return int(projected.max()) <= projection_bound(bound) and int(projected.min()) >= -projection_bound(bound)


@pytest.mark.parametrize("seed", range(10))
def test_honest_vectors_pass_and_every_wrap_is_caught(seed: int) -> None:
    key = seed.to_bytes(32, "big")
    bound, length = 1000, 3000
    source = np.random.default_rng(seed)
    honest = [np.full(length, int(bound / length**0.5)), np.eye(1, length, seed, dtype=np.int64)[0] * bound]
    honest.append((source.standard_normal(length) * bound / length**0.5 * 0.9).astype(np.int64))
    assert all(passes(vector, bound, key) for vector in honest)
    wraps = np.zeros(length, dtype=np.int64)
    wraps[seed] = WRAP
    pairs = np.zeros(length, dtype=np.int64)
    pairs[:4] = 2**31
    half = np.zeros(length, dtype=np.int64)
    half[-1] = -(2**63)
    for vector in (wraps, pairs, half, wraps + honest[2]):
        assert not passes(vector, bound, key)


def test_the_naive_check_is_fooled_by_wrapping() -> None:
    # Why the projections are there: the sum of squares modulo 2^64 of this vector is 0.
    vector = np.array([WRAP, 0, 0])
    assert int((vector * vector).sum()) == 0
    assert exact_norm_square(vector) == 2**64


def test_bounds_that_could_wrap_are_refused_by_the_plan() -> None:
    largest = largest_norm(65_536)
    assert 4 * 65_536 * projection_bound(largest) ** 2 < 2**63
    plan(
        "mpc",
        ("a", "b"),
        (Upload(name="g", length=65_536, bound=100, noise_bound=0, noise_excess=0.0, norm_bound=largest),),
        1,
    )
    with pytest.raises(PlanRefused, match="could wrap above"):
        plan(
            "mpc",
            ("a", "b"),
            (Upload(name="g", length=65_536, bound=100, noise_bound=0, noise_excess=0.0, norm_bound=largest + 1),),
            1,
        )
    with pytest.raises(PlanRefused, match="which bfv cannot check"):
        plan(
            "bfv",
            ("a", "b"),
            (Upload(name="g", length=4, bound=100, noise_bound=0, noise_excess=0.0, norm_bound=100),),
            1,
        )
    for norm, noise_norm in ((-1, 0), (0, 5)):
        with pytest.raises(PlanRefused, match="norm bounds"):
            plan(
                "mpc",
                ("a", "b"),
                (Upload(name="g", length=4, bound=100, norm_bound=norm, noise_norm_bound=noise_norm),),
                1,
            )


def test_the_dealer_is_a_role_only_when_norms_are_checked() -> None:
    made = plan(
        "mpc", ("a", "b"), (Upload(name="g", length=4, bound=100, noise_bound=0, noise_excess=0.0, norm_bound=100),), 1
    )
    assert plan_roles(made) == ("server", "compute0", "compute1", "dealer")
    assert "one accept bit for each client" in made.assumption
    unchecked = plan("mpc", ("a", "b"), (Upload(name="g", length=4, bound=100),), 1)
    assert plan_roles(unchecked) == ("server", "compute0", "compute1")


def unclipped(client: object, number: int, vector: Ints, noise: Ints) -> tuple[Message, ...]:
    """What a client sends that goes around its own session's checks."""
    assert isinstance(client, SealedClient)
    inner = client._inner
    assert isinstance(inner, MpcClient)
    sent = client._envelope.sign(inner._split(number, "g", np.concatenate([vector, noise]), b""))
    return tuple(item for item in sent if isinstance(item, Message))


def test_poison_is_refused_on_shares_by_real_processes() -> None:
    length, bound, noise_bound = 500, 3000, 1000
    upload = Upload(
        name="g",
        length=length,
        bound=bound,
        noise_bound=noise_bound,
        noise_excess=0.0,
        norm_bound=bound,
        noise_norm_bound=noise_bound,
    )
    made = plan("mpc", ("a", "b", "c", "d"), (upload,), 9, max_dropouts=1)
    source = np.random.default_rng(1)
    vectors = {name: source.integers(-90, 90, length) for name in made.clients}
    noises = {name: source.integers(-30, 30, length) for name in made.clients}
    zero = np.zeros(length, dtype=np.int64)
    wrap = zero.copy()
    wrap[7] = WRAP
    spread = zero.copy()
    spread[:4] = 2**31
    with host_parties(made) as hosted:
        assert set(hosted.parties) == {"server", "compute0", "compute1", "dealer"}
        clients = {name: open_client(made, name) for name in made.clients}
        parties: dict[str, Party] = {**clients, **hosted.parties}
        set_up(parties)
        outcome = run_round(parties, 0, "g", vectors, noise=noises)
        assert isinstance(outcome, Aggregate)
        assert outcome.contributors == made.clients
        assert np.array_equal(outcome.total, sum((vectors[n] + noises[n] for n in made.clients), start=zero))
        cases = [(100 * vectors["b"], zero), (wrap, zero), (spread, zero), (zero, 100 * noises["b"]), (zero, wrap)]
        cases.append((np.full(length, -(2**63)), zero))
        for number, (vector, noise) in enumerate(cases, start=1):
            deliver(parties, (), inputs={"server": (Begin(number, "g"),)})
            for name in ("a", "c", "d"):
                deliver(parties, clients[name].submit(number, "g", vectors[name], noises[name]), settle=False)
            outcomes = deliver(parties, unclipped(clients["b"], number, vector, noise))
            (outcome,) = outcomes or deliver(parties, (), inputs={"server": (Deadline(number, "g"),)})
            assert isinstance(outcome, Aggregate)
            assert outcome.contributors == ("a", "c", "d")
            expected = sum((vectors[n] + noises[n] for n in ("a", "c", "d")), start=zero)
            assert np.array_equal(outcome.total, expected)


@pytest.mark.parametrize("corrupt", [("b",), ("b", "d")])
def test_who_exceeds_the_bound_is_named_and_may_send_again(corrupt: tuple[str, ...]) -> None:
    upload = Upload(name="g", length=4, bound=1000, noise_bound=300, norm_bound=1000, noise_norm_bound=300)
    made = plan("mpc", ("a", "b", "c", "d"), (upload,), 2, max_dropouts=1)
    parties = rehearse(made)
    set_up(parties)
    honest = [name for name in made.clients if name not in corrupt]
    ones, zero = np.ones(4, dtype=np.int64), np.zeros(4, dtype=np.int64)
    deliver(parties, (), inputs={"server": (Begin(0, "g"),)})
    sent = [unclipped(parties[name], 0, 600 * ones, zero) for name in corrupt]
    for name in honest:
        client = parties[name]
        assert isinstance(client, SealedClient)
        sent.append(client.submit(0, "g", ones, ones))
    (outcome,) = deliver(parties, [message for each in sent for message in each])
    if len(corrupt) == 1:
        assert isinstance(outcome, Aggregate)
        assert (outcome.contributors, outcome.blamed) == (tuple(honest), corrupt)
        assert outcome.total.tolist() == [2 * len(honest)] * 4
    else:
        assert isinstance(outcome, Abort)
        assert "2 of 4 vectors keep the norm's bound, the plan demands more; beyond it: b, d" in outcome.reason
    # The next sum is checked anew.
    again = run_round(parties, 1, "g", dict.fromkeys(made.clients, ones))
    assert isinstance(again, Aggregate)
    assert (again.contributors, again.blamed) == (made.clients, ())


def test_a_sum_without_the_check_is_moved() -> None:
    # The same poison in a plain sum: nothing notices it, and the sum is the attacker's.
    made = plan("plain", ("a", "b"), (Upload(name="g", length=3, bound=1000),), 1)
    clients = {name: open_client(made, name) for name in made.clients}
    parties: dict[str, Party] = {**clients, "server": open_party(made, "server")}
    deliver(parties, (), inputs={"server": (Begin(0, "g"),)})
    deliver(parties, clients["a"].submit(0, "g", np.ones(3, dtype=np.int64)))
    poison = Message(
        sender="b",
        receiver="server",
        kind="vector",
        session=made.session,
        round=0,
        upload="g",
        payload=np.full(3, 1000, dtype="<i8").tobytes(),
    )
    client = clients["b"]
    assert isinstance(client, SealedClient)
    (outcome,) = deliver(parties, client._envelope.sign([poison]))
    assert isinstance(outcome, Aggregate)
    assert outcome.total.tolist() == [1001] * 3


# One of two CrypTen parties. Party 1 shares a secret vector, both square it; party 0 notes the masks that it drew
# itself and the differences that are opened, and adds the two.
SPY = """
import sys, torch
from pathlib import Path
from crypto.protocols.mpc.crypten_backend import _prepare
from crypto.protocols.mpc.crypten_backend import serve_triples
rank, place, dealer = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "TTP"
if rank == 2:
    serve_triples(2, place)
    sys.exit()
crypten = _prepare(rank, 2, place, dealer)
crypten.init()
import crypten.mpc.primitives.arithmetic as arithmetic
provider = crypten.mpc.get_default_provider()
assert provider.NAME == sys.argv[3]
masks, opened = [], []
if dealer:
    square = provider.square
    def spy(size, device=None):
        r, r2 = square(size, device)
        masks.append(r.share.clone())
        return r, r2
    provider.square = spy
else:
    import crypten.mpc.provider.tfp_provider as module
    draw = module.generate_random_ring_element
    def spy(size, **options):
        masks.append(draw(size, **options))
        return masks[-1]
    module.generate_random_ring_element = spy
reveal = arithmetic.ArithmeticSharedTensor.reveal
def listen(self, dst=None):
    opened.append(reveal(self, dst))
    return opened[-1]
arithmetic.ArithmeticSharedTensor.reveal = listen
secret = torch.tensor([15, -22, 30]) if rank == 1 else torch.zeros(3, dtype=torch.long)
shared = arithmetic.ArithmeticSharedTensor(secret, precision=0, src=1)
total = shared.square().sum().get_plain_text()
if rank == 0:
    print(int(total), (masks[0] + opened[0]).tolist())
crypten.uninit()
"""


def spy_on(provider: str, place: Path) -> str:
    ranks = (0, 1, 2) if provider == "TTP" else (0, 1)
    command = [sys.executable, "-P", "-c", SPY]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(place), provider], stdout=subprocess.PIPE, text=True, env=child_environment()
        )
        for rank in ranks
    ]
    said = running[0].communicate(timeout=90)[0]
    for process in running[1:]:
        process.communicate(timeout=30)
    return said.strip()


@pytest.mark.slow
def test_the_default_provider_shows_the_vector_to_the_first_party_and_the_dealer_does_not(tmp_path: Path) -> None:
    assert spy_on("TFP", tmp_path / "one") == "1609 [15, -22, 30]"
    norm, guess = spy_on("TTP", tmp_path / "two").split(" ", 1)
    assert norm == "1609"
    assert guess != "[15, -22, 30]"
    assert all(abs(int(entry)) > 2**40 for entry in guess.strip("[]").split(","))


@pytest.mark.slow
def test_cost_at_65_536_entries_stays_low() -> None:
    upload = Upload(
        name="g",
        length=65_536,
        bound=30_000,
        noise_bound=20_000,
        noise_excess=0.0,
        norm_bound=30_000,
        noise_norm_bound=20_000,
    )
    made = plan("mpc", tuple(f"c{i}" for i in range(10)), (upload,), 3, max_dropouts=1)
    source = np.random.default_rng(2)
    vectors = {name: source.integers(-100, 100, upload.length) for name in made.clients}
    halves = {name: vector // 2 for name, vector in vectors.items()}
    with host_parties(made) as hosted:
        parties = {name: open_client(made, name) for name in made.clients} | hosted.parties
        set_up(parties)
        times = []
        for number in range(3):
            begun = time.perf_counter()
            outcome = run_round(parties, number, "g", vectors, noise=halves)
            times.append(time.perf_counter() - begun)
            assert isinstance(outcome, Aggregate)
            assert len(outcome.contributors) == 10
        # Measured 0.4 s on two busy cores.
        assert min(times) < 10
