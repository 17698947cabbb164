import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.keys.randomness import KeyedStream, derive_key
from secure_fcl.compression import Recipe, Wire, wire_of
from secure_fcl.strategies import Part, UploadSpec

SIZE = 40
RECIPE = Recipe(
    shapes=((8, 4), (8,)), frozen=0, kind="random_k", fraction=0.5, unbiased=True, rotation=False, seed=1, row="row"
)


def coins(label: str) -> KeyedStream:
    return KeyedStream(derive_key(bytes(32), label))


def local(names: tuple[str, ...] = ("update",), bits: int = 17, recipe: Recipe | None = RECIPE) -> Wire:
    steps = 2 ** (bits - 1) - 1
    source = UploadSpec(
        name="row",
        parts=tuple(Part(n, (SIZE,), 0.5) for n in names),
        scale=steps / 0.5,
        sensitivity_l2=None,
        sensitivity_entries=None,
        unit="local",
    )
    return wire_of(source, recipe)


def shared(recipe: Recipe | None = RECIPE) -> Wire:
    source = UploadSpec(
        name="row",
        parts=(Part("gradient", (SIZE,), 4.0),),
        scale=2.0**14,
        sensitivity_l2=1.0,
        sensitivity_entries=SIZE,
        unit="one example",
    )
    return wire_of(source, recipe, 0.25, 500.0, "short")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5), st.sampled_from([4, 5, 8, 17]))
@settings(max_examples=40, deadline=None)
def test_clipped_entries_of_all_clients_are_counted_exactly(seeds: list[int], bits: int) -> None:
    wire = local(bits=bits)
    carrier = wire.draw(0, 3)
    updates = [np.random.default_rng(s).normal(scale=0.5, size=SIZE) for s in seeds]
    total = sum(carrier.encode({"update": u}, coins(str(i))) for i, u in enumerate(updates))
    assert carrier.map is not None
    expected = sum(int((np.abs(carrier.map.compress(u)) > 0.5).sum()) for u in updates)
    assert carrier.saturated(np.asarray(total)) == expected
    assert wire.coordinates == 20


def test_an_unshortened_upload_counts_too_and_brings_back_what_went_in() -> None:
    wire = local(recipe=None)
    carrier = wire.draw(0, 0)
    values = carrier.encode({"update": np.linspace(-1.0, 0.4, SIZE)}, coins("a"))
    back = carrier.decode(values)
    assert set(back) == {"update"}
    np.testing.assert_allclose(back["update"], np.clip(np.linspace(-1.0, 0.4, SIZE), -0.5, 0.5), atol=1 / 131_070)
    assert carrier.saturated(values) == int((np.linspace(-1.0, 0.4, SIZE) < -0.5).sum()) > 10


def test_a_sum_with_noise_inside_releases_no_count_and_keeps_its_sensitivity() -> None:
    wire = shared()
    sent = wire.sent
    assert [p.name for p in sent.parts] == ["gradient"]
    assert (sent.name, sent.length, sent.sensitivity_l2, sent.sensitivity_entries) == ("short", 20, 1.0, 20)
    assert wire.coordinates == 0
    assert wire.draw(0, 0).saturated(np.zeros(20, dtype=np.int64)) is None


@given(st.integers(0, 10**6), st.sampled_from(["none", "random_k", "low_rank"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_one_example_changes_what_is_sent_by_no_more_than_is_charged(seed: int, kind: str, rotation: bool) -> None:
    """With equal coins: the clipping norm in integers, and the root of the entries for rounding; also when clipped."""
    wire = shared(
        Recipe(
            shapes=RECIPE.shapes, frozen=0, kind=kind, fraction=0.5, unbiased=True, rotation=rotation, seed=1, row="row"
        )
    )  # type: ignore[arg-type]
    carrier = wire.draw(2, seed % 7)
    rng = np.random.default_rng(seed)
    before = rng.normal(size=SIZE) * rng.choice([0.01, 0.3, 5.0])
    example = rng.normal(size=SIZE) * (rng.random(SIZE) < rng.choice([0.05, 1.0]))
    example /= max(1.0, float(np.linalg.norm(example)))
    one, two = (carrier.encode({"gradient": v}, coins("same")) for v in (before, before + example))
    most = wire.sent.scale * 1.0 + np.sqrt(wire.dimension)
    assert np.linalg.norm(one - two) <= most
    assert max(np.abs(one).max(), np.abs(two).max()) <= wire.encoder.bound == 125


def test_rounding_and_maps_together_are_unbiased() -> None:
    wire = shared()
    x = np.random.default_rng(5).normal(size=SIZE) * 0.05
    found = []
    for i in range(1500):
        carrier = wire.draw(0, i)
        found.append(carrier.decode(carrier.encode({"gradient": x}, coins(str(i))))["gradient"])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - x) / error).max() < 5.0


@pytest.mark.parametrize("bound", [0.5, 0.01, 2.0])
def test_parts_of_another_length_travel_whole_and_fit_a_smaller_bound(bound: float) -> None:
    source = UploadSpec(
        name="row",
        parts=(Part("update", (SIZE,), 0.5), Part("extra", (3,), 0.5)),
        scale=100.0,
        sensitivity_l2=None,
        sensitivity_entries=None,
        unit="local",
    )
    carrier = wire_of(source, RECIPE, bound, 1000.0 / bound).draw(0, 0)
    values = carrier.encode({"update": np.zeros(SIZE), "extra": np.array([0.1, 0.2, -0.5])}, coins("b"))
    assert len(values) == 20 + 3 + 1
    assert carrier.decode(values)["extra"].shape == (3,)
    np.testing.assert_allclose(carrier.decode(3 * values)["extra"], [0.3, 0.6, -1.5], atol=0.01)


def test_a_contribution_of_other_parts_is_refused() -> None:
    from secure_fcl.errors import ConfigInvalid

    with pytest.raises(ConfigInvalid, match="declares"):
        local().draw(0, 0).encode({"gradient": np.zeros(SIZE)}, coins("c"))
