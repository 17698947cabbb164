import numpy as np
import pytest

from secure_fcl.features.fourier import WAVES, WithFourier
from secure_fcl.features.kinds import kind_of
from secure_fcl.strategies import Calm
from secure_fcl.strategies.closed_form.calm import calm
from secure_fcl.strategies.closed_form.calm_choice import chosen_features
from secure_fcl.strategies.entry import SumsNumbers


@pytest.mark.parametrize(
    ("shape", "planned", "noisy", "width", "why"),
    [
        ((6, 64), 5_000, True, 145, "rhythm features, as these are windows of a phone; no Fourier features, which"),
        ((6, 64), 5_000, False, 145 + WAVES, "and 500 Fourier features, as there is no noise"),
        ((6, 64), 1_000, False, 145, "as 1000 planned examples are fewer than 2 x 645"),
        ((1, 8, 8), 1_400, True, 128, "plain features, as setting images upright helps handwriting alone"),
        ((1, 8, 8), 1_400, False, 128 + WAVES, "Fourier"),
        ((30,), 10**6, False, 30, "general features, as the sensor is not known; no Fourier features"),
        ((3, 50), 10**6, True, 0, "general features"),
    ],
)
def test_features_follow_from_public_numbers(
    shape: tuple[int, ...], planned: int, noisy: bool, width: int, why: str
) -> None:
    found = chosen_features("auto", shape, planned, noisy)
    assert why in found.why
    rows = found.features(np.random.default_rng(0).random((4, *shape)).astype(np.float32))
    assert rows.shape[1] == width or not width
    assert np.linalg.norm(rows, axis=1).max() <= 1.0


def test_what_is_asked_for_is_taken_as_it_is() -> None:
    assert "plain features, as configured" in chosen_features("plain", (6, 64), 10**6, False).why


def test_the_sentence_says_how_many_examples_a_scatter_takes() -> None:
    numbers = SumsNumbers(
        name="calm", shape=(6, 64), classes=12, widest_slot=2, examples=500, noisy=True, planned=5_000
    )
    told = calm.told(calm.build(calm.section, numbers), {"train": 3.0, "close": 5.0})
    assert isinstance(told, Calm)
    edge = 5.0 * np.sqrt(2 * 145)
    needed = (edge * 145 * (3.0 * 2) ** 2 / (1 - 0.7**2) / 0.05) ** (1 / 3)
    assert f"scatter of slots with about {needed:.0f} released examples or more" in told.choice
    assert "eigenvalues up to 85 examples" in told.choice


def test_fourier_features_are_a_kernel_and_the_same_everywhere() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 20))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    made = WithFourier(lambda rows: np.asarray(rows, dtype=np.float64))
    waves = made(x)[:, 20:]
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    apart = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(waves @ waves.T, np.exp(-apart / (2 * 0.5**2)), atol=0.2)
    np.testing.assert_array_equal(made(x), WithFourier(lambda rows: rows)(x))
    assert made(np.ones((1, 3)) / 2)[0, 3:6] == pytest.approx(FIRST, abs=1e-12)


def test_kinds_go_by_shape() -> None:
    assert [kind_of(s) for s in ((6, 64), (1, 28, 28), (1, 3, 9), (3, 32, 32), (6, 65), (9,))] == [
        "hapt", "grey", "other", "other", "other", "other"
    ]  # fmt: skip


FIRST = [0.003523684101795477, -0.043154121769637524, -0.04024161111522876]
"""Of a vector of three halves: other directions would be another classifier, on some devices only."""
