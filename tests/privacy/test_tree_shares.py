import math

import numpy as np
import pytest

from privacy import RdpAccountant, SampledGaussian
from privacy.distributed import DistributedSum
from privacy.errors import InvalidParameter
from privacy.matrix import BinaryTree, StreamEnded
from privacy.participation import ParticipationRefused
from privacy.tree_shares import DeviceTree, PrefixSteps, TreeShares

CLIENTS, DIMENSION = 4, 6


def plan(steps: int, noise: float = 1e-9, dimension: int = DIMENSION) -> TreeShares:
    return TreeShares(
        BinaryTree(steps),
        DistributedSum(
            parties=CLIENTS,
            max_dropouts=1,
            colluders=1,
            clipping_norm=1.0,
            noise_multiplier=noise,
            dimension=dimension,
            scale=2.0**20,
        ),
    )


def release(wanted: TreeShares, data: np.ndarray, keyed) -> dict:
    """Run the stream: data (clients, steps, dimension)."""
    devices = [DeviceTree(wanted) for _ in data]
    released: dict = {}
    for step in range(data.shape[1]):
        sent = [
            d.push(own[step], keyed(97 * step + k), examples=[step])
            for k, (d, own) in enumerate(zip(devices, data, strict=True))
        ]
        for node in sent[0]:
            released[node] = wanted.node.decode(sum(s[node] for s in sent))
    return released


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 13])
def test_every_prefix_is_the_sum_of_all_clients(steps: int, keyed) -> None:
    wanted = plan(steps)
    data = np.random.default_rng(steps).normal(size=(CLIENTS, steps, DIMENSION))
    released = release(wanted, data, keyed)
    for t in range(steps + 1):
        assert wanted.prefix(t, released) == pytest.approx(data[:, :t].sum((0, 1)), abs=1e-4)


def test_an_example_is_in_one_node_per_level(keyed) -> None:
    """Neighbours differ in one step of one client; what changes is charged: `levels` releases, each by its norm."""
    wanted = plan(8)
    data = np.zeros((CLIENTS, 8, DIMENSION))
    other = data.copy()
    other[2, 5] = np.eye(DIMENSION)[0]
    a, b = release(wanted, data, keyed), release(wanted, other, keyed)
    moved = [float(np.linalg.norm(b[n] - a[n])) for n in a]
    assert sum(m > 0.5 for m in moved) == wanted.tree.levels == 4
    assert max(moved) == pytest.approx(1.0, abs=1e-4)
    assert wanted.events().total() == 4


def test_nodes_carry_fresh_noise_of_the_charged_variance(keyed) -> None:
    wanted = plan(8, noise=2.0, dimension=4000)
    released = release(wanted, np.zeros((CLIENTS, 8, 4000)), keyed)
    assert len(released) == 15
    for noise in released.values():
        assert noise.var() == pytest.approx(4.0 * CLIENTS / 2, rel=5 * math.sqrt(2 / 4000))
    nodes = np.array(list(released.values()))
    assert np.abs(np.corrcoef(nodes) - np.eye(15)).max() < 6 / math.sqrt(4000)
    # Prefix 7 = 4 + 2 + 1 adds up three nodes.
    assert wanted.prefix(7, released).var() == pytest.approx(3 * 8.0, rel=0.1)


def test_the_charge_is_that_of_the_tree_s_sensitivity() -> None:
    """`levels` Gaussians of multiplier s compose to one of s / sqrt(levels)."""
    wanted = plan(1600, noise=8.0)
    one = RdpAccountant().epsilon({SampledGaussian(q=1.0, noise_multiplier=8.0 / wanted.tree.sensitivity()): 1}, 1e-6)
    assert RdpAccountant().epsilon(wanted.events(), 1e-6) == pytest.approx(one, rel=1e-3)


def test_open_nodes_count_as_storage() -> None:
    wanted = plan(13)
    assert wanted.storage_bytes == 8 * DIMENSION * 4 == DeviceTree(wanted).nbytes


