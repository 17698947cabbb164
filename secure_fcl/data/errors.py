"""What can go wrong with a data set."""

from __future__ import annotations

from secure_fcl.errors import SecureFclError


class DataError(SecureFclError):
    """Base class of the data sets' errors."""


class DataUnknown(DataError):
    """No data set has this name."""


class DataMissing(DataError):
    """A data set's files were found in none of the places that were looked at."""


class DataDamaged(DataError):
    """A file is there, but its checksum, its header or its values are not what they must be."""


class NotPublished(DataDamaged):
    """A file of a published name is not the published file, which is no fault of a file of one's own."""


class DataRefused(DataError):
    """Data of the user's own cannot be used as declared; names the file and the row."""


class DownloadFailed(DataError):
    """No mirror delivered a file with the expected checksum."""


def why_unread(error: Exception) -> str:
    """Return why numpy could not read a file, leaving out numpy's advice to unpickle what is no array."""
    return "it holds no plain numbers" if "pickle" in str(error) else str(error)
