"""One labelled data set as plain arrays, whatever it was read from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataDamaged

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

COLUMNS = ("x", "y", "client", "session", "run", "position", "train", "test")
"""The arrays of a data set, one entry an example."""

NO_CLIENT = -1
"""Value of `Dataset.client` for an example that belongs to nobody in particular."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Examples in a fixed order, with what a partition, a stream and a certificate need to know of each.

    All arrays have the same first length n and are made read-only. `train` and `test` are disjoint; an
    example may be in neither.

    Attributes:
        name: Name under which `load` finds it.
        x: float32, (n, channels, time), (n, colours, height, width) or (n, features), in `units`.
        y: int64 (n,), 0-based indices into `classes`.
        client: int64 (n,), natural client (the person) counted from 0, or `NO_CLIENT`.
        session: int64 (n,), recording session as the source numbers it, 0 where there is none.
        run: int64 (n,), recording run; windows of different runs share no reading.
        position: int64 (n,), index of the window inside its run, in time order.
        train: bool (n,).
        test: bool (n,).
        classes: Public label set, fixed before any data is seen; a class may have no example.
        units: What one unit of `x` is. The scales are public constants, never statistics of the data.
        windows_per_reading: Most examples that one raw reading lies in (2 where windows overlap by half).
        source: Citation and licence.
        client_names: Public names of all clients, in the order in which `client` counts them; a client may have no
            example. Empty: the clients are those that have examples.
        digest: sha256 (hex) of all arrays, class names and client names; filled in when left empty.

    Raises:
        DataDamaged: unequal lengths, no example, values that are not finite, labels outside `classes`,
            or an example that is in both halves.
    """

    name: str
    x: Floats
    y: Ints
    client: Ints
    session: Ints
    run: Ints
    position: Ints
    train: Mask
    test: Mask
    classes: tuple[str, ...]
    units: str
    windows_per_reading: int = 1
    source: str = ""
    client_names: tuple[str, ...] = ()
    digest: str = field(default="")

    def __post_init__(self) -> None:
        columns = columns_of(self)
        problem = _problem(self, columns)
        if problem:
            raise DataDamaged(f"data set {self.name!r}: {problem}; read it again from its source")
        for array in columns.values():
            array.flags.writeable = False
        if not self.digest:
            object.__setattr__(self, "digest", _digest(columns, self.classes, self.client_names))

    def __len__(self) -> int:
        """Number of examples n."""
        return len(self.y)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, x={self.x.shape}, {len(self.classes)} classes, "
            f"{int(self.train.sum())} train, {int(self.test.sum())} test, sha256={self.digest[:12]})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, without the leading n."""
        return self.x.shape[1:]

    @property
    def clients(self) -> tuple[int, ...]:
        """The natural clients in ascending order, also those without an example where their names are declared."""
        if self.client_names:
            return tuple(range(len(self.client_names)))
        return tuple(int(c) for c in np.unique(self.client) if c != NO_CLIENT)


def columns_of(data: Dataset) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of a data set by their names in `COLUMNS`."""
    return {name: getattr(data, name) for name in COLUMNS}


def _problem(data: Dataset, columns: dict[str, npt.NDArray[np.generic]]) -> str:
    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) != 1:
        return f"arrays of unequal length {lengths}"
    if not len(data.y):
        return "it has no example"
    wanted = {"x": np.float32, "train": np.bool_, "test": np.bool_}
    for name, array in columns.items():
        if array.dtype != wanted.get(name, np.int64):
            return f"{name} has type {array.dtype}, not {np.dtype(wanted.get(name, np.int64))}"
        if name != "x" and array.ndim != 1:
            return f"{name} has shape {array.shape}, not (n,)"
    if data.x.ndim not in (2, 3, 4):
        return f"x has shape {data.x.shape}, neither (n, features), (n, channels, time) nor (n, colours, height, width)"
    if not np.isfinite(data.x).all():
        return "x holds NaN or infinite values"
    if data.client_names and not (data.client.min() >= 0 and data.client.max() < len(data.client_names)):
        return f"clients {data.client.min()}..{data.client.max()} do not fit {len(data.client_names)} client names"
    if data.y.min() < 0 or data.y.max() >= len(data.classes):
        return f"labels {data.y.min()}..{data.y.max()} do not fit {len(data.classes)} classes"
    if (data.train & data.test).any():
        return f"{int((data.train & data.test).sum())} examples are both training and test examples"
    return ""


def _digest(columns: dict[str, npt.NDArray[np.generic]], classes: tuple[str, ...], clients: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for name, array in columns.items():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(f"{name}|{little.dtype.str}|{little.shape}|".encode())
        total.update(little.data)
    total.update("|".join(classes).encode())
    if clients:
        total.update(("\n" + "|".join(clients)).encode())
    return total.hexdigest()
