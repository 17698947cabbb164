import math
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import PldAccountant
from privacy.errors import InvalidParameter
from privacy.matrix import (
    BinaryTree,
    PrefixStream,
    RootToeplitz,
    StreamEnded,
    compare,
    step_noise,
    toeplitz_root,
    toeplitz_root_inverse,
)
from privacy.participation import ONCE, Participation
from privacy.testing import exact_gaussian

few = settings(max_examples=40, deadline=None)
lengths = st.integers(1, 200)
factors = pytest.mark.parametrize("factor", [RootToeplitz(37), BinaryTree(37), BinaryTree(1), RootToeplitz(1)])


def lower(column: np.ndarray) -> np.ndarray:
    n = len(column)
    return np.array([[column[i - j] if i >= j else 0.0 for j in range(n)] for i in range(n)])


def test_published_coefficients() -> None:
    assert toeplitz_root(5).tolist() == [1, 1 / 2, 3 / 8, 5 / 16, 35 / 128]
    assert toeplitz_root_inverse(5).tolist() == [1, -1 / 2, -1 / 8, -1 / 16, -5 / 128]


def test_its_square_is_the_prefix_sum_and_the_inverse_inverts() -> None:
    root = lower(toeplitz_root(64))
    assert root @ root == pytest.approx(np.tril(np.ones((64, 64))), abs=1e-12)
    assert root @ lower(toeplitz_root_inverse(64)) == pytest.approx(np.eye(64), abs=1e-12)


@pytest.mark.parametrize(("steps", "independent", "root"), [(1024, 22.64, 3.11), (128, 8.03, 2.45)])
def test_measured_errors(steps: int, independent: float, root: float) -> None:
    ((_, alone, tree, mine),) = compare([steps])
    assert alone == pytest.approx(independent, abs=0.01)
    assert mine == pytest.approx(root, abs=0.01)
    assert mine < tree < alone
    assert tree <= math.log2(steps) + 1


@few
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 12), st.randoms())
def test_no_pattern_beats_the_repeated_sensitivity(steps: int, times: int, separation: int, random: object) -> None:
    matrix, places, at = lower(toeplitz_root(steps)), [], random.randrange(steps)
    while at < steps and len(places) < times:
        places.append(at)
        at += separation + random.randrange(3)
    found = np.linalg.norm(matrix[:, places].sum(1))
    assert found <= RootToeplitz(steps).repeated_sensitivity(times, separation) + 1e-12


def hits(steps: int, times: int, separation: int) -> Iterator[tuple[int, ...]]:
    """Every pattern of participation, one by one."""
    for count in range(1, times + 1):
        for places in combinations(range(steps), count):
            if all(b - a >= separation for a, b in pairwise(places)):
                yield places


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 11, 12])
def test_the_tree_s_repeated_sensitivity_against_every_pattern(steps: int) -> None:
    """Several hits in one node add before they are squared: counting levels once for each would be too little."""
    tree, too_little = BinaryTree(steps), 0
    nodes = [node for t in range(steps) for node in tree.finished(t)]
    for separation in range(1, steps + 1):
        for times in (1, 2, 3, 4):
            worst = max(
                sum(sum(start <= place < stop for place in places) ** 2 for start, stop in nodes)
                for places in hits(steps, times, separation)
            )
            found = tree.repeated_sensitivity(times, separation) ** 2
            assert found >= worst - 1e-9
            if separation.bit_count() == 1 and steps % separation == 0:
                assert found == pytest.approx(worst)
            too_little += Participation(times=times).most(steps) * tree.levels < worst
    assert too_little or steps < 3


@pytest.mark.parametrize("factor", [RootToeplitz(12), BinaryTree(12)], ids=lambda f: type(f).__name__)
def test_a_stream_of_several_participations_has_their_noise(factor) -> None:
    again = Participation(times=3, separation=2)
    once, thrice = (
        PrefixStream(factor=factor, clipping_norm=0.5, noise_multiplier=2.0, participation=plan)
        for plan in (ONCE, again)
    )
    assert once.event == thrice.event
    assert thrice.std / once.std == pytest.approx(factor.repeated_sensitivity(3, 2) / factor.sensitivity())
    assert thrice.std > 1.5 * once.std


