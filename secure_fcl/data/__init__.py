"""Data sets as plain arrays in public units: shipped (HAPT, digits), read from a data directory, or of one's own."""

from __future__ import annotations

from secure_fcl.data.arrays import as_dataset
from secure_fcl.data.catalogue import NAMES, DatasetStatus, fetch, list_datasets, load, verify
from secure_fcl.data.choice import load_chosen
from secure_fcl.data.dataset import NO_CLIENT, Dataset
from secure_fcl.data.digits import load_digits
from secure_fcl.data.errors import (
    DataDamaged,
    DataError,
    DataMissing,
    DataRefused,
    DataUnknown,
    DownloadFailed,
    NotPublished,
)
from secure_fcl.data.folder.load import load_folder
from secure_fcl.data.folder.npz import save_dataset
from secure_fcl.data.hapt import load_hapt
from secure_fcl.data.places import FileCheck, data_dirs

__all__ = [
    "NAMES", "NO_CLIENT", "DataDamaged", "DataError", "DataMissing", "DataRefused", "DataUnknown", "Dataset",
    "DatasetStatus", "DownloadFailed", "FileCheck", "NotPublished", "as_dataset", "data_dirs", "fetch",
    "list_datasets", "load", "load_chosen", "load_digits", "load_folder", "load_hapt", "save_dataset", "verify",
]  # fmt: skip
