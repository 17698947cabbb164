import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.keys.randomness import derive_key
from secure_fcl.compression import Chain, Compression, Coordinates, LowRank, Recipe, Rotated, Unchanged
from secure_fcl.compression.maps import block_of

SHAPES = ((6, 4), (6,), (3, 6), (3,))
SOURCE = 24 + 6 + 18 + 3


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    return Recipe(
        shapes=SHAPES,
        frozen=draw(st.sampled_from([0, 30])),
        kind=draw(st.sampled_from(["none", "random_k", "low_rank"])),
        fraction=draw(st.sampled_from([0.1, 0.34, 0.5, 1.0])),
        unbiased=draw(st.booleans()),
        rotation=draw(st.booleans()),
        seed=draw(st.integers(0, 5)),
        row="row",
    )


def vectors(seed: int, *sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=size) for size in sizes]


@given(recipes(), st.integers(0, 3), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_both_ways_are_linear_and_adjoint_up_to_the_factor_and_nothing_grows(
    recipe: Recipe, round: int, seed: int
) -> None:
    found = recipe.draw(1, round)
    assert (found.source, found.target) == (recipe.source, recipe.target) == (SOURCE, recipe.target)
    x, y, s, t = vectors(seed, SOURCE, SOURCE, recipe.target, recipe.target)
    np.testing.assert_allclose(found.compress(2.0 * x - y), 2.0 * found.compress(x) - found.compress(y), atol=1e-12)
    np.testing.assert_allclose(found.expand(2.0 * s - t), 2.0 * found.expand(s) - found.expand(t), atol=1e-11)
    assert np.linalg.norm(found.compress(x)) <= np.linalg.norm(x) * (1 + 1e-12)
    if not recipe.unbiased:
        assert found.expand(s) @ x == pytest.approx(s @ found.compress(x), abs=1e-9)
        # The orthogonal projection: done twice it is the same.
        once = found.expand(found.compress(x))
        np.testing.assert_allclose(found.expand(found.compress(once)), once, atol=1e-11)


@given(recipes())
@settings(max_examples=30, deadline=None)
def test_a_round_has_one_map_and_the_next_another(recipe: Recipe) -> None:
    (x,) = vectors(1, SOURCE)
    one, again, other = (recipe.draw(0, r).compress(x) for r in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    whole = recipe.kind == "none" or recipe.fraction == 1.0
    if not whole or recipe.rotation:
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", ["random_k", "low_rank"])
@pytest.mark.parametrize("rotation", [False, True])
def test_the_mean_over_the_draws_is_the_vector(kind: str, rotation: bool) -> None:
    recipe = Recipe(
        shapes=SHAPES, frozen=0, kind=kind, fraction=0.34, unbiased=True, rotation=rotation, seed=3, row="row"
    )  # type: ignore[arg-type]
    biased = Recipe(
        shapes=SHAPES, frozen=0, kind=kind, fraction=0.34, unbiased=False, rotation=rotation, seed=3, row="row"
    )  # type: ignore[arg-type]
    (x,) = vectors(2, SOURCE)
    means = []
    for r in (recipe, biased):
        draws = np.array([(m := r.draw(0, i)).expand(m.compress(x)) for i in range(1000)])
        means.append(draws.mean(axis=0))
        error = draws.std(axis=0) / np.sqrt(len(draws)) + 1e-9
        beyond = np.abs(means[-1] - x) / error
        # Five standard errors in each of 51 entries; the negative control is far off.
        assert (beyond.max() < 5.0) == r.unbiased
    assert np.abs(means[1] - x).max() > 0.5


def test_only_the_trained_end_is_sent_and_the_rest_stays_zero() -> None:
    found = Recipe(shapes=SHAPES, frozen=30).draw(0, 0)
    x = np.arange(float(SOURCE))
    np.testing.assert_array_equal(found.compress(x), x[30:])
    np.testing.assert_array_equal(found.expand(x[30:]), np.where(np.arange(SOURCE) < 30, 0.0, x))


def test_sizes_by_hand() -> None:
    assert Recipe(shapes=SHAPES, frozen=0, kind="random_k", fraction=0.1).target == 6
    assert Recipe(shapes=SHAPES, frozen=0, kind="low_rank", fraction=0.34).target == 3 * 4 + 6 + 2 * 6 + 3
    assert Recipe(shapes=SHAPES, frozen=30, kind="low_rank", fraction=0.34).target == 2 * 6 + 3
    assert Recipe(shapes=SHAPES, frozen=0, kind="none", fraction=0.1).target == SOURCE
    assert Recipe(shapes=((100, 100),), rotation=True).target == 10_240
    assert [block_of(n) for n in (1, 2, 64, 650, 703, 3513, 10_000, 14_052)] == [1, 2, 64, 256, 256, 4096, 2048, 16_384]


def test_the_block_has_the_fewest_bits_in_all() -> None:
    for length in (5, 60, 650, 4810, 20_000):
        costs = {
            power: -(-length // 2**power) * 2**power * (12 - power / 2)
            for power in range((length - 1).bit_length() + 1)
        }
        assert costs[block_of(length).bit_length() - 1] == min(costs.values())


def test_low_rank_by_hand() -> None:
    found = LowRank(seed=7, shapes=((2, 3), (2,)), fraction=0.5, unbiased=True)
    u = np.linalg.qr(np.random.default_rng(7).standard_normal((2, 1)))[0]
    x = np.arange(8.0)
    sent = found.compress(x)
    np.testing.assert_allclose(sent, [*(u.T @ x[:6].reshape(2, 3)).ravel(), 6.0, 7.0])
    np.testing.assert_allclose(found.expand(sent)[:6], (2.0 * u @ u.T @ x[:6].reshape(2, 3)).ravel())
    np.testing.assert_allclose(found.expand(sent)[6:], [6.0, 7.0])


@given(st.integers(1, 200), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_rotation_loses_nothing(size: int, seed: int) -> None:
    found = Rotated(derive_key(bytes(32), str(seed)), size)
    (x,) = vectors(seed, size)
    assert np.linalg.norm(found.compress(x)) == pytest.approx(np.linalg.norm(x))
    np.testing.assert_allclose(found.expand(found.compress(x)), x, atol=1e-12)


def test_a_rotation_spreads_one_large_entry_over_its_block() -> None:
    found = Rotated(derive_key(bytes(32), "spread"), 1034)
    assert (found.block, found.target) == (128, 1152)
    sent = found.compress(np.eye(1034)[17])
    # A column of a Hadamard matrix of 128 rows, up to signs.
    np.testing.assert_allclose(np.sort(np.abs(sent)), [*[0.0] * 1024, *[128**-0.5] * 128])


def test_chains_apply_in_order() -> None:
    first: Compression = Coordinates(chosen=np.array([0, 2, 3]), source=4, factor=2.0)
    chain = Chain(first, Coordinates(chosen=np.array([1]), source=3))
    assert (chain.source, chain.target) == (4, 1)
    np.testing.assert_array_equal(chain.compress(np.arange(4.0)), [2.0])
    np.testing.assert_array_equal(chain.expand(np.array([5.0])), [0.0, 0.0, 10.0, 0.0])
    assert Unchanged(3).target == 3
