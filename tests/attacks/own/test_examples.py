"""Members and non-members from files of every form."""

from pathlib import Path

import numpy as np
import pytest

from attacks.errors import AuditInvalid
from attacks.own.examples import joined, read_examples
from attacks.own.settings import Csv


def csv(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_names_of_classes_recordings_and_a_shape(tmp_path: Path) -> None:
    path = csv(tmp_path, "person,a,b,c,d,what\nada,1,2,3,4,walk\nbob,5,6,7,8,sit\nada,9,1e1,-1,.5,walk\n")
    found = read_examples(path, Csv(label="what", cluster="person", shape=(2, 2)), ("sit", "walk"))
    assert found.candidates.x.shape == (3, 2, 2)
    assert found.candidates.x[2].tolist() == [[9.0, 10.0], [-1.0, 0.5]]
    assert found.candidates.y.tolist() == [1, 0, 1]
    assert found.clusters is not None
    assert found.clusters.tolist() == ["ada", "bob", "ada"]
    assert not found.dated


def test_a_recording_with_examples_of_either_kind_is_one_cluster(tmp_path: Path) -> None:
    form = Csv(cluster="person")
    members = read_examples(csv(tmp_path, "a,label,person\n1,0,eve\n2,1,ada\n"), form)
    others = read_examples(csv(tmp_path, "a,label,person\n3,0,ada\n4,1,bob\n", "b.csv"), form)
    both, truth = joined(members, others)
    assert both.cluster[1] == both.cluster[2]
    assert len(set(both.cluster.tolist())) == 3
    assert truth.tolist() == [True, True, False, False]
    alone = read_examples(csv(tmp_path, "a,label\n3,0\n4,1\n", "c.csv"), Csv())
    with pytest.raises(AuditInvalid, match="do not both have cluster"):
        joined(members, alone)
    assert len(set(joined(alone, alone)[0].cluster.tolist())) == 4


def test_arrays_in_npz_and_npy(tmp_path: Path) -> None:
    x, y = np.ones((3, 2, 4), np.float64), np.array([0, 2, 1], np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=y, cluster=np.array(["p", "q", "p"]), task=[0, 1, 1], kept=[1, 0, 1])
    found = read_examples(tmp_path / "a.npz", Csv())
    assert found.candidates.x.dtype == np.float32
    assert (found.candidates.y.tolist(), found.candidates.task.tolist()) == ([0, 2, 1], [0, 1, 1])
    assert (found.flags["kept"].tolist(), found.dated) == ([True, False, True], True)
    np.save(tmp_path / "b.npy", x)
    np.save(tmp_path / "b_labels.npy", y)
    assert np.array_equal(read_examples(tmp_path / "b.npy", Csv()).candidates.x, found.candidates.x)


@pytest.mark.parametrize(
    ("text", "form", "sentence"),
    [
        ("a,label\n1,0\nx,1\n", Csv(), "row 3, column 'a' holds 'x', which is no number"),
        ("a,label\n1,0\n1\n", Csv(), "row 3 has 1 cells for 2 columns"),
        ("a,label\n1,0\nnan,1\n", Csv(), "1 values that are not finite"),
        ("a,b\n1,0\n", Csv(), "have 0 columns 'label' among a, b"),
        ("a,b,label\n1,2,0\n", Csv(shape=(3,)), r"have 2 columns of numbers, and csv.shape = \[3\] takes 3"),
        ("a,label\n1,walk\n", Csv(), "the label 'walk' is none of labels"),
        ("a,label\n1,-1\n", Csv(), "the label -1 is below 0"),
        ("a,label\n", Csv(), "n above 0"),
        ("", Csv(), "have 0 columns 'label'"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said(tmp_path: Path, text: str, form: Csv, sentence: str) -> None:
    with pytest.raises(AuditInvalid, match=sentence):
        read_examples(csv(tmp_path, text), form)
