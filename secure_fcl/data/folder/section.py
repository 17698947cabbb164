"""What a folder's data.toml declares: label set, scales, rates and windows, all public and fixed before any reading."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from secure_fcl.data.errors import DataMissing, DataRefused

FILE = "data.toml"
Kind = Literal["table", "idx", "npz", "images", "wav"]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

#: Places of a file's path that may be declared, outermost first.
LAYOUTS = ("label", "client/label", "split/label", "split/client/label")

_SPLIT = {"test_clients", "test_recordings", "test_share", "test_by"}
_WINDOWS = {"channels", "rate", "window", "stride"}
_USED: dict[str, set[str]] = {
    "table": _WINDOWS | _SPLIT | {
        "scale", "offset", "time", "time_unit", "label", "recording", "gap", "missing", "delimiter",
    },
    "idx": {"test_share", "transposed"},
    "npz": _SPLIT | {"windows_per_reading", "coded"},
    "images": _SPLIT | {"layout", "size", "colour", "resize"},
    "wav": _WINDOWS | _SPLIT | {"layout"},
}  # fmt: skip
_ALWAYS = {"kind", "name", "classes", "ignore_labels", "clients", "units", "source"}
_NEEDED = {
    "table": ("channels", "label", "rate", "window", "units"),
    "idx": (),
    "npz": ("units",),
    "images": ("size",),
    "wav": ("channels", "rate", "window"),
}


def _texts(values: Any) -> Any:
    """Class names may be written as numbers."""
    if isinstance(values, list | tuple):
        return tuple(str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values)
    return values


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_texts)]
PerChannel = Annotated[tuple[Finite, ...], BeforeValidator(_one_or_more)]


class FolderSection(BaseModel):
    """The keys of data.toml; unknown ones, and those of another kind of files, are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(description="what the files are")
    name: str = Field("", description="what the data set is called; empty: the folder's name")
    classes: Names = Field(min_length=1, description="the public label set, in order; a class may have no example")
    ignore_labels: Names = Field((), description="labels whose examples are left out")
    clients: Names = Field((), description="all clients, those without data too; empty: those that have files")
    units: str = Field("", description="what one unit of an example is")
    source: str = Field("", description="citation and licence")
    test_clients: Names = Field((), description="clients whose examples are for testing")
    test_recordings: Names = Field((), description="recordings for testing, each as client/recording")
    test_share: float = Field(
        0.0, ge=0.0, lt=1.0, description="probability with which a whole recording is for testing, by its name alone"
    )
    test_by: Literal["recording", "stretch"] = Field(
        "recording", description="what test_share draws: whole recordings, or stretches of one label in them"
    )
    channels: Names = Field((), description="table: the columns of readings; wav: a name for each channel")
    scale: PerChannel = Field((1.0,), description="public constants that readings are divided by: one, or per channel")
    offset: PerChannel = Field((0.0,), description="public constants that are taken off before")
    time: str = Field("", description="the column of times; empty: rows follow each other at `rate`")
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = Field("s", description="unit of `time`; iso: date and time")
    label: str = Field("", description="the column of labels")
    recording: str = Field("", description="the column that tells recordings apart; empty: each file is one")
    rate: float = Field(0.0, ge=0.0, allow_inf_nan=False, description="readings per second")
    window: int = Field(0, ge=0, description="readings per example")
    stride: int = Field(0, ge=0, description="readings from one example's start to the next; 0: `window`")
    gap: float = Field(
        0.0, ge=0.0, allow_inf_nan=False, description="seconds between rows that end a recording; 0: 1.5 / rate"
    )
    missing: Literal["refuse", "gap"] = Field(
        "refuse", description="a row with a reading that is no finite number: refuse the file, or take it as a gap"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="between the cells of CSV files")
    layout: Literal["label", "client/label", "split/label", "split/client/label"] = Field(
        "label", description="what the folders around a file say; split is train or test"
    )
    size: tuple[int, ...] = Field((), description="height and width of an image")
    colour: Literal["grey", "rgb"] = Field("grey", description="one channel or three")
    resize: bool = Field(False, description="bring images of another size to `size`; else they are refused")
    transposed: bool = Field(False, description="idx: rows and columns are exchanged, as in EMNIST")
    windows_per_reading: int = Field(1, ge=1, description="npz: most examples that one raw reading lies in")
    coded: bool = Field(False, description="npz: written by save_dataset; y and client are positions in the lists")

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        for key in sorted(self.model_fields_set - _ALWAYS - _USED[self.kind]):
            raise ValueError(f"{key} means nothing for kind = {self.kind!r}; take it out")
        for key in _NEEDED[self.kind]:
            if not getattr(self, key):
                raise ValueError(
                    f"kind = {self.kind!r} needs {key}; declare this public fact, which is never read off the data"
                )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for key in ("classes", "clients", "channels"):
            values = getattr(self, key)
            double = sorted({v for v in values if values.count(v) > 1 or not v})
            if double:
                raise ValueError(f"{key} names {double[0]!r} more than once or not at all; name each once")
        both = sorted(set(self.classes) & set(self.ignore_labels))
        if both:
            raise ValueError(f"{both[0]!r} is in classes and in ignore_labels; keep it in one of them")
        return self

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        for key in ("scale", "offset"):
            given = getattr(self, key)
            if len(given) not in (1, max(1, len(self.channels))):
                raise ValueError(f"{key} has {len(given)} numbers for {len(self.channels)} channels; give one or all")
        if any(s <= 0 for s in self.scale):
            raise ValueError(f"scale = {list(self.scale)} must be above 0; it divides the readings")
        if self.gap and self.gap < 1.0 / self.rate:
            raise ValueError(f"gap = {self.gap:g} s is shorter than one step of {1.0 / self.rate:g} s; raise it")
        if self.kind == "images" and (len(self.size) != 2 or not all(1 <= n <= 4096 for n in self.size)):
            raise ValueError(f"size = {list(self.size)} is not [height, width] of 1 to 4096 pixels each")
        return self

    @property
    def step(self) -> int:
        """Readings from one window's start to the next."""
        return self.stride or self.window

    @property
    def per_reading(self) -> int:
        """Most windows that one reading lies in: ceil(window / stride)."""
        return -(-self.window // self.step) if self.window else self.windows_per_reading


def read_section(folder: Path) -> FolderSection:
    """Return what a folder's data.toml declares.

    Raises:
        DataMissing: there is no such folder, or no data.toml in it.
        DataRefused: it is not TOML, or a key is unknown, missing or out of range; names the file and the key.
    """
    path = folder / FILE
    if not folder.is_dir():
        raise DataMissing(f"data.data_dir = {str(folder)!r} is not a folder; name the one that holds {FILE}")
    if not path.is_file():
        raise DataMissing(f"{path} is not there; `secure-fcl data inspect {folder}` proposes one to read and correct")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataRefused(f"{path} cannot be read: {error}; mend it there") from error
    try:
        return FolderSection.model_validate(tree)
    except ValidationError as error:
        raise DataRefused(f"{path}: {_explained(error)}") from None


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, FolderSection.model_fields, n=1)
        hint = f"did you mean {near[0]!r}? the keys are" if near else "the keys are"
        return f"unknown key {key!r}; {hint} {', '.join(FolderSection.model_fields)}"
    if first["type"] == "missing":
        return f"{key} is not declared; it is a public fact that is never read off the data, write it there"
    said = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{key}{shown}: {said}; write another value" if key else said
