"""Rows whose uploads are shortened: sizes, bounds, charges, and whole runs under every kind of protection."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from crypto.keys.randomness import KeyedStream, derive_key
from privacy import DistributedSum, SampledSkellam, spent, statements, worst
from secure_fcl.auditing.bench import bench_of, nobody
from secure_fcl.config import Config, load_config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row, calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.strategies import DeviceView, Examples, GradientStrategy, UploadSpec
from secure_fcl.streams import Scenario

SHARED = ("finetune.noise=shared", "training.trainer=stacked")
MAPS: dict[str, tuple[str, ...]] = {
    "random_k": ("compression.kind=random_k", "compression.fraction=0.1"),
    "low_rank": ("compression.kind=low_rank", "compression.fraction=0.25"),
    "last": ("compression.trained=last",),
    "rotated": ("compression.rotation=true", "compression.bits=6"),
    "all": (
        "compression.kind=random_k", "compression.fraction=0.5", "compression.rotation=true", "compression.bits=8",
        "compression.trained=last_later",
    ),
}  # fmt: skip
PARAMETERS = 64 * 64 + 64 + 64 * 10 + 10
LAST = 64 * 10 + 10

Make = Callable[..., Config]


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("random_k", [math.ceil(0.1 * PARAMETERS)]),
        ("low_rank", [16 * 64 + 64 + 3 * 64 + 10]),
        ("last", [LAST]),
        ("rotated", [5 * 1024]),
        ("all", [5 * 512, 3 * 128]),
    ],
)
@pytest.mark.parametrize("place", ["local", "shared"])
def test_lengths_by_hand(tiny_scenario: Scenario, make_config: Make, name: str, lengths: list[int], place: str) -> None:
    plan = build_row(make_config(*MAPS[name], f"finetune.noise={place}"), tiny_scenario, "finetune", 1.0)
    assert [wire.sent.parts[0].size for wire in plan.wires["train"]] == lengths
    assert [u.length for u in plan.secure_plan().uploads] == [wire.sent.length for wire in plan.wires["train"]]
    assert (plan.wire("train", 1).sent.name == "finetune-last") == (name == "all")


def test_nothing_changes_without_compression(tiny_scenario: Scenario, make_config: Make) -> None:
    plan = build_row(make_config(), tiny_scenario, "finetune", 1.0)
    assert plan.wire().recipe is None
    assert [p.size for p in plan.wire().sent.parts] == [PARAMETERS, 1]
    assert plan.wire().sent.scale == plan.strategy.uploads["train"].scale


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("place", ["local", "shared"])
def test_an_entry_has_the_configured_bits(tiny_scenario: Scenario, make_config: Make, bits: int, place: str) -> None:
    settings = (f"finetune.noise={place}", "compression.rotation=true", f"compression.bits={bits}")
    plan = build_row(make_config(*settings), tiny_scenario, "finetune", 1.0)
    assert plan.wire().encoder.bound == 2 ** (bits - 1) - 1
    with pytest.raises(ConfigInvalid, match="at least 4"):
        make_config("compression.bits=3")


def test_fewer_bytes_are_predicted_for_every_protocol(hapt_scenario: Scenario) -> None:
    few = ("compression.kind=random_k", "compression.fraction=0.1", "compression.rotation=true", "compression.bits=8")
    for protection in ("bfv", "secagg", "mpc", "plain"):
        sizes = [
            build_row(
                load_config(None, [f"protection={protection}", *more]), hapt_scenario, "finetune", 1.0
            ).client_bytes
            for more in ((), few)
        ]
        # A BFV ciphertext is the least that can be sent; masks have shares, commitments and vaults for holders, and
        # every box to one of two servers a capsule of 1,120 bytes.
        assert sizes[1] < sizes[0] / {"bfv": 1.9, "secagg": 4.2, "mpc": 7.5}.get(protection, 9.0)


@pytest.mark.parametrize("name", MAPS)
def test_what_is_charged_covers_what_one_example_changes(tiny_scenario: Scenario, make_config: Make, name: str) -> None:
    """Noise inside the sum: the event's sensitivities against integers with and without the example, for the noise
    that is added; fewer entries are rounded, so the charge is below that of the whole vector with equal steps.
    """
    plan = build_row(make_config(*SHARED, *MAPS[name]), tiny_scenario, "finetune", 1.0)
    (event,) = plan.events("current")
    assert isinstance(event, SampledSkellam)
    noise = plan.train_noise
    assert noise is not None
    rng = np.random.default_rng(3)
    for slot in (0, 1):
        wire = plan.wire("train", slot)
        assert noise.guaranteed_variance == pytest.approx((1.0 * wire.sent.scale) ** 2)
        for round in range(3):
            carrier = wire.draw(slot, round)
            before = rng.normal(size=PARAMETERS) * 0.2
            example = rng.normal(size=PARAMETERS)
            example /= np.linalg.norm(example)
            coins = np.random.default_rng(round).bytes
            one = carrier.encode({"gradient": before}, coins)
            two = carrier.encode({"gradient": before + example}, np.random.default_rng(round).bytes)
            change = (one - two).astype(np.float64)
            assert np.linalg.norm(change) <= event.l2
            assert np.abs(change).sum() <= event.l1


def test_few_bits_cost_noise_and_few_entries_less(tiny_scenario: Scenario, make_config: Make) -> None:
    """The charge sees rounding: at equal epsilon 4 bits need more noise than 8, and fewer entries make up for it."""

    def multiplier(bits: int, *more: str) -> float:
        settings = (*SHARED, "compression.rotation=true", f"compression.bits={bits}", *more)
        plan, found = calibrated_row(make_config(*settings), tiny_scenario, "finetune")
        total = spent(c for slot, round in plan.schedule() for c in plan.charges(slot, round))
        reached = worst(statements(total, plan.accounting_delta))
        assert reached is not None
        assert 7.8 < reached.epsilon <= 8.0
        return found

    four, eight, short = multiplier(4), multiplier(8), multiplier(4, *MAPS["random_k"])
    assert four > 1.2 * eight
    assert eight < short < four


def trained(plan: RowPlan, slot: int, state: dict[str, np.ndarray], label: str) -> dict[str, np.ndarray]:
    """Return the state after a round in which one client with some digits takes part, sent as the plan says."""
    x, y = plan.scenario.x[:20], plan.scenario.data.y[:20]
    view = DeviceView(Examples(x, y), Examples(x[:0], y[:0]))
    step = plan.step(slot, 0)
    made = plan.strategy.contribute(state, view, step, KeyedStream(derive_key(bytes(32), label)))
    carrier = plan.wire("train", slot).draw(slot, 0)
    total = carrier.encode(made.parts, KeyedStream(derive_key(bytes(32), "rounding")))
    return plan.strategy.apply(state, step, carrier.decode(total), 1)


@pytest.mark.parametrize("trainer", ["opacus", "stacked"])
@pytest.mark.parametrize("place", ["local", "shared"])
@pytest.mark.parametrize("row", ["fedprox", "fedsi"])
def test_the_body_stays_as_it_was_where_the_last_layer_is_trained_alone(
    tiny_scenario: Scenario, make_config: Make, trainer: str, place: str, row: str
) -> None:
    settings = (f"{row}.noise={place}", f"training.trainer={trainer}", "compression.trained=last_later")
    plan = build_row(make_config(*settings), tiny_scenario, row, 1.0)
    start = plan.strategy.initial()
    first = trained(plan, 0, start, "first")
    last = trained(plan, 1, first, "last")
    body = PARAMETERS - LAST
    assert np.count_nonzero(first["weights"][:body] != start["weights"][:body]) > body / 2
    np.testing.assert_array_equal(last["weights"][:body], first["weights"][:body])
    assert np.count_nonzero(last["weights"][body:] != first["weights"][body:]) > LAST / 2


def test_both_trainers_agree_on_the_last_layer_and_with_the_whole_gradient(
    tiny_scenario: Scenario, make_config: Make
) -> None:
    """Unclipped, the gradient of the last layer alone is the end of the whole network's."""
    base = ("finetune.noise=shared", "training.clipping_norm=1000", "training.q_current=1.0")
    found = []
    for trainer in ("opacus", "stacked"):
        for part in ("all", "last"):
            config = make_config(*base, f"training.trainer={trainer}", f"compression.trained={part}")
            plan = build_row(config, tiny_scenario, "finetune", 1.0)
            x, y = tiny_scenario.x[:20], tiny_scenario.data.y[:20]
            view = DeviceView(Examples(x, y), Examples(x[:0], y[:0]))
            state, coins = plan.strategy.initial(), KeyedStream(bytes(32))
            found.append(plan.strategy.contribute(state, view, plan.step(0, 0), coins).parts["gradient"])
    for other in found[1:]:
        np.testing.assert_allclose(other[-LAST:], found[0][-LAST:], rtol=1e-4, atol=1e-5)
    assert np.abs(found[0][:-LAST]).max() > 0.01
    assert not found[1][:-LAST].any()
    assert not found[3][:-LAST].any()


