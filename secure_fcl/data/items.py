"""Items of a data set of torch, or of anything like one, gathered into arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataRefused

_ORDER = ("x", "y", "client", "session")


def columns_of_items(items: Iterable[Any]) -> dict[str, Any]:
    """Return arrays by name of items (x, y), (x, y, client), (x, y, client, session), or mappings with those keys.

    Tensors, numpy arrays, numbers, text and PIL images are taken; of an image the colours come first, as bytes.

    Raises:
        DataRefused: there is no item, one cannot be read, or has another shape than the first; names its number.
    """
    found: dict[str, list[Any]] = {}
    shape: tuple[int, ...] = ()
    number = -1
    try:
        for number, item in enumerate(items):
            parts = item if isinstance(item, Mapping) else _parts(item, number)
            if number == 0:
                found = {key: [] for key in parts}
            if set(parts) != set(found):
                raise DataRefused(f"item {number} has {sorted(parts)}, item 0 {sorted(found)}; give all items the same")
            for key, value in parts.items():
                found[key].append(_array(value) if key == "x" else _scalar(value))
            if "x" in found:
                shape = found["x"][0].shape
                if found["x"][-1].shape != shape:
                    raise DataRefused(
                        f"item {number} has shape {found['x'][-1].shape}, item 0 {shape}; bring all to one shape"
                    )
    except DataRefused:
        raise
    except Exception as error:
        raise DataRefused(
            f"item {number + 1} fails with {type(error).__name__}: {error}; mend the data set's own code"
        ) from error
    if not found:
        raise DataRefused("the data set has no item; give one with examples")
    return {key: np.stack(values) if key == "x" else np.array(values) for key, values in found.items()}


def _parts(item: Any, number: int) -> dict[str, Any]:
    if not isinstance(item, tuple | list) or not 2 <= len(item) <= len(_ORDER):
        raise DataRefused(
            f"item {number} is of type {type(item).__name__}, not (x, y), (x, y, client) or (x, y, client, session); "
            "give such tuples"
        )
    return dict(zip(_ORDER, item, strict=False))


def _array(value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().numpy())
    array = np.asarray(value)
    if hasattr(value, "getbands"):
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array


def _scalar(value: Any) -> Any:
    found = value.item() if hasattr(value, "item") else value
    if not isinstance(found, str | int | float):
        raise DataRefused(f"label or client {found!r} is of type {type(found).__name__}; give text or a whole number")
    return found
