import numpy as np
import pytest

from secure_fcl.streams.domains import transform

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3, 6, 16), (3, 1, 8, 8), (3, 2, 16)])
def test_domain_zero_is_the_identity_and_nothing_is_empty_safe(shape: tuple[int, ...]) -> None:
    x = RNG.normal(size=shape).astype(np.float32)
    assert transform(x, 0, 4) is x
    assert transform(x[:0], 2, 4).shape == (0, *shape[1:])
    assert transform(x, 1, 4).dtype == np.float32
    assert not np.allclose(transform(x, 1, 4), x)


def test_a_phone_turned_about_its_axis_keeps_lengths_and_the_third_axis() -> None:
    x = RNG.normal(size=(5, 6, 16)).astype(np.float32)
    for domain in range(1, 6):
        turned = transform(x, domain, 6)
        np.testing.assert_array_equal(turned[:, [2, 5]], x[:, [2, 5]])
        for first in (0, 3):
            np.testing.assert_allclose(
                (turned[:, first : first + 2] ** 2).sum(1), (x[:, first : first + 2] ** 2).sum(1), rtol=1e-4
            )
    quarter = transform(x, 1, 4)
    np.testing.assert_allclose(quarter[:, 0], -x[:, 1], atol=1e-6)
    np.testing.assert_allclose(quarter[:, 1], x[:, 0], atol=1e-6)


def test_a_quarter_turn_of_an_image_is_a_rotation_of_the_array() -> None:
    x = RNG.random(size=(2, 1, 8, 8)).astype(np.float32)
    turned = transform(x, 1, 2)
    expected = [np.rot90(x, turns, axes=(2, 3)) for turns in (1, 3)]
    assert any(np.allclose(turned, one, atol=1e-5) for one in expected)


def test_other_signals_have_their_channels_rolled() -> None:
    x = RNG.normal(size=(2, 3, 16)).astype(np.float32)
    np.testing.assert_array_equal(transform(x, 1, 3)[:, 1], x[:, 0])
