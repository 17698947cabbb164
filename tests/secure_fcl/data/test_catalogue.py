import gzip
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import secure_fcl.data.catalogue as catalogue
from secure_fcl.data import NAMES, DataDamaged, DataMissing, DataUnknown, data_dirs, list_datasets, load, verify
from secure_fcl.data.catalogue import load_source, source_of
from secure_fcl.data.idx import write_idx
from secure_fcl.data.places import folders, read_verified
from secure_fcl.data.sources import SOURCES, Source

SHARED_MNIST = Path(__file__).parents[4] / "shared" / "data"


def test_a_source_is_read_upright_and_scaled(
    tiny: Source, tiny_folder: Path, tiny_arrays: tuple[np.ndarray, ...]
) -> None:
    data = load_source(tiny, tiny_folder)
    assert data.x.shape == (5, 1, 4, 5)
    np.testing.assert_array_equal(data.x[:3, 0], tiny_arrays[0] / np.float32(255))
    assert data.y.tolist() == [0, 1, 0, 1, 1]
    assert data.train.tolist() == [True] * 3 + [False] * 2
    assert data.clients == ()


def test_emnist_order_is_undone(tiny: Source, tiny_folder: Path, tiny_arrays: tuple[np.ndarray, ...]) -> None:
    data = load_source(replace(tiny, transposed=True), tiny_folder)
    assert data.shape == (1, 5, 4)
    assert data.x[0, 0, 4, 1] == np.float32(tiny_arrays[0][0, 1, 4]) / np.float32(255)


def test_letters_count_from_one(tiny: Source, tiny_folder: Path) -> None:
    with pytest.raises(DataDamaged, match="labels -1"):
        load_source(replace(tiny, first_label=1), tiny_folder)
    assert source_of("emnist-letters").first_label == 1
    assert source_of("emnist-letters").classes[0] == "a"


def test_published_label_sets() -> None:
    sizes = {source.name: len(source.classes) for source in SOURCES}
    assert sizes["emnist-byclass"] == 62
    assert sizes["emnist-bymerge"] == sizes["emnist-balanced"] == 47
    # The order of the published mapping file: class 36 is "a", 46 is "t" (Cohen et al. 2017).
    balanced = source_of("emnist-balanced").classes
    assert (balanced[10], balanced[36], balanced[46]) == ("A", "a", "t")
    assert NAMES[:2] == ("hapt", "digits")
    assert len(set(NAMES)) == len(NAMES)


