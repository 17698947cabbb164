from pathlib import Path

import numpy as np
import pytest

from secure_fcl.data.idx import write_idx
from secure_fcl.data.sources import DataFile, Source


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the real cache folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SECURE_FCL_DATA", raising=False)
    return home


@pytest.fixture
def tiny() -> Source:
    """Three training and two test images of 4 x 5 pixels, two classes, published without checksums."""
    names = ("train-images", "train-labels", "test-images", "test-labels")
    one, two, three, four = (
        DataFile(name=name, size=size) for name, size in zip(names, (16 + 60, 8 + 3, 16 + 40, 8 + 2), strict=True)
    )
    return Source(name="tiny", folder="Tiny/raw", files=(one, two, three, four), classes=("no", "yes"), mirrors=())


@pytest.fixture
def tiny_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    pixels = np.arange(100, dtype=np.uint8).reshape(5, 4, 5)
    labels = np.array([0, 1, 0, 1, 1], dtype=np.uint8)
    return pixels[:3], labels[:3], pixels[3:], labels[3:]


@pytest.fixture
def tiny_folder(tmp_path: Path, tiny: Source, tiny_arrays: tuple[np.ndarray, ...]) -> Path:
    """A data directory that holds `tiny`, half of it gzipped."""
    folder = tmp_path / "data" / tiny.folder
    folder.mkdir(parents=True)
    for i, (file, values) in enumerate(zip(tiny.files, tiny_arrays, strict=True)):
        write_idx(values, folder / (file.name + (".gz" if i % 2 else "")), compress=bool(i % 2))
    return tmp_path / "data"
