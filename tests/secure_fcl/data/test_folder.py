import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from secure_fcl.config import load_config, validate
from secure_fcl.config.outside import outside_references
from secure_fcl.data import Dataset, DataUnknown, as_dataset, load_chosen, load_folder, save_dataset
from secure_fcl.data.folder.load import loaded

_spec = importlib.util.spec_from_file_location("own_folders", Path(__file__).with_name("own_folders.py"))
assert _spec is not None
assert _spec.loader is not None
own = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(own)


def test_a_table_is_cut_into_windows_of_one_label(tmp_path: Path) -> None:
    data = load_folder(own.table(tmp_path / "sensors"))
    # 20 rows of each label: windows of 8 start at 0, 4, 8 and 12.
    assert (data.shape, len(data)) == ((2, 8), 3 * 2 * 4)
    assert (data.windows_per_reading, data.client_names) == (2, ("anna", "ben", "cleo"))
    assert data.clients == (0, 1, 2)
    assert set(data.client[data.test]) == {2}
    assert data.y.tolist() == [0] * 4 + [1] * 4 + ([0] * 4 + [1] * 4) * 2
    assert data.position.tolist() == [0, 1, 2, 3] * 6
    assert len(set(data.run)) == 6
    np.testing.assert_allclose(data.x[1, 0], 0.1 * np.arange(4, 12), atol=1e-6)
    assert data.name == "folder sensors"


@pytest.mark.parametrize(("stride", "most"), [(8, 1), (5, 2), (4, 2), (3, 3), (1, 8), (20, 1)])
def test_no_reading_lies_in_more_windows_than_declared(tmp_path: Path, stride: int, most: int) -> None:
    folder = own.table(tmp_path)
    (folder / "data.toml").write_text(own.TABLE.replace("stride = 4", f"stride = {stride}"))
    data = load_folder(folder)
    assert data.windows_per_reading == most
    # The first channel counts the rows of a file, so a value and a person name a reading.
    for client in data.clients:
        seen = np.round(data.x[data.client == client, 0].astype(np.float64) * 10).astype(int)
        assert np.bincount(seen.ravel()).max() == most
        for reading in np.unique(seen):
            holders = np.flatnonzero((np.round(data.x[:, 0] * 10) == reading).any(axis=1) & (data.client == client))
            assert len(set(data.run[holders])) == 1


def test_gaps_and_recordings_part_a_table(tmp_path: Path) -> None:
    folder = own.table(tmp_path)
    first, second = own.rows("w" * 10), own.rows("w" * 10, start=5.0)
    (folder / "anna.csv").write_text("\n".join([*first, *second[1:]]))
    (folder / "ben").mkdir()
    (folder / "ben.csv").rename(folder / "ben" / "morning.csv")
    (folder / "ben" / "evening.csv").write_text("\n".join(own.rows("w" * 10)))
    data = load_folder(folder)
    anna = data.client == 0
    assert (int(anna.sum()), len(set(data.run[anna])), len(set(data.session[anna]))) == (2, 2, 2)
    assert len(set(data.session[data.client == 1])) == 2
    (folder / "data.toml").write_text(
        own.TABLE.replace('["cleo"]', "[]") + 'test_recordings = ["anna/2", "ben/evening"]\n'
    )
    data = load_folder(folder)
    assert sorted(set(zip(data.client[data.test].tolist(), data.session[data.test].tolist(), strict=True))) == [
        (0, 1),
        (1, 0),
    ]


def test_a_lost_row_is_a_gap_where_that_is_declared(tmp_path: Path) -> None:
    folder = own.table(tmp_path)
    lines = own.rows("w" * 20)
    lines[11] = "1.000,nan,0,walk,x"
    (folder / "anna.csv").write_text("\n".join(lines))
    (folder / "data.toml").write_text(own.TABLE + 'missing = "gap"\n')
    found = loaded(folder)
    mine = found.data.client == 0
    assert len(set(found.data.run[mine])) == 2
    assert not (np.round(found.data.x[mine, 0] * 10) == 10).any()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    folder = own.table(tmp_path)
    (folder / "anna.csv").write_text("\n".join(own.rows("w" * 10 + "r" * 3)))
    (folder / "dora.csv").write_text(own.rows()[0] + "\n")
    (folder / "notes.txt").write_text("hello")
    notes = loaded(folder).notes
    assert any("notes.txt is not read" in note for note in notes)
    assert any("anna.csv: 3 of 13 rows lie in stretches shorter than a window" in note for note in notes)
    assert any("dora.csv has no row; client 'dora'" in note for note in notes)
    assert loaded(folder).data.clients == (0, 1, 2, 3)


def test_idx_files_of_any_content_with_labels_that_are_not_contiguous(tmp_path: Path) -> None:
    data = load_folder(own.idx(tmp_path))
    assert (data.shape, len(data), data.classes) == ((1, 4, 5), 9, ("3", "7", "40"))
    assert data.y.tolist() == [0, 1, 0, 1, 0, 2, 0, 1, 0]
    assert data.test.tolist() == [False] * 6 + [True] * 3
    assert data.clients == ()


