"""Data sets from objects in memory: numpy arrays, mappings of them, and data sets of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_fcl.data.dataset import COLUMNS, NO_CLIENT, Dataset, Floats, Ints, Mask
from secure_fcl.data.errors import DataDamaged, DataRefused
from secure_fcl.data.items import columns_of_items
from secure_fcl.data.labels import class_names, codes
from secure_fcl.data.split import falls_to_test

DEFAULT_TEST_SHARE = 0.2

_FACTS = ("classes", "clients", "units", "source", "windows_per_reading")
_ORDER = ("x", "y", "client", "session", "test")


def as_dataset(
    found: object,
    *,
    name: str = "own",
    classes: Sequence[object] | None = None,
    clients: Sequence[object] | None = None,
    test: object = None,
    units: str = "",
    source: str = "",
    windows_per_reading: int = 1,
) -> Dataset:
    """Return a data set made of arrays in memory.

    Args:
        found: a `Dataset`; a mapping with arrays `x`, `y` and perhaps `client`, `session`, `run`, `position`, `train`,
            `test` (and perhaps the facts below); a tuple (x, y), (x, y, client), (x, y, client, session) or (x, y,
            client, session, test); or any `torch.utils.data.Dataset` whose items are such tuples or mappings.
            x: (n, channels, time), (n, colours, height, width) or (n, features); bytes are divided by 255, other
            numbers stay as they are. y: text, or whole numbers as `secure_fcl.data.labels.codes` reads them.
        name: what certificates call it.
        classes: the public label set, in order. Needed, and never read off the data; a class may have no example.
        clients: names of all clients, those without data too; None: those that occur, which is then declared public.
        test: which examples are for testing: a mask (n,), another object of the kinds above that holds them, or a
            probability with which a whole run falls to the test by a public coin; None: what `found` says, else 0.2.
        units: what one unit of x is.
        source: citation and licence.
        windows_per_reading: most examples that one raw reading lies in; above 1 `run` and `position` are needed.

    Returns:
        The data set, with a digest of its own. Its arrays are copies, or are made read-only.

    Raises:
        DataRefused: arrays of unequal length, values that are not finite, unknown labels; names the first row.
    """
    if isinstance(found, Dataset):
        given = (classes, clients, test, units or None, source or None)
        if any(one is not None for one in given) or windows_per_reading != 1:
            raise DataRefused("a Dataset says all of itself; give as_dataset nothing but a name beside it")
        return replace(found, name=name, digest="")
    columns = _columns(found)
    facts = {key: columns.pop(key) for key in _FACTS if key in columns}
    if classes is None and "classes" not in facts:
        raise DataRefused("the label set is public and never read off the data; give as_dataset(..., classes=[...])")
    if test is not None and not isinstance(test, int | float) and not isinstance(test, list | np.ndarray):
        columns, test = _with_test_examples(columns, _columns(test)), None
    if test is not None:
        columns["test"] = test
    return dataset_of_columns(
        columns,
        name=name,
        classes=class_names(facts["classes"] if classes is None else classes),
        clients=_client_names(facts.get("clients", ()) if clients is None else clients),
        units=units or str(facts.get("units", "")),
        source=source or str(facts.get("source", "")),
        windows_per_reading=int(facts.get("windows_per_reading", windows_per_reading)),
    )


def dataset_of_columns(
    columns: Mapping[str, Any], *, name: str, classes: tuple[str, ...], clients: tuple[str, ...], units: str,
    source: str, windows_per_reading: int, ignored: tuple[str, ...] = (),
) -> Dataset:  # fmt: skip
    """Return the data set of named arrays as `as_dataset` describes them, `x` and `y` at least; `test` may be a share.

    Raises:
        DataRefused: as `as_dataset`.
    """
    x = inputs(columns["x"])
    n = len(x)
    lengths = {key: len(np.asarray(columns[key])) for key in COLUMNS if key in columns and np.ndim(columns[key])}
    if set(lengths.values()) != {n}:
        raise DataRefused(f"arrays of unequal length {lengths}; give one entry of each for every example")
    y = codes(columns["y"], classes, lambda row: f"y[{row}]", ignored=ignored)
    client, names = _clients(columns.get("client"), clients, n)
    if windows_per_reading > 1 and not {"run", "position"} <= set(columns):
        raise DataRefused(
            f"windows_per_reading = {windows_per_reading} needs run and position, which tell what is shared; give both"
        )
    run = _whole(columns, "run", np.arange(n))
    train, test = _halves(columns, run)
    keep = y >= 0
    arrays: dict[str, Any] = {
        "x": x, "y": y, "client": client, "session": _whole(columns, "session", np.zeros(n)), "run": run,
        "position": _whole(columns, "position", np.zeros(n)), "train": train, "test": test,
    }  # fmt: skip
    if not keep.all():
        arrays = {key: array[keep] for key, array in arrays.items()}
    check_halves(arrays["train"], arrays["test"])
    try:
        return Dataset(
            name=name, classes=classes, units=units or "as given", windows_per_reading=windows_per_reading,
            source=source, client_names=names, **arrays,
        )  # fmt: skip
    except DataDamaged as error:
        raise DataRefused(str(error)) from error


def inputs(values: object) -> Floats:
    """Return examples as float32: bytes divided by 255, other numbers as they are.

    Raises:
        DataRefused: no numbers, a shape of none of the kinds, NaN or an infinity; names the first example.
    """
    x = np.asarray(values)
    if x.dtype.kind not in "uifb":
        raise DataRefused(f"x has type {x.dtype}, not numbers; give arrays of one shape for all examples")
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        raise DataRefused(
            f"x has shape {x.shape}; give (n, channels, time), (n, colours, height, width) or (n, features)"
        )
    if x.ndim == 4 and x.shape[1] not in (1, 3, 4) and x.shape[3] in (1, 3, 4):
        raise DataRefused(f"x has shape {x.shape}, with colours last; give x.transpose(0, 3, 1, 2)")
    with np.errstate(over="ignore"):
        out = np.array(x, dtype=np.float32)
    if x.dtype == np.uint8:
        out /= np.float32(255)
    bad = ~np.isfinite(out).reshape(len(out), -1).all(axis=1)
    if bad.any():
        raise DataRefused(
            f"x[{int(bad.argmax())}] holds NaN, an infinity or a number beyond float32 ({int(bad.sum())} examples do); "
            "mend them or leave them out"
        )
    return out


def check_halves(train: Mask, test: Mask) -> None:
    """Raise DataRefused unless both halves have an example."""
    if not train.any() or not test.any():
        raise DataRefused(
            f"{int(train.sum())} examples are for training and {int(test.sum())} for testing; declare a split that "
            "leaves some of both"
        )


def _columns(found: object) -> dict[str, Any]:
    if isinstance(found, Mapping):
        columns = dict(found)
    elif isinstance(found, tuple) and 2 <= len(found) <= len(_ORDER) and not isinstance(found[0], tuple):
        columns = dict(zip(_ORDER, found, strict=False))
    elif hasattr(found, "__getitem__") and hasattr(found, "__len__") and not isinstance(found, str | np.ndarray | list):
        columns = columns_of_items(found[i] for i in range(len(found)))
    elif isinstance(found, Iterable) and not isinstance(found, str | np.ndarray | list):
        columns = columns_of_items(found)
    else:
        raise DataRefused(
            f"what is of type {type(found).__name__} is no data set; give a secure_fcl.data.Dataset, arrays (x, y), a "
            "mapping with x and y, or a torch.utils.data.Dataset"
        )
    unknown = sorted(str(key) for key in columns if key not in (*COLUMNS, *_FACTS))
    if unknown:
        raise DataRefused(f"unknown array {unknown[0]!r}; the arrays are {', '.join(COLUMNS)}")
    for key in ("x", "y"):
        if key not in columns:
            raise DataRefused(f"there is no array {key!r} among {', '.join(map(str, columns))}; give it")
    return columns


def _with_test_examples(train: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    """Put training examples and test examples of two objects one after the other."""
    if any(key in part for part in (train, test) for key in ("train", "test", "run", "position")):
        raise DataRefused("the test examples come as another data set; leave run, position, train and test out of both")
    if set(train) - set(_FACTS) != set(test) - set(_FACTS):
        raise DataRefused(f"training has arrays {sorted(train)} and testing {sorted(test)}; give both the same")
    shapes = [np.asarray(part["x"]).shape[1:] for part in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataRefused(f"training examples have shape {shapes[0]} and test examples {shapes[1]}; bring them to one")
    kinds = {np.asarray(part["x"]).dtype == np.uint8 for part in (train, test)}
    if len(kinds) == 2:
        raise DataRefused("training and test examples are bytes in one half only; bring them to one type")
    joined = {
        key: np.concatenate([np.asarray(train[key]), np.asarray(test[key])]) for key in train if key not in _FACTS
    }
    marked = np.arange(len(joined["y"])) >= len(np.asarray(train["y"]))
    return joined | {"test": marked}


def _client_names(names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise DataRefused(f"clients = {names!r} is no list of names; give one")
    return class_names(tuple(names)) if tuple(names) else ()


def _clients(values: object, names: tuple[str, ...], n: int) -> tuple[Ints, tuple[str, ...]]:
    if values is None:
        if names:
            raise DataRefused(f"clients names {len(names)}, and there is no array 'client'; give whose each example is")
        return np.full(n, NO_CLIENT, dtype=np.int64), ()
    given = np.asarray(values)
    if not names:
        if given.dtype.kind in "iu" and n and (given == NO_CLIENT).all():
            return given.astype(np.int64), ()
        names = tuple(str(c) for c in np.unique(given).tolist())
    return codes(given, names, lambda row: f"client[{row}]", what="client"), names


def _whole(columns: Mapping[str, Any], key: str, default: npt.NDArray[np.generic]) -> Ints:
    values = np.asarray(columns.get(key, default))
    if values.ndim != 1 or (values.dtype.kind not in "iuf" or (values != np.floor(values)).any()):
        raise DataRefused(f"{key} holds {values.dtype} of shape {values.shape}, not whole numbers (n,); number them")
    return values.astype(np.int64)


def _halves(columns: Mapping[str, Any], run: Ints) -> tuple[Mask, Mask]:
    masks = {key: _mask(key, columns[key]) for key in ("train", "test") if np.ndim(columns.get(key, 0)) > 0}
    if "test" not in masks and "train" in masks:
        return masks["train"], ~masks["train"]
    if "test" not in masks:
        share = columns.get("test", DEFAULT_TEST_SHARE)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share < 1.0:
            raise DataRefused(f"test = {share!r} is no probability between 0 and 1; give one, or a mask")
        fallen = {number: falls_to_test(str(number), share) for number in np.unique(run).tolist()}
        masks["test"] = np.array([fallen[number] for number in run.tolist()], dtype=np.bool_)
    return masks.get("train", ~masks["test"]), masks["test"]


def _mask(key: str, given: object) -> Mask:
    values = np.asarray(given)
    if values.ndim != 1 or values.dtype.kind not in "biu" or not np.isin(values, (0, 1)).all():
        raise DataRefused(f"{key} holds {values.dtype} of shape {values.shape}, not a mask (n,); give true and false")
    return values.astype(np.bool_)
