"""Bounds on the norm of what a client sends: what honest clients do for them, and what the plan makes of them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import PlanRefused
from crypto.keys.randomness import KeyedStream, derive_key
from secure_fcl.compression import Wire, wire_of, with_norm
from secure_fcl.config import Config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.rows.build import build_row
from secure_fcl.rows.enforced import enforced_norms
from secure_fcl.running.prepare import Prepared, prepare
from secure_fcl.strategies import Part, UploadSpec
from secure_fcl.streams import Scenario

SIZE = 30


def two_parts() -> Wire:
    parts = (Part("one", (SIZE,), 1.0), Part("two", (SIZE,), 1.0))
    source = UploadSpec(
        name="row", parts=parts, scale=64.0, sensitivity_l2=1.0, sensitivity_entries=SIZE, unit="one example"
    )
    return wire_of(source)


def coins(label: str) -> KeyedStream:
    return KeyedStream(derive_key(bytes(32), label))


@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.5, 3.0]), st.sampled_from([0.01, 0.1, 2.0]))
@settings(max_examples=60, deadline=None)
def test_what_an_honest_client_sends_keeps_the_bound(seed: int, norm: float, size: float) -> None:
    wire = with_norm(two_parts(), norm)
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(scale=size, size=SIZE) for name in ("one", "two")}
    sent = wire.draw(0, 0).encode(drawn, coins(str(seed)))
    assert math.isqrt(int((sent * sent).sum())) <= wire.norm_bound
    assert wire.norm_bound <= norm * 64 + math.sqrt(2 * SIZE) + 1


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_clipping_moves_no_part_further_than_its_example_does(seed: int) -> None:
    """The sensitivity that is charged: per part, and in all, up to the rounding of every entry."""
    wire, rng = with_norm(two_parts(), 0.7), np.random.default_rng(seed)
    near = {name: rng.normal(scale=0.3, size=SIZE) for name in ("one", "two")}
    moved = {name: rng.normal(scale=rng.choice([0.0, 0.05, 0.5]), size=SIZE) for name in near}
    one, other = (
        wire.draw(0, 0).encode(parts, coins(str(seed)))
        for parts in (near, {name: near[name] + moved[name] for name in near})
    )
    for place, name in enumerate(near):
        here = slice(place * SIZE, (place + 1) * SIZE)
        change = float(np.linalg.norm(one[here] - other[here]))
        assert change <= 64.0 * float(np.linalg.norm(moved[name])) + math.sqrt(SIZE) + 1e-9


def test_no_bound_changes_nothing() -> None:
    wire = two_parts()
    assert with_norm(wire, 0.0) is wire
    assert wire.norm_bound == 0


def test_a_local_update_brings_no_count_of_clipped_entries_along(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    free = build_row(make_config(), tiny_scenario, "finetune", 1.0).wire()
    wire = build_row(make_config("finetune.norm_bound=1"), tiny_scenario, "finetune", 1.0).wire()
    assert free.coordinates > 0
    assert wire.coordinates == 0
    assert wire.draw(0, 0).saturated(np.zeros(wire.sent.length, dtype=np.int64)) is None
    assert wire.sent.length < free.sent.length


CHECKED = ("protection=mpc", "class_sums.norm_bound=3", "class_sums.scale_bits=8")


def test_the_plan_bounds_vector_and_share_and_the_noise_is_that_of_all_entries(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    row = build_row(make_config(*CHECKED), tiny_scenario, "class_sums", 2.0)
    free = build_row(make_config("class_sums.scale_bits=8"), tiny_scenario, "class_sums", 2.0)
    (upload,) = row.secure_plan().uploads
    assert upload.norm_bound == row.wire().norm_bound == math.ceil(3 * 2**8 + math.sqrt(upload.length))
    noise = row.noise_in(0)
    assert noise is not None
    # Every entry of a clipped vector moves with every example.
    assert noise.dimension == upload.length
    assert free.train_noise is not None
    assert free.train_noise.dimension < noise.dimension
    shares = [np.linalg.norm(noise.share(upload.length, coins(str(k)))) for k in range(200)]
    assert max(shares) <= upload.noise_norm_bound
    assert upload.noise_norm_bound < 2 * np.median(shares)
    assert row.noise_excess == 2 * free.noise_excess
    assert "dealer" in row.secure_plan().roles
    (said,) = enforced_norms(row)
    assert f"up to both together, {(upload.norm_bound + upload.noise_norm_bound) / 2**8:.4g}" in said
    assert enforced_norms(free) == ()


@pytest.mark.parametrize("protection", ["plain", "bfv", "secagg", "secagg+", "helper-2-of-3"])
def test_who_has_one_server_refuses_and_says_why(protection: str, make_config: Callable[..., Config]) -> None:
    config = make_config(*CHECKED[1:], f"protection={protection}", 'rows=["class_sums"]', "server=semi-honest")
    with pytest.raises(PlanRefused, match="one server gets a client's vector, and nobody holds the second share"):
        prepare(config)


def test_a_bound_for_an_upload_that_there_is_not_is_refused(
    tiny_scenario: Scenario, make_config: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigInvalid, match="class_sums sends nothing when a task closes"):
        build_row(make_config("class_sums.close_norm_bound=1"), tiny_scenario, "class_sums", 2.0)


def test_closing_uploads_have_a_bound_of_their_own(tiny_scenario: Scenario, make_config: Callable[..., Config]) -> None:
    config = make_config("protection=mpc", "calm.close_norm_bound=2", "calm.scale_bits=6")
    train, close = build_row(config, tiny_scenario, "calm", 2.0).secure_plan().uploads
    assert train.norm_bound == train.noise_norm_bound == 0
    assert min(close.norm_bound, close.noise_norm_bound) > 0


def test_repeatable_noise_knows_the_bound_and_is_what_it_was_without_one(
    make_config: Callable[..., Config], tiny_scenario: Scenario
) -> None:
    def key(*settings: str) -> bytes:
        return Prepared(make_config(*settings), tiny_scenario, ()).noise_key(bytes(32))

    assert key() == key("class_sums.norm_bound=0", "replay.close_norm_bound=0")
    assert len({key(), key("class_sums.norm_bound=1"), key("replay.norm_bound=1"), key("calm.close_norm_bound=1")}) == 4
