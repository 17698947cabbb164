"""Labels as a source writes them, turned into positions in the declared label set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_fcl.data.errors import DataRefused

Ints = npt.NDArray[np.int64]

LEFT_OUT = -1
"""Position of a label that is declared to be left out."""


def class_names(classes: Sequence[object]) -> tuple[str, ...]:
    """Return a declared label set as texts.

    Raises:
        DataRefused: it is empty, or names a class twice.
    """
    names = tuple(str(c) for c in classes)
    if isinstance(classes, str) or not names or len(set(names)) != len(names) or "" in names:
        raise DataRefused(f"classes = {classes!r} is no label set; give a list that names each class once")
    return names


def codes(
    values: npt.ArrayLike, names: tuple[str, ...], where: Callable[[int], str], what: str = "label",
    ignored: tuple[str, ...] = (),
) -> Ints:  # fmt: skip
    """Return the position of each value in `names`, int64 (n,).

    Text is looked up. Whole numbers are looked up where every name is a whole number, so that labels 3, 7 and 40 of
    classes ["3", "7", "40"] fit, and are positions themselves where names are words. Which of both holds follows from
    the declared names alone.

    Args:
        values: (n,) of text or whole numbers.
        names: what is declared.
        where: says of a row where it is from, for errors.
        what: names the values in errors.
        ignored: values that get `LEFT_OUT`.

    Raises:
        DataRefused: a value that is not declared, or is no label; names the first row.
    """
    given = np.asarray(values)
    if given.ndim != 1:
        raise DataRefused(f"{what}s have shape {given.shape}, not (n,); give one for each example")
    plain = given.tolist()
    if given.dtype.kind == "f":
        whole = np.isfinite(given) & (given == np.floor(given))
        _refuse_first(~whole, plain, where, what, "is no label; give whole numbers or text")
        plain = given.astype(np.int64).tolist()
    lookup: dict[Any, int] = {name: place for place, name in enumerate(names)}
    by_value = all(_is_whole(name) for name in names)
    found = np.empty(len(plain), dtype=np.int64)
    out = set(ignored)
    for row, value in enumerate(plain):
        if str(value) in out:
            found[row] = LEFT_OUT
        elif isinstance(value, str) or by_value:
            found[row] = lookup.get(str(value), -2)
        else:
            found[row] = int(value) if isinstance(value, int) and 0 <= value < len(names) else -2
    _refuse_first(found == -2, plain, where, what, f"is not one of {_listed(names)}; declare it, or mend the row")
    return found


def _refuse_first(
    wrong: npt.NDArray[np.bool_], values: list[Any], where: Callable[[int], str], what: str, why: str
) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        more = f" ({int(wrong.sum()) - 1} more rows)" if wrong.sum() > 1 else ""
        raise DataRefused(f"{where(row)}: {what} {values[row]!r} {why}{more}")


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