def test_a_rotated_update_has_a_smaller_bound_and_is_hardly_ever_clipped(
    tiny_scenario: Scenario, make_config: Make
) -> None:
    settings = ("training.trainer=stacked", "compression.rotation=true", "compression.bits=8")
    plan = build_row(make_config(*settings), tiny_scenario, "finetune", 4.0)
    state = plan.strategy.initial()
    x, y = tiny_scenario.x[:20], tiny_scenario.data.y[:20]
    view = DeviceView(Examples(x, y), Examples(x[:0], y[:0]))
    wires = (plan.wire(), replace(plan.wire(), sent=halved(plan.wire().sent)))
    clipped = np.zeros(2)
    for r in range(10):
        made = plan.strategy.contribute(state, view, plan.step(0, 0), KeyedStream(derive_key(bytes(32), str(r))))
        for i, carrier in enumerate(wire.draw(0, r) for wire in wires):
            clipped[i] += carrier.saturated(carrier.encode(made.parts, KeyedStream(bytes(32)))) or 0
    shares = clipped / (10 * plan.wire().coordinates)
    # Beyond four standard deviations lie 6 of 100,000 normal entries; beyond two, 4.6 of 100.
    assert shares[0] < 3e-4
    assert 0.02 < shares[1] < 0.06


def halved(sent: UploadSpec) -> UploadSpec:
    """The negative control: half the bound."""
    parts = tuple(replace(part, bound=part.bound / 2) for part in sent.parts)
    return replace(sent, parts=parts)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("all", "shared"),
        ("low_rank", "local"),
        pytest.param("random_k", "local", marks=pytest.mark.slow),
        pytest.param("last", "local", marks=pytest.mark.slow),
        pytest.param("rotated", "shared", marks=pytest.mark.slow),
    ],
)
def test_encrypted_runs_equal_plain_ones_bit_for_bit(
    run_tiny, tiny_scenario: Scenario, make_config: Make, name: str, place: str
) -> None:  # type: ignore[no-untyped-def]
    settings = (
        'rows=["finetune"]', "replay_noise=true", "training.trainer=stacked", f"finetune.noise={place}", *MAPS[name]
    )  # fmt: skip
    protection = "bfv" if name == "all" else "secagg"
    plain, secure = run_tiny(*settings), run_tiny(*settings, f"protection={protection}")
    assert secure.metrics == plain.metrics
    assert secure.digest() == plain.digest()
    certificate = plain.certificate("finetune")
    assert "numbers of" in certificate["sent"]
    assert certificate["epsilon"] <= 8.0
    records = [r for r in plain.records("metrics.jsonl") if r["kind"] == "round"]
    assert all(("saturated" in r) == (place == "local") for r in records)
    models = [arrays["weights"] for _, arrays in sorted(plain.transcript.items())]
    assert all(not np.array_equal(a, b) for a, b in pairwise(models))
    if name == "all":
        plan, _ = calibrated_row(make_config(*settings, "protection=bfv"), tiny_scenario, "finetune")
        costs = secure.records("cost.jsonl")
        sent = sum(m["bytes"] for r in costs for m in r["ciphertexts"] if m["client"] == 0)
        # Envelopes aside, such as the digest of the model that a sum is bound to.
        assert plan.client_bytes <= sent <= plan.client_bytes + 64 * plan.rounds
        assert [r["upload"] for r in costs] == ["finetune", "finetune", "finetune-last", "finetune-last"]


def test_canaries_meet_the_noise_in_the_steps_that_few_bits_leave(tiny_scenario: Scenario, make_config: Make) -> None:
    """Noise for coarse steps over sums in fine ones would be a false alarm: the audit rounds as the run did."""
    plan = build_row(make_config(*SHARED, *MAPS["rotated"]), tiny_scenario, "finetune", 3.0)
    whole = build_row(make_config(*SHARED), tiny_scenario, "finetune", 3.0)
    assert isinstance(plan.train_noise, DistributedSum)
    assert isinstance(plan.strategy, GradientStrategy)
    assert plan.train_noise.scale < plan.strategy.uploads["train"].scale / 10
    for row in (plan, whole):
        assert isinstance(row.train_noise, DistributedSum)
        found = bench_of(row, plan.strategy).visit(nobody(), nobody(), 0)
        # Along directions of length 1, each with the declared noise.
        assert found.std() == pytest.approx(3.0, rel=0.1)
