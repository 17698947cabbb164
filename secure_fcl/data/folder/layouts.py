"""What the folders around a file say of it: half, client and label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secure_fcl.data.errors import DataRefused
from secure_fcl.data.folder.section import FolderSection
from secure_fcl.data.labels import LEFT_OUT, codes


@dataclass(frozen=True, kw_only=True)
class Place:
    """Of one file: client ("" for nobody), label (`LEFT_OUT` to leave it out), half (None: not said), recording."""

    client: str
    label: int
    test: bool | None
    recording: str


def place_of(path: Path, folder: Path, section: FolderSection) -> Place:
    """Return what the path of a file says by the declared layout.

    Raises:
        DataRefused: it lies at another depth, or a folder's name is no half or no label.
    """
    parts, kinds = path.relative_to(folder).parts[:-1], section.layout.split("/")
    if len(parts) != len(kinds):
        raise DataRefused(
            f"{path} lies in {len(parts)} folders, and layout = {section.layout!r} declares {len(kinds)}; move it, or "
            "declare another layout"
        )
    said = dict(zip(kinds, parts, strict=True))
    half = said.get("split")
    if half not in (None, "train", "test"):
        raise DataRefused(f"{path}: the outermost folder is {half!r}, not train or test; rename it")
    label = codes([said["label"]], section.classes, lambda _: str(path), "label", section.ignore_labels)
    client = said.get("client", "")
    return Place(
        client=client,
        label=int(label[0]),
        test=None if half is None else half == "test",
        # One file in two halves, or under two labels, is two recordings.
        recording="/".join([*(part for kind, part in said.items() if kind != "client"), path.stem]),
    )


def left_out(place: Place) -> bool:
    """Return whether the label of a file is declared to be left out."""
    return place.label == LEFT_OUT