def test_what_cannot_be_is_refused(keyed) -> None:
    wanted = plan(2)
    device = DeviceTree(wanted)
    for bad in (np.zeros(3), np.full(DIMENSION, math.nan)):
        with pytest.raises(InvalidParameter):
            device.push(bad, keyed(1), examples=[])
    for _ in range(2):
        device.push(np.zeros(DIMENSION), keyed(1), examples=[])
    with pytest.raises(StreamEnded):
        device.push(np.zeros(DIMENSION), keyed(1), examples=[])
    with pytest.raises(InvalidParameter, match="not released"):
        wanted.prefix(1, {})
    with pytest.raises(StreamEnded):
        wanted.prefix(3, {})


def test_a_second_participation_is_refused_and_changes_nothing(keyed) -> None:
    """Two steps of one example meet in the upper nodes, which would change by 2 and are charged for 1."""
    wanted = plan(4)
    device, other = DeviceTree(wanted), DeviceTree(wanted)
    ones = np.ones(DIMENSION)
    for one in (device, other):
        one.push(ones, keyed(1), examples=[7, 8])
    for twice in ([9, 7], [9, 9]):
        with pytest.raises(ParticipationRefused):
            device.push(5.0 * ones, keyed(2), examples=twice)
    found, expected = (one.push(ones, keyed(3), examples=[9]) for one in (device, other))
    assert {node: sums.tolist() for node, sums in found.items()} == {node: s.tolist() for node, s in expected.items()}
    assert device.nbytes == wanted.storage_bytes + 3 * 24


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 13])
def test_the_largest_node_of_each_step_is_all_that_prefixes_take(steps: int) -> None:
    tree, server, total = BinaryTree(steps), PrefixSteps(BinaryTree(steps)), np.zeros(DIMENSION)
    data = np.random.default_rng(steps).normal(size=(steps, DIMENSION))
    released = [tree.last(t) for t in range(steps)]
    assert {node for t in range(steps + 1) for node in tree.nodes(t)} == set(released)
    for t, (start, stop) in enumerate(released):
        total += server.moved(data[start:stop].sum(0))
        assert total == pytest.approx(data[: t + 1].sum(0), abs=1e-12)
    # The first step is in one of every level, which is charged; the last step of a whole tree in the widest alone.
    assert max(sum(start <= t < stop for start, stop in released) for t in range(steps)) == tree.levels
    with pytest.raises(StreamEnded):
        server.moved(np.zeros(DIMENSION))


def test_a_step_counts_its_examples_before_its_sum_is_there() -> None:
    device, ones = DeviceTree(plan(4)), np.ones(DIMENSION)
    with pytest.raises(InvalidParameter, match="did not begin"):
        device.end(ones)
    device.begin([1, 2])
    with pytest.raises(InvalidParameter, match="did not end"):
        device.begin([3])
    assert device.end(ones).keys() == {(0, 1)}
    with pytest.raises(ParticipationRefused):
        device.begin([3, 2])
    # What was refused did not begin, and neither did its other example take part.
    device.begin([3])
    found = device.end(2.0 * ones)
    assert list(found) == [(1, 2), (0, 2)]
    assert found[0, 2] == pytest.approx(3.0 * ones)


def test_a_device_that_was_away_is_in_no_step_of_its_absence_and_in_no_node_that_ended_then() -> None:
    device, ones = DeviceTree(plan(8)), np.ones(DIMENSION)
    device.begin([0])
    device.end(ones)
    device.skip(3)
    assert device.step == 4
    for t in range(4, 8):
        device.begin([t])
        found = device.end(ones)
    assert found[4, 8] == pytest.approx(4.0 * ones)
    # Its first step ended in the node of all: no node before it held both halves.
    assert found[0, 8] == pytest.approx(5.0 * ones)
    with pytest.raises(StreamEnded):
        device.skip(1)
    with pytest.raises(InvalidParameter):
        device.skip(-1)
