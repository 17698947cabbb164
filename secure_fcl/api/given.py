"""What `secure_fcl.run` is handed beside a configuration: arrays in place of a data set, a network by its maker."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secure_fcl.config import Config, Data, load_config, with_settings
from secure_fcl.data import NO_CLIENT, Dataset
from secure_fcl.data.kept import ARRAYS
from secure_fcl.errors import ConfigInvalid, InputRefused

Given = Config | Mapping[str, Any] | Path | str | None
"""A configuration: nested dictionaries as in the TOML file, its path, a `Config`; None: all defaults."""

_WANTED = (
    "give a secure_fcl.Dataset; a mapping with x (n, ...), y (n,), classes and test (n,), and any of client, session, "
    "run, position, train; or two torch data sets (training, test), the first with the attribute classes"
)


def configured(config: Given, settings: Sequence[str] = (), data: bool = False, model: object = None) -> Config:
    """Return the configuration of a run, with settings `a.b=c` over it and what is handed beside it named in it.

    Raises:
        ConfigInvalid: as `load_config`; or both the configuration and the call name data or a network.
        InputRefused: a network that worker processes cannot build.
    """
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
    """Return the text by which worker processes find a network's maker.

    Raises:
        InputRefused: they cannot: it is no function at the top of a module that they can import.
    """
    if isinstance(model, str):
        return model
    module, name = getattr(model, "__module__", ""), getattr(model, "__qualname__", "")
    named = inspect.isroutine(model) or inspect.isclass(model)
    if not named or module in ("", "__main__") or "." in name or "<" in name:
        raise InputRefused(
            f"model is {'the function ' + name if named else 'of type ' + type(model).__name__}, which worker "
            "processes cannot build anew; give a function at the top of a module of yours that makes it, or its "
            "name 'module:function'"
        )
    if getattr(importlib.import_module(module), name, None) is not model:
        raise InputRefused(f"model is {name} of module {module}, which has another object of that name; rename one")
    return f"{module}:{name}"


def as_dataset(data: object) -> Dataset:
    """Return what a call was handed as a data set.

    Label sets are declared and never read off the data. Nothing is copied where the types fit.

    Raises:
        InputRefused: it is none of these kinds, or lacks a part.
        DataDamaged: its arrays do not fit one another.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Mapping):
        return _from_arrays(data)
    if isinstance(data, Sequence) and len(data) == 2 and all(hasattr(part, "__getitem__") for part in data):
        return _from_torch(*data)
    raise InputRefused(f"data is of type {type(data).__name__}; {_WANTED}")


def _from_arrays(given: Mapping[str, Any]) -> Dataset:
    if lacking := [name for name in ("x", "y", "classes", "test") if name not in given]:
        raise InputRefused(f"data lacks {', '.join(lacking)}; {_WANTED}")
    known = {"x", "y", "classes", "test", "client", "session", "run", "position", "train", "name", "units", "source"}
    if unknown := sorted(set(given) - known):
        raise InputRefused(f"data has {', '.join(map(str, unknown))}, which means nothing here; {_WANTED}")
    x, labels = np.asarray(given["x"], dtype=np.float32), np.asarray(given["y"])
    classes, n = tuple(str(name) for name in given["classes"]), len(labels)
    test = np.asarray(given["test"], dtype=np.bool_)

    def column(name: str, standard: Any) -> Any:
        return np.array(given.get(name, standard), dtype=np.int64)

    return Dataset(
        name=str(given.get("name", ARRAYS)),
        x=x.copy(),
        y=_places(labels, classes),
        client=column("client", np.full(n, NO_CLIENT)),
        session=column("session", np.zeros(n)),
        run=column("run", np.arange(n)),
        position=column("position", np.zeros(n)),
        train=np.array(given.get("train", ~test), dtype=np.bool_),
        test=test.copy(),
        classes=classes,
        units=str(given.get("units", "as given")),
        source=str(given.get("source", "")),
    )


def _places(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Return labels as places in `classes`: numbers are places already, anything else is a name."""
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    place = {name: number for number, name in enumerate(classes)}
    if unknown := sorted({str(label) for label in labels} - set(place)):
        raise InputRefused(f"label {unknown[0]!r} is not among the declared classes {list(classes)}; declare it")
    return np.array([place[str(label)] for label in labels], dtype=np.int64)


def _from_torch(train: Any, test: Any) -> Dataset:
    classes = getattr(train, "classes", None)
    if classes is None or not hasattr(train, "__len__") or not hasattr(test, "__len__"):
        raise InputRefused(f"data is a pair whose first part has no length or no attribute classes; {_WANTED}")
    parts = [[part[place] for place in range(len(part))] for part in (train, test)]
    x = np.stack([np.asarray(item[0], dtype=np.float32) for part in parts for item in part])
    y = np.array([int(item[1]) for part in parts for item in part], dtype=np.int64)
    tested = np.arange(len(y)) >= len(parts[0])
    return _from_arrays({"x": x, "y": y, "classes": classes, "test": tested, "name": type(train).__name__})