def test_order_of_places(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    cache = elsewhere / ".cache" / "secure-fcl"
    assert data_dirs() == data_dirs("") == (cache,)
    monkeypatch.setenv("SECURE_FCL_DATA", "/from/variable")
    assert data_dirs("/given") == (Path("/given"), Path("/from/variable"), cache)
    assert data_dirs("~/mine")[0] == elsewhere / "mine"
    assert data_dirs("/from/variable") == (Path("/from/variable"), cache)


def test_the_variable_is_heard(tiny: Source, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataMissing):
        load_source(tiny)
    monkeypatch.setenv("SECURE_FCL_DATA", str(tiny_folder))
    assert len(load_source(tiny)) == 5


def test_missing_is_one_sentence_with_every_folder_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_FCL_DATA", str(tmp_path / "second"))
    with pytest.raises(DataMissing) as caught:
        load("fashion-mnist", tmp_path / "first")
    text = str(caught.value)
    source = source_of("fashion-mnist")
    assert "\n" not in text
    assert all(str(folder) in text for folder in folders(source, tmp_path / "first"))
    assert all(file.name in text for file in source.files)
    assert text.endswith("secure-fcl data fetch fashion-mnist")


def test_half_a_data_set_says_what_it_lacks(tiny: Source, tiny_folder: Path) -> None:
    raw = tiny_folder / tiny.folder
    (raw / "test-images").unlink()
    with pytest.raises(DataMissing, match=re.escape(f"{raw} holds 3 of its 4 files and lacks test-images; looked in")):
        load_source(tiny, tiny_folder)
    assert [check.state for check in verify("mnist", tiny_folder)] == ["missing"] * 4


@pytest.mark.parametrize("place", ["{}", "Tiny/raw/{}", "Tiny/raw/{0}/{0}", "tiny/{0}/{0}"])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_are_found_as_people_unpack_them(
    place: str, dotted: bool, ending: str, tiny: Source, tiny_arrays: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    spelled = replace(tiny, files=tuple(replace(file, name=f"{file.name}-idx1") for file in tiny.files))
    for file, values in zip(spelled.files, tiny_arrays, strict=True):
        name = file.name.replace("-idx", ".idx") if dotted else file.name
        path = tmp_path / (place.format(name) + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_idx(values, path, compress=bool(ending))
    assert len(load_source(spelled, tmp_path)) == 5


def test_files_are_not_mixed_from_two_places(tiny: Source, tiny_folder: Path, tmp_path: Path) -> None:
    raw = tiny_folder / tiny.folder
    other = tmp_path / "other" / tiny.folder
    other.mkdir(parents=True)
    (raw / "train-images").rename(other / "train-images")
    with pytest.raises(DataMissing):
        load_source(tiny, tiny_folder)


@pytest.mark.parametrize("form", ["packed", "plain"])
def test_checksums_decide(tiny: Source, tmp_path: Path, form: str) -> None:
    content = b"\x00\x00\x08\x01\x00\x00\x00\x03" + bytes(3)
    packed = gzip.compress(content, mtime=0)
    file = replace(
        tiny.files[1],
        packed_md5=hashlib.md5(packed).hexdigest(),
        md5=hashlib.md5(content).hexdigest() if form == "plain" else "",
    )
    path = tmp_path / "labels.gz"
    path.write_bytes(packed if form == "packed" else content)
    assert read_verified(path, file)[1].state == "verified"
    other = content[:-1] + b"\x01"
    path.write_bytes(gzip.compress(other, mtime=0) if form == "packed" else other)
    with pytest.raises(DataDamaged, match="is not the published train-labels: md5"):
        read_verified(path, file)


def test_a_copy_zipped_again_is_recognised_by_its_content(tiny: Source, tmp_path: Path) -> None:
    content = b"\x00\x00\x08\x01\x00\x00\x00\x03" + bytes(3)
    file = replace(tiny.files[1], packed_md5="0" * 32, md5=hashlib.md5(content).hexdigest())
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(content, compresslevel=1))
    assert read_verified(path, file)[1].state == "verified"


def test_a_short_file_is_refused(tiny: Source, tiny_folder: Path) -> None:
    path = tiny_folder / tiny.folder / "train-images"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataDamaged, match="75 bytes unpacked instead of 76"):
        load_source(tiny, tiny_folder)


def test_verify_reports_instead_of_raising(
    tiny: Source, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "SOURCES", (tiny,))
    assert [check.state for check in verify("tiny", tiny_folder)] == ["unverified"] * 4
    (tiny_folder / tiny.folder / "test-images").write_bytes(b"nonsense")
    assert [check.state for check in verify("tiny", tiny_folder)] == [
        *["unverified"] * 2,
        "not the published file",
        "unverified",
    ]
    assert [check.state for check in verify("tiny", tmp_path / "none")] == ["missing"] * 4
    assert [row.state for row in list_datasets(tiny_folder)] == ["shipped", "shipped", "found"]
    assert verify("hapt")[0].state == "verified"


def test_the_list_names_a_remedy_for_what_is_missing() -> None:
    rows = list_datasets()
    assert [row.name for row in rows] == list(NAMES)
    assert all((row.state == "missing") == bool(row.remedy) for row in rows)


@pytest.mark.parametrize("name", ["", "MNIST", "cifar10", "../hapt"])
def test_unknown_names_are_answered_with_the_known(name: str) -> None:
    for ask in (load, verify):
        with pytest.raises(DataUnknown, match="emnist-letters"):
            ask(name)


def test_installed_sets_ignore_the_data_directory(tmp_path: Path) -> None:
    assert len(load("digits", tmp_path)) == 1_797
    assert load("hapt", tmp_path).name == "hapt"


@pytest.mark.skipif(not (SHARED_MNIST / "mnist").is_dir(), reason="no copy of MNIST beside the repository")
def test_mnist_is_read_and_verified() -> None:
    assert {check.state for check in verify("mnist", SHARED_MNIST)} == {"verified"}
    mnist = load("mnist", SHARED_MNIST)
    assert mnist.x.shape == (70_000, 1, 28, 28)
    # Published class counts of the training labels, and the first labels of both files.
    assert np.bincount(mnist.y[mnist.train]).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert mnist.y[mnist.train][:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.y[mnist.test][:5].tolist() == [7, 2, 1, 0, 4]
    # The mean ink that everybody's normalisation uses.
    assert abs(mnist.x[mnist.train].mean(dtype=np.float64) - 0.1307) < 5e-5
