"""What `secure_fcl.run` is handed beside a configuration: arrays in place of a data set, a network by its maker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crypto.errors import CodeNotFound
from secure_fcl.config import Config, Data, load_config, with_settings
from secure_fcl.data import Dataset, as_dataset
from secure_fcl.data.kept import ARRAYS
from secure_fcl.errors import ConfigInvalid, InputRefused
from secure_fcl.references import reference_of

Given = Config | Mapping[str, Any] | Path | str | None
"""A configuration: nested dictionaries as in the TOML file, its path, a `Config`; None: all defaults."""


def configured(config: Given, settings: Sequence[str] = (), data: bool = False, model: object = None) -> Config:
    """Return the configuration of a run, with settings `a.b=c` over it and what is handed beside it named in it.

    Raises:
        ConfigInvalid: as `load_config`; or both the configuration and the call name data or a network.
        InputRefused: a network that worker processes cannot build; config or settings are of another type.
    """
    if isinstance(settings, str):
        raise InputRefused(f"settings = {settings!r} is one text; give a list of them, [{settings!r}]")
    if not isinstance(config, str | Path | Mapping | Config | None):
        raise InputRefused(
            f"what is of type {type(config).__name__} is no configuration; give a dictionary, a Config, or the path of "
            "a TOML file"
        )
    if isinstance(config, str | Path):
        found = load_config(Path(config), settings)
    else:
        tree = config.model_dump(mode="python") if isinstance(config, Config) else config or {}
        found = with_settings(tree, settings)
    beside = []
    if data:
        if found.data != Data():
            raise ConfigInvalid(
                f"data is given, and data.name = {found.data.name!r} in the configuration too; leave one of them out"
            )
        beside.append(f"data.name={ARRAYS}")
    if model is not None:
        if found.training.model != "auto":
            raise ConfigInvalid(
                f"model is given, and training.model = {found.training.model!r} in the configuration too; leave one of "
                "them out"
            )
        beside.append(f"training.model={_maker(model)}")
    return with_settings(found.model_dump(mode="python"), beside) if beside else found


def _maker(model: object) -> str:
    """Return the text by which worker processes find or rebuild a network or its maker.

    Raises:
        InputRefused: they cannot: it is no network and nothing that makes one.
    """
    if isinstance(model, str):
        return model
    try:
        return reference_of(model)
    except CodeNotFound as error:
        raise InputRefused(f"model: {error}") from error


def given_data(data: object) -> Dataset:
    """Return what a call was handed as a data set: as `secure_fcl.data.as_dataset`, or two torch data sets.

    Of a pair (training, test) of torch data sets, the first one's `classes` are the label set.

    Raises:
        DataRefused: it is none of these kinds, or lacks a part.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Sequence) and len(data) == 2 and not any(isinstance(part, np.ndarray | list) for part in data):
        train, test = data
        return as_dataset(train, name=ARRAYS, test=test, classes=getattr(train, "classes", None))
    return as_dataset(data, name=ARRAYS)
