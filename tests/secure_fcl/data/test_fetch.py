import contextlib
import gzip
import hashlib
import io
import urllib.error
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.data import DownloadFailed, fetch
from secure_fcl.data.catalogue import load_source
from secure_fcl.data.fetch import fetch_source, open_url
from secure_fcl.data.idx import write_idx
from secure_fcl.data.sources import Archive, Source


class Web:
    """Answers from a dictionary of addresses, and remembers what was asked."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages, self.asked = pages, list[str]()

    @contextlib.contextmanager
    def open(self, url: str) -> Iterator[io.BytesIO]:
        self.asked.append(url)
        if url not in self.pages:
            raise urllib.error.URLError("no such host")
        yield io.BytesIO(self.pages[url])


@pytest.fixture
def packed(tiny: Source, tiny_arrays: tuple[np.ndarray, ...], tmp_path: Path) -> dict[str, bytes]:
    """The four files as they are published."""
    pages = {}
    for file, values in zip(tiny.files, tiny_arrays, strict=True):
        write_idx(values, tmp_path / "page", compress=True)
        pages[f"{file.name}.gz"] = (tmp_path / "page").read_bytes()
    return pages


@pytest.fixture
def published(tiny: Source, packed: dict[str, bytes]) -> Source:
    """`tiny` with checksums and two mirrors."""
    one, two, three, four = (
        replace(file, packed_size=len(packed[f"{file.name}.gz"]), packed_md5=md5(packed[f"{file.name}.gz"]))
        for file in tiny.files
    )
    return replace(tiny, files=(one, two, three, four), mirrors=("http://first/", "http://second/"))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_everything_arrives_and_progress_is_told(published: Source, packed: dict[str, bytes], tmp_path: Path) -> None:
    web = Web({f"http://first/{name}": content for name, content in packed.items()})
    told: list[tuple[str, int, int]] = []
    folder = fetch_source(published, tmp_path / "d", opener=web.open, progress=lambda *step: told.append(step))
    assert folder == tmp_path / "d" / "Tiny" / "raw"
    assert {path.name for path in folder.iterdir()} == set(packed)
    assert told == [(name, len(content), len(content)) for name, content in packed.items()]
    assert len(load_source(published, tmp_path / "d")) == 5
    before = len(web.asked)
    fetch_source(published, tmp_path / "d", opener=web.open)
    assert len(web.asked) == before


def test_the_second_mirror_helps_and_only_the_right_content_stays(
    published: Source, packed: dict[str, bytes], tmp_path: Path
) -> None:
    pages = {f"http://second/{name}": content for name, content in packed.items()}
    pages["http://first/train-labels.gz"] = gzip.compress(b"an error page")
    folder = fetch_source(published, tmp_path / "d", opener=Web(pages).open)
    assert (folder / "train-labels.gz").read_bytes() == packed["train-labels.gz"]


def test_wrong_content_everywhere_leaves_nothing_behind(published: Source, tmp_path: Path) -> None:
    pages = {f"{mirror}train-images.gz": b"wrong" for mirror in published.mirrors}
    with pytest.raises(DownloadFailed, match=f"md5 {md5(b'wrong')} instead of") as caught:
        fetch_source(published, tmp_path / "d", opener=Web(pages).open)
    assert all(mirror in str(caught.value) for mirror in published.mirrors)
    assert list((tmp_path / "d" / "Tiny" / "raw").iterdir()) == []


def test_an_endless_answer_is_cut_off(published: Source, tmp_path: Path) -> None:
    size = published.files[0].packed_size

    class Endless(io.BytesIO):
        served = 0

        def read(self, count: int | None = -1, /) -> bytes:
            self.served += size
            assert self.served < 10 * size
            return bytes(size)

    with pytest.raises(DownloadFailed):
        fetch_source(published, tmp_path / "d", opener=lambda _: contextlib.nullcontext(Endless()))


def test_an_interruption_leaves_nothing_behind(published: Source, tmp_path: Path) -> None:
    class Stopped(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_source(published, tmp_path / "d", opener=lambda _: contextlib.nullcontext(Stopped()))
    assert list((tmp_path / "d" / "Tiny" / "raw").iterdir()) == []


def test_no_network_is_said_plainly(published: Source, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="no such host") as caught:
        fetch_source(published, tmp_path / "d", opener=Web({}).open)
    assert "without a network, copy it to" in str(caught.value)
    assert published.files[0].packed_md5 in str(caught.value)


def test_a_damaged_file_is_replaced(published: Source, packed: dict[str, bytes], tmp_path: Path) -> None:
    web = Web({f"http://first/{name}": content for name, content in packed.items()})
    folder = tmp_path / "d" / published.folder
    folder.mkdir(parents=True)
    (folder / "train-images").write_bytes(b"damaged")
    fetch_source(published, tmp_path / "d", opener=web.open)
    assert not (folder / "train-images").exists()
    assert len(load_source(published, tmp_path / "d")) == 5


def test_an_archive_is_opened_and_kept(tiny: Source, packed: dict[str, bytes], tmp_path: Path) -> None:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as content:
        for name, page in packed.items():
            content.writestr(f"gzip/{name}", page)
        content.writestr("gzip/../../evil", "outside")
    zipped = box.getvalue()
    source = replace(tiny, mirrors=("http://a/",), archive=Archive("gzip.zip", len(zipped), md5(zipped), "gzip"))
    web = Web({"http://a/gzip.zip": zipped})
    folder = fetch_source(source, tmp_path / "d", opener=web.open)
    assert {path.name for path in folder.iterdir()} == {*packed, "gzip.zip"}
    assert len(load_source(source, tmp_path / "d")) == 5
    (folder / "test-labels.gz").unlink()
    fetch_source(source, tmp_path / "d", opener=web.open)
    assert web.asked == ["http://a/gzip.zip"]


def test_installed_sets_need_no_download() -> None:
    assert fetch("hapt", opener=Web({}).open) is None
    assert fetch("digits", opener=Web({}).open) is None


def test_a_folder_that_cannot_be_written(published: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadFailed, match="cannot be written"):
        fetch_source(published, tmp_path / "file", opener=Web({}).open)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(DownloadFailed, match="neither http nor https"):
        open_url(url)
