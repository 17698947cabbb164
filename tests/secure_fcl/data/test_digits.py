import numpy as np

from secure_fcl.data import NO_CLIENT, load_digits


def test_digits_have_the_published_counts_and_range() -> None:
    digits = load_digits()
    assert digits.x.shape == (1_797, 1, 8, 8)
    # Class counts of the UCI test file that scikit-learn ships.
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (digits.x.min(), digits.x.max()) == (0.0, 1.0)
    assert (digits.x * 16 == np.round(digits.x * 16)).all()
    assert (digits.client == NO_CLIENT).all()
    assert digits.clients == ()


def test_the_split_is_fixed_and_keeps_every_class() -> None:
    digits = load_digits()
    assert (digits.train ^ digits.test).all()
    assert digits.train.sum() == 1_437
    assert np.bincount(digits.y[digits.test]).min() >= 20
    assert np.flatnonzero(digits.test)[:5].tolist() == [10, 15, 23, 30, 31]
