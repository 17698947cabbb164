import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.errors import CorruptRecordError, SerialisationError, StorageError
from evaluation.files import JsonLines, atomic_write, read_json, read_jsonl, write_json
from evaluation.strict_json import from_json, to_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_json_round_trip(value: object) -> None:
    assert from_json(to_json(value)) == value


@dataclass(frozen=True)
class _Point:
    x: float
    label: str


def test_what_json_cannot_say_becomes_null_or_an_error() -> None:
    assert to_json([math.nan, math.inf, -math.inf, np.float32("nan")]) == "[null, null, null, null]"
    mixed = {"a": np.array([[1, 2]]), "b": np.int64(3), "c": np.bool_(True), "d": (1, 2)}
    assert from_json(to_json(mixed)) == {"a": [[1, 2]], "b": 3, "c": True, "d": [1, 2]}
    assert to_json(_Point(1.5, "p")) == '{"x": 1.5, "label": "p"}'
    for bad in (b"bytes", {1, 2}, object(), {1: "key"}, _Point):
        with pytest.raises(SerialisationError):
            to_json(bad)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "{", "", "1 2", "[" * 100_000])
def test_loose_json_is_refused(text: str) -> None:
    with pytest.raises(SerialisationError):
        from_json(text)


def test_atomic_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    atomic_write(path, "old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    atomic_write(path, "")
    assert path.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_keeps_the_old_file_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    atomic_write(path, "old")

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"file\.txt: No space left on device; free disk space"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_reaches_the_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        steps.append("fsync")
        fsync(descriptor)

    def recorded_replace(self: Path, target: Path) -> Path:
        steps.append("replace")
        assert self.parent == target.parent
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    atomic_write(tmp_path / "file", b"x")
    assert steps == ["fsync", "replace", "fsync"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    atomic_write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_errors_name_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="create the folder first") as caught:
        atomic_write(tmp_path / "nowhere" / "file", "x")
    assert caught.value.path == tmp_path / "nowhere" / "file"
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="name a file"):
        atomic_write(tmp_path / "folder", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(StorageError, match="correct the path"):
        read_jsonl(tmp_path / "missing.jsonl")
    with pytest.raises(StorageError):
        read_json(tmp_path / "missing.json")


def test_permissions_follow_the_mode_and_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        atomic_write(tmp_path / "open", "x")
        atomic_write(tmp_path / "secret", "x", mode=0o600)
    finally:
        os.umask(old)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_json_files(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": [1, math.nan]})
    assert read_json(path) == {"a": [1, None]}
    path.write_text("[NaN]")
    with pytest.raises(SerialisationError, match=r"value\.json"):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SerialisationError, match=r"value\.json"):
        read_json(path)


def test_records_round_trip_and_append(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with JsonLines(path) as lines:
        assert lines.repaired is None
        lines.append({"n": 1, "x": math.nan})
        assert read_jsonl(path).records == ({"n": 1, "x": None},)
    with JsonLines(path) as lines:
        lines.append({"text": "two\nlines"})
    assert read_jsonl(path).records == ({"n": 1, "x": None}, {"text": "two\nlines"})
    assert path.read_bytes().count(b"\n") == 2


@given(cut=st.integers(0, 200))
def test_any_crash_loses_at_most_the_last_record(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("crash") / "r.jsonl"
    with JsonLines(path) as lines:
        for n in range(5):
            lines.append({"n": n, "text": "ä" * n})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - min(cut, len(whole))])
    left = path.read_bytes()
    found = read_jsonl(path)
    complete = left.count(b"\n")
    assert complete <= len(found.records) <= complete + 1
    assert [record["n"] for record in found.records] == list(range(len(found.records)))
    assert (found.torn is None) == (len(found.records) > complete or left.endswith(b"\n") or not left)
    with JsonLines(path) as lines:
        assert lines.repaired == found.torn
        lines.append({"n": len(found.records)})
    again = read_jsonl(path)
    assert again.torn is None
    assert [record["n"] for record in again.records] == list(range(len(found.records) + 1))


@pytest.mark.parametrize("content", [b'{"a": 1}\n{"b"\n{"c": 3}\n', b"[1]\n", b'{"a": 1}\nnull\n', b"\xff\n{}\n"])
def test_a_bad_line_inside_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(CorruptRecordError, match=r"r\.jsonl, line \d"):
        read_jsonl(path)
    with pytest.raises(CorruptRecordError):
        JsonLines(path)
    assert path.read_bytes() == content


def test_a_torn_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"b": ')
    found = read_jsonl(path)
    assert found.records == ({"a": 1},)
    assert found.torn is not None
    assert "line 3" in found.torn
    path.write_bytes(b'{"a": 1}\n' + b"\0" * 50)
    assert read_jsonl(path).records == ({"a": 1},)
    path.write_bytes(b"")
    assert read_jsonl(path).records == ()


def test_a_failed_append_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    lines = JsonLines(path)
    lines.append({"n": 0})
    write = os.write

    def full_after_three_bytes(descriptor: int, data: memoryview) -> int:
        if len(data) > 5:
            return write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after_three_bytes)
        with pytest.raises(StorageError, match="free disk space"):
            lines.append({"n": 1})
    lines.append({"n": 2})
    lines.close()
    lines.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 2]


def test_nothing_is_written_for_a_record_json_cannot_hold(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "r.jsonl") as lines, pytest.raises(SerialisationError):
        lines.append({"n": b"bytes"})
    assert (tmp_path / "r.jsonl").read_bytes() == b""