def test_arrays_images_and_sounds(tmp_path: Path) -> None:
    arrays = load_folder(own.npz(tmp_path / "npz"))
    assert (arrays.shape, arrays.client_names, arrays.y[:2].tolist()) == ((2, 8), ("a", "b", "c", "d"), [0, 1])
    assert 0 < arrays.test.sum() < 20
    pictures = load_folder(own.images(tmp_path / "images"))
    assert (pictures.shape, len(pictures), int(pictures.test.sum())) == ((3, 6, 5), 6, 2)
    assert pictures.x.max() <= 1.0
    sounds = load_folder(own.wav(tmp_path / "wav"))
    assert (sounds.shape, len(sounds), sounds.client_names) == ((1, 16), 8, ("anna", "cleo"))
    assert np.abs(sounds.x).max() <= 1.0
    assert sounds.x[0, 0, 1] == pytest.approx(300 / 32768)


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = load_folder(own.table(tmp_path))
    for path in tmp_path.glob("*.csv"):
        lines = [line.split(",") for line in path.read_text().splitlines()]
        columns = {name: [line[i] for line in lines[1:]] for i, name in enumerate(lines[0])}
        numbers = {name: [float(v) for v in columns[name]] for name in ("t", "ax", "ay")}
        parquet.write_table(arrow.table(columns | numbers), path.with_suffix(".parquet"))
        path.unlink()
    assert load_folder(tmp_path).digest == expected.digest


def test_what_is_saved_is_read_back_bit_for_bit(tmp_path: Path, hapt: Dataset, digits: Dataset) -> None:
    names = ("x", "y", "client", "session", "run", "position", "train", "test")
    few = replace(hapt, **{name: getattr(hapt, name)[::50] for name in names}, digest="")
    for number, data in enumerate((few, digits, load_folder(own.table(tmp_path / "t")))):
        back = load_folder(save_dataset(data, tmp_path / str(number)))
        assert back.digest == data.digest
        assert (back.classes, back.units, back.source, back.client_names, back.windows_per_reading) == (
            data.classes, data.units, data.source, data.client_names, data.windows_per_reading,
        )  # fmt: skip


def test_objects_in_memory_become_the_same_data_set() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 3, 16)).astype(np.float32), rng.integers(0, 2, 30)
    mask = np.arange(30) >= 20
    classes = ["left", "right"]
    one = as_dataset((x, y), classes=classes, test=mask)
    words = np.array(classes)[y]
    for found, test in (
        ({"x": x, "y": words, "test": mask}, None),
        (TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), mask),
        (TensorDataset(torch.from_numpy(x[:20]), torch.from_numpy(y[:20])),
         TensorDataset(torch.from_numpy(x[20:]), torch.from_numpy(y[20:]))),
        ({"x": x.astype(np.float64), "y": y.astype(np.float64), "train": ~mask}, None),
    ):  # fmt: skip
        assert as_dataset(found, classes=classes, test=test).digest == one.digest
    assert as_dataset(one, name="again").digest == one.digest
    white = as_dataset((np.full((4, 1, 2, 2), 255, np.uint8), [0, 1, 0, 1]), classes=["a", "b"], test=[0, 1, 0, 1])
    assert (white.x == 1.0).all()


def test_a_person_without_data_keeps_a_place() -> None:
    data = as_dataset(
        (np.zeros((4, 3)), ["u", "v", "u", "v"], ["p", "r", "p", "r"]), classes=["u", "v", "never"],
        clients=["p", "q", "r"], test=np.array([0, 0, 1, 1]),
    )  # fmt: skip
    assert data.clients == (0, 1, 2)
    assert data.client.tolist() == [0, 2, 0, 2]


def test_a_function_of_ones_own_is_a_source_and_counts_as_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_source.py").write_text(
        "import numpy as np\n"
        "from torch.utils.data import Dataset\n"
        "class Lines(Dataset):\n"
        "    def __len__(self):\n        return 20\n"
        "    def __getitem__(self, i):\n"
        "        if i == 20:\n            raise IndexError\n"
        "        return np.full((3, 128), i, dtype=np.float32), ['up', 'down'][i % 2]\n"
        "def lines():\n    from secure_fcl.data import as_dataset\n"
        "    return as_dataset(Lines(), classes=['up', 'down'])\n"
        "def bare():\n    return Lines()\n"
    )
    config = load_config(None, ["data.source=own_source:lines", "class_sums.features=own_features:f"])
    data = load_chosen(config.data)
    assert (data.name, data.shape, len(data)) == ("own_source:lines", (3, 128), 20)
    assert validate(config.model_dump()) == config
    assert outside_references(config.model_dump()) == ("own_source:lines", "own_features:f")
    with pytest.raises(DataUnknown, match=r"bare in .*own_source\.py: the label set is public and never read off"):
        load_chosen(load_config(None, ["data.source=own_source:bare"]).data)
