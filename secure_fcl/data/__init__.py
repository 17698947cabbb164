"""Data sets as plain arrays in public units: shipped (HAPT, digits) or read from a data directory."""

from __future__ import annotations

from secure_fcl.data.catalogue import NAMES, DatasetStatus, fetch, list_datasets, load, verify
from secure_fcl.data.dataset import NO_CLIENT, Dataset
from secure_fcl.data.digits import load_digits
from secure_fcl.data.errors import DataDamaged, DataError, DataMissing, DataUnknown, DownloadFailed
from secure_fcl.data.hapt import load_hapt
from secure_fcl.data.places import FileCheck, data_dirs

__all__ = [
    "NAMES", "NO_CLIENT", "DataDamaged", "DataError", "DataMissing", "DataUnknown", "Dataset",
    "DatasetStatus", "DownloadFailed", "FileCheck", "data_dirs", "fetch", "list_datasets", "load",
    "load_digits", "load_hapt", "verify",
]  # fmt: skip
