import math
from dataclasses import replace

import numpy as np
import pytest

from privacy import RdpAccountant, SampledGaussian
from privacy.errors import InvalidParameter
from privacy.per_client import ClientSum

PLAN = ClientSum(parties=8, max_dropouts=2, colluders=1, noise_multiplier=1.1, dimension=3000)
JOINT = math.sqrt(1 + 0.2**2 / 4)


def test_quiet_updates_come_back_clipped(keyed) -> None:
    quiet = ClientSum(parties=4, max_dropouts=1, colluders=1, noise_multiplier=1e-6, dimension=50, bits=24)
    rng = np.random.default_rng(0)
    updates = [rng.normal(size=50) * s for s in (0.01, 0.1, 1.0, 5.0)]
    total = sum(quiet.encode(u, 0.9, keyed(k)) for k, u in enumerate(updates))
    found, after = quiet.decode(total, 0.9)
    expected = sum(u * min(1.0, 0.9 / np.linalg.norm(u)) for u in updates)
    assert found == pytest.approx(expected, abs=1e-4)
    # Two of four lie within 0.9: the target of a half leaves the norm alone.
    assert after == pytest.approx(0.9, rel=1e-4)


def test_the_norm_finds_the_quantile_of_the_updates(keyed) -> None:
    plan = ClientSum(
        parties=40, max_dropouts=0, colluders=1, noise_multiplier=0.3, dimension=4, bit_weight=1.0, target=0.7, rate=0.3
    )
    sizes = np.random.default_rng(1).lognormal(1.0, 0.6, 40)
    norm, random = 0.05, keyed(2)
    seen = []
    for _ in range(120):
        total = sum(plan.encode(np.array([s, 0, 0, 0]), norm, random) for s in sizes)
        norm = plan.decode(total, norm)[1]
        seen.append(norm)
    assert np.mean(seen[-50:]) == pytest.approx(np.quantile(sizes, 0.7), rel=0.12)


def test_silent_clients_do_not_move_the_norm_that_the_others_come_to(keyed) -> None:
    """As in Andrew et al. 2021, with most clients silent; a bit half-way for them let the norm grow without end."""
    plan = ClientSum(
        parties=100, max_dropouts=0, colluders=1, noise_multiplier=0.05, dimension=2, bit_weight=1.0, target=0.9,
        rate=0.5,
    )  # fmt: skip
    sizes, random = np.random.default_rng(4).lognormal(0.0, 0.3, 20), keyed(5)
    norm, seen = 0.3, []
    for _ in range(200):
        total = sum(plan.encode(np.array([s, 0.0]), norm, random) for s in sizes)
        total = total + sum(plan.silent(random) for _ in range(80))
        norm = plan.decode(total, norm)[1]
        seen.append(norm)
    assert np.mean(seen[-60:]) == pytest.approx(np.quantile(sizes, 0.9), rel=0.15)


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
def test_a_client_weighs_no_more_than_its_event_beside_its_own_silence(target: float, keyed) -> None:
    plan = ClientSum(
        parties=3, max_dropouts=0, colluders=1, noise_multiplier=1e-9, dimension=5, bits=30, bit_weight=0.7,
        target=target,
    )  # fmt: skip
    silent = plan.silent(keyed(6))
    for update in (np.full(5, 1e9), np.full(5, 0.4 / math.sqrt(5)), np.zeros(5)):
        assert np.linalg.norm(plan.encode(update, 0.4, keyed(6)) - silent) <= plan.event.l2


def test_one_client_weighs_at_most_the_joint_norm(keyed) -> None:
    """Largest update and either bit, before rounding and noise: the sensitivity that the event's L2 covers."""
    plan = ClientSum(
        parties=3, max_dropouts=0, colluders=1, noise_multiplier=1e-9, dimension=20, bits=30, bit_weight=0.7
    )
    for update in (np.full(20, 1e9), np.full(20, 1e-3), np.full(20, math.nan), np.full(20, math.inf)):
        sent = plan.encode(update, 0.4, keyed(3)) / 2.0**30
        assert np.linalg.norm(sent) <= math.sqrt(1 + 0.7**2 / 4) * (1 + 1e-6)
        assert np.linalg.norm(sent) * 2.0**30 <= plan.event.l2


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_the_honest_survivors_deliver_the_charged_variance(missing: int, keyed) -> None:
    """Clients without an update send as much noise as any other; the colluder's own share is not counted."""
    random, survivors = keyed(10 + missing), PLAN.parties - missing - PLAN.colluders
    noise = sum(PLAN.silent(random) for _ in range(survivors)) / 2.0**PLAN.bits
    charged = (1.1 * JOINT) ** 2
    assert noise.var() == pytest.approx(charged * survivors / 5, rel=5 * math.sqrt(2 / PLAN.length))
    assert survivors >= 5
    assert abs(noise.mean()) < 5 * math.sqrt(charged * survivors / 5 / PLAN.length)


def test_the_event_is_the_gaussian_s_and_does_not_move_with_the_norm() -> None:
    noisy = replace(PLAN, noise_multiplier=9.0)
    gaussian = RdpAccountant().epsilon({SampledGaussian(q=1.0, noise_multiplier=9.0): 10}, 1e-5)
    assert 0 < RdpAccountant().epsilon({noisy.event: 10}, 1e-5) / gaussian - 1 < 1e-3
    assert PLAN.event.q == 1.0
    assert PLAN.event.variance == pytest.approx(PLAN.share_variance * 5)


def test_a_silent_client_looks_like_any_other(keyed) -> None:
    assert PLAN.silent(keyed(1)).shape == PLAN.encode(np.zeros(3000), 1.0, keyed(1)).shape == (PLAN.length,)


@pytest.mark.parametrize(
    "change",
    [{"colluders": 0}, {"max_dropouts": 7}, {"noise_multiplier": 0.0}, {"dimension": 0}, {"bits": 0}, {"bits": 41},
     {"bit_weight": 0.0}, {"target": 1.0}, {"rate": 0.0}],
)  # fmt: skip
def test_bad_numbers_are_refused(change: dict) -> None:
    usual = {"parties": 8, "max_dropouts": 2, "colluders": 1, "noise_multiplier": 1.0, "dimension": 5}
    with pytest.raises(InvalidParameter):
        ClientSum(**(usual | change))


def test_bad_updates_are_refused(keyed) -> None:
    with pytest.raises(InvalidParameter, match="shape"):
        PLAN.encode(np.zeros(5), 1.0, keyed(1))
    for norm in (0.0, math.nan, math.inf):
        with pytest.raises(InvalidParameter, match="norm"):
            PLAN.encode(np.zeros(3000), norm, keyed(1))
        with pytest.raises(InvalidParameter, match="norm"):
            PLAN.decode(np.zeros(3001, dtype=np.int64), norm)
