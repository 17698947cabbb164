"""IDX files of any content under the names that torchvision's MNIST has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataDamaged, DataMissing, DataRefused
from secure_fcl.data.folder.section import FolderSection
from secure_fcl.data.folder.stretches import Stretch
from secure_fcl.data.idx import parse_idx, unpack
from secure_fcl.data.labels import LEFT_OUT, codes

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
UNITS = "ink, 0 (none) to 1 (byte 255)"

_REMEDY = "write it again"


def find_half(folder: Path, half: str) -> tuple[Path, Path] | None:
    """Return images and labels of "train" or "test" (t10k, as MNIST calls it); None where neither is there.

    Raises:
        DataMissing: one of both is there, and the other is not.
        DataRefused: several files could be meant.
    """
    starts = ("train",) if half == "train" else ("t10k", "test")
    images, labels = (_only(folder, starts, kind) for kind in (IMAGES, LABELS))
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        there, missing = (images, LABELS) if images else (labels, IMAGES)
        raise DataMissing(f"{there} is there, and {starts[0]}-{missing} is not; put it beside it")
    return images, labels


def _only(folder: Path, starts: tuple[str, ...], kind: str) -> Path | None:
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.name.removesuffix(".gz").replace(".idx", "-idx").endswith(tuple(f"{start}-{kind}" for start in starts))
    ]
    if len(found) > 1:
        raise DataRefused(f"{found[0]} and {found[1]} could both be the {starts[0]} {kind[:6]}; keep one of them")
    return found[0] if found else None


def read_idx(folder: Path, section: FolderSection) -> list[Stretch]:
    """Return an image a stretch, those of the test files for testing; they belong to nobody.

    Raises:
        DataMissing: there are no files of these names.
        DataRefused: a file is no IDX file of bytes, or images and labels do not fit.
    """
    halves = {half: find_half(folder, half) for half in ("train", "test")}
    if halves["train"] is None:
        raise DataMissing(
            f"{folder} holds no train-{IMAGES} (perhaps with .gz); put the four files of MNIST's names there"
        )
    found: list[Stretch] = []
    shape: tuple[int, ...] = ()
    for half, paths in halves.items():
        if paths is None:
            continue
        pixels, values = _parsed(paths[0], 3), _parsed(paths[1], 1)
        if len(pixels) != len(values):
            raise DataRefused(
                f"{paths[0]} holds {len(pixels)} images for the {len(values)} labels beside it; {_REMEDY}"
            )
        shape = shape or pixels.shape[1:]
        if pixels.shape[1:] != shape:
            raise DataRefused(
                f"{paths[0]} holds images of {pixels.shape[1:]}, and training ones have {shape}; {_REMEDY}"
            )
        if section.transposed:
            pixels = pixels.transpose(0, 2, 1)
        x = np.divide(pixels[:, None, None], np.float32(255), dtype=np.float32)
        y = codes(values, section.classes, _place(paths[1]), "label", section.ignore_labels)
        test = None if halves["test"] is None else half == "test"
        found += [
            Stretch(client="", recording=f"{half}/{i}", x=x[i], label=int(y[i]), test=test)
            for i in np.flatnonzero(y != LEFT_OUT).tolist()
        ]
    if halves["test"] is not None and section.test_share:
        raise DataRefused(
            f"{folder} has test files, and test_share = {section.test_share:g} would draw more; take it out"
        )
    return found


def _place(path: Path) -> Callable[[int], str]:
    return lambda row: f"{path} entry {row + 1}"


def _parsed(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    try:
        return parse_idx(unpack(path.read_bytes(), 0, path, _REMEDY), dimensions, path, _REMEDY)
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}; mend its permissions") from None
    except DataDamaged as error:
        raise DataRefused(str(error)) from error
