"""The data set that a configuration chooses: of the catalogue, of a folder, or of code of one's own."""

from __future__ import annotations

from typing import Protocol

from secure_fcl.data.catalogue import load, own_data
from secure_fcl.data.dataset import Dataset
from secure_fcl.data.folder.load import load_folder


class Choice(Protocol):
    """The section `data` of a configuration."""

    @property
    def source(self) -> str:
        """Where it comes from: catalogue, folder, or `module:name`."""

    @property
    def name(self) -> str:
        """Name in the catalogue."""

    @property
    def data_dir(self) -> str:
        """Folder of data files."""


def load_chosen(choice: Choice) -> Dataset:
    """Read the data set that a configuration names.

    Raises:
        DataError: it is unknown, missing, damaged, or cannot be used as declared.
    """
    match choice.source:
        case "catalogue":
            return load(choice.name, choice.data_dir or None)
        case "folder":
            return load_folder(choice.data_dir)
        case reference:
            return own_data(reference, "data.source")