@factors
def test_one_participation_is_the_plain_sensitivity(factor) -> None:
    assert factor.repeated_sensitivity(1, 7) == pytest.approx(factor.sensitivity())


@few
@given(lengths)
def test_the_tree_covers_every_prefix_with_released_nodes(steps: int) -> None:
    tree = BinaryTree(steps)
    released = [node for t in range(steps) for node in tree.finished(t)]
    assert len(set(released)) == len(released) < 2 * steps
    for t in range(steps + 1):
        nodes = tree.nodes(t)
        assert [i for start, stop in nodes for i in range(start, stop)] == list(range(t))
        assert set(nodes) <= set(released)
    held = np.zeros(steps, dtype=int)
    for start, stop in released:
        held[start:stop] += 1
    assert held.max() == tree.levels == pytest.approx(tree.sensitivity() ** 2)


@factors
def test_the_noise_has_the_promised_deviation(factor) -> None:
    rows = 2 * factor.steps
    seeds = np.random.default_rng(4).normal(size=(rows, 20_000))
    seeds = seeds if isinstance(factor, BinaryTree) else seeds[: factor.steps]
    noise = factor.prefix_noise(seeds)
    assert noise.shape == (factor.steps, 20_000)
    assert noise.std(1) == pytest.approx(factor.prefix_errors(), rel=5 / math.sqrt(2 * 20_000))


def test_toeplitz_noise_is_the_matrix_product() -> None:
    seeds = np.random.default_rng(5).normal(size=(50, 3))
    assert RootToeplitz(50).prefix_noise(seeds) == pytest.approx(lower(toeplitz_root(50)) @ seeds, abs=1e-10)


@factors
def test_steps_add_up_to_prefixes(factor, keyed) -> None:
    noise = PrefixStream(factor=factor, clipping_norm=0.5, noise_multiplier=2.0).noise(4, keyed(1))
    assert np.cumsum(step_noise(noise), axis=0) == pytest.approx(noise, abs=1e-9)


def test_the_stream_is_one_gaussian_mechanism(keyed) -> None:
    stream = PrefixStream(factor=RootToeplitz(128), clipping_norm=0.5, noise_multiplier=3.731)
    assert exact_gaussian(1 / 3.731, 1e-5) == pytest.approx(1.0, abs=1e-3)
    assert PldAccountant(1e-4).epsilon({stream.event: 1}, 1e-5) == pytest.approx(1.0, abs=1e-3)
    assert stream.std == pytest.approx(3.731 * 0.5 * np.linalg.norm(toeplitz_root(128)))
    # The first prefix is the first normal itself, scaled.
    first = stream.noise(50_000, keyed(3))[0]
    assert first.std() == pytest.approx(stream.std, rel=0.02)


def test_bad_numbers_are_refused() -> None:
    for make in (RootToeplitz, BinaryTree, toeplitz_root, toeplitz_root_inverse):
        with pytest.raises(InvalidParameter):
            make(0)
    with pytest.raises(StreamEnded):
        BinaryTree(4).finished(4)
    with pytest.raises(StreamEnded):
        BinaryTree(4).nodes(5)
    with pytest.raises(InvalidParameter):
        RootToeplitz(4).prefix_noise(np.zeros((3, 1)))
    with pytest.raises(InvalidParameter):
        BinaryTree(4).prefix_noise(np.zeros((3, 1)))
    with pytest.raises(InvalidParameter):
        PrefixStream(factor=BinaryTree(4), clipping_norm=1.0, noise_multiplier=math.nan)
    with pytest.raises(InvalidParameter):
        RootToeplitz(4).repeated_sensitivity(0, 1)
