import re
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.data import DataDamaged, DataMissing, Dataset, load_hapt
from secure_fcl.data.hapt import GYRO_UNIT, PATH, SHA256


@pytest.fixture(scope="module")
def hapt() -> Dataset:
    return load_hapt()


def test_the_authors_number_of_windows(hapt: Dataset) -> None:
    assert hapt.x.shape == (10_929, 6, 64)
    assert (hapt.train.sum(), hapt.test.sum()) == (5_569, 5_360)
    assert (hapt.train ^ hapt.test).all()
    assert len(hapt.classes) == 12
    assert hapt.clients == tuple(range(30))
    assert set(np.unique(hapt.session)) == {1, 2, 3}
    assert (hapt.session == 3).sum() == 69


def test_windows_are_cut_from_the_published_signal(hapt: Dataset) -> None:
    with np.load(PATH, allow_pickle=False) as raw:
        signal, start = raw["signal"], raw["segment_start"]
        for i in (0, 1, 5_000, 10_928):
            first = start[hapt.run[i]] + 32 * hapt.position[i]
            window = signal[first : first + 64].T / np.array([8192] * 3 + [4096 * GYRO_UNIT] * 3)[:, None]
            np.testing.assert_array_equal(hapt.x[i], window.astype(np.float32))
            assert raw["segment_label"][hapt.run[i]] - 1 == hapt.y[i]
            assert raw["segment_subject"][hapt.run[i]] - 1 == hapt.client[i]


def test_neighbours_share_half_and_runs_share_nothing(hapt: Dataset) -> None:
    later = np.flatnonzero(hapt.position > 0)
    np.testing.assert_array_equal(hapt.x[later, :, :32], hapt.x[later - 1, :, 32:])
    assert (hapt.run[later] == hapt.run[later - 1]).all()
    assert hapt.windows_per_reading == 2
    for column in (hapt.y, hapt.client, hapt.session):
        pairs = {(int(run), int(value)) for run, value in zip(hapt.run, column, strict=True)}
        assert len(pairs) == len(np.unique(hapt.run))


def test_units_are_gravity(hapt: Dataset) -> None:
    still = np.isin(hapt.y, [hapt.classes.index(name) for name in ("sitting", "standing", "laying")])
    pull = np.linalg.norm(hapt.x[still, :3].mean(axis=2), axis=1)
    assert abs(np.median(pull) - 1.0) < 0.05
    standing = hapt.x[hapt.y == hapt.classes.index("standing"), 0].mean()
    assert standing > 0.9


@pytest.mark.parametrize("where", [0, 1_000_000, -1])
def test_one_changed_byte_is_noticed(tmp_path: Path, where: int) -> None:
    content = bytearray(PATH.read_bytes())
    content[where] ^= 1
    copy = tmp_path / "hapt.npz"
    copy.write_bytes(content)
    with pytest.raises(DataDamaged, match=SHA256):
        load_hapt(copy)


def test_a_missing_file_names_path_and_checksum(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=re.escape(str(tmp_path / "gone.npz"))):
        load_hapt(tmp_path / "gone.npz")


def test_licence_is_shipped() -> None:
    text = PATH.with_name("HAPT_LICENSE.md").read_text()
    assert "CC BY 4.0" in text
    assert "10.24432/C54G7M" in text
    assert SHA256 in text
