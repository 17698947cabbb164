"""Loading a folder by what its data.toml declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secure_fcl.data.dataset import Dataset
from secure_fcl.data.errors import DataRefused
from secure_fcl.data.folder import idx_files, images, wav
from secure_fcl.data.folder.npz import read_npz
from secure_fcl.data.folder.section import FILE, FolderSection, read_section
from secure_fcl.data.folder.stretches import Stretch, assemble, data_set_name
from secure_fcl.data.folder.tables import read_tables


@dataclass(frozen=True, eq=False, kw_only=True)
class Loaded:
    """A data set, what was declared for it, and one line for everything that was left out."""

    data: Dataset
    section: FolderSection
    notes: tuple[str, ...]


def load_folder(path: str | Path) -> Dataset:
    """Read a folder of data files by its data.toml, see `FolderSection`.

    Returns:
        The data set. Windows lie inside stretches of one client, recording and label without a gap, and each stretch
        is a run, so that no reading lies in two; `windows_per_reading` is ceil(window / stride).

    Raises:
        DataMissing: the folder, its data.toml or a file is not there.
        DataRefused: what is declared does not fit the files; names the file and the row.
    """
    return loaded(path).data


def loaded(path: str | Path) -> Loaded:
    """Read a folder as `load_folder` does, and keep what was left out.

    Raises:
        DataMissing, DataRefused: as `load_folder`.
    """
    folder = Path(path).expanduser()
    section = read_section(folder)
    name, notes = data_set_name(section, folder.resolve().name), list[str]()
    stretches: list[Stretch]
    clients: list[str]
    match section.kind:
        case "npz":
            return Loaded(data=read_npz(folder, section, name), section=section, notes=())
        case "table":
            (stretches, clients), units = read_tables(folder, section, notes), ""
        case "idx":
            stretches, clients, units = idx_files.read_idx(folder, section), [], idx_files.UNITS
        case "images":
            (stretches, clients), units = images.read_images(folder, section, notes), images.UNITS
        case "wav":
            (stretches, clients), units = wav.read_wav(folder, section, notes), wav.UNITS
    halves = {one.test for one in stretches}
    drawn = bool(section.test_share or section.test_clients or section.test_recordings)
    if halves <= {None} and not drawn and stretches:
        raise DataRefused(f"{folder / FILE} does not say what is for testing; declare test_clients or test_share")
    return Loaded(data=assemble(section, name, stretches, clients, units), section=section, notes=tuple(notes))
