"""Members, non-members and canaries from files: `.npz` with x and y, or CSV with a heading. Nothing is unpickled."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError, AuditInvalid
from attacks.games.attack import Candidates
from attacks.own.settings import Csv


@dataclass(frozen=True, eq=False)
class Examples:
    """One file's examples.

    Attributes:
        candidates: x, y, cluster, task. Without clusters in the file each example is its own.
        clusters: (n,), names of what an example was cut from, as the file has them; None if it has none.
        dated: whether the file says in which task an example arrived.
        flags: boolean arrays beside them by name: `kept` of members, `inserted` of canaries.
    """

    candidates: Candidates
    clusters: NDArray[Any] | None
    dated: bool
    flags: dict[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.candidates)


def read_examples(path: Path, form: Csv, labels: Sequence[str] = ()) -> Examples:
    """The examples of a file.

    `.npz`: x (n, ...), y (n,) integers or names in `labels`, and where they apply cluster (n,), task (n,), kept (n,)
    and inserted (n,). `.csv`: as `form` says. `.npy`: x, with the labels in `<name>_labels.npy` beside it.

    Raises:
        AuditInvalid: no such file, another ending, missing arrays or columns, lengths that differ, a cell that is no
            number (with its row), a label that is no class, or values that are not finite.
    """
    if not path.is_file():
        raise AuditInvalid(f"examples {path} do not exist or are no file; check the path")
    match path.suffix.lower():
        case ".npz":
            arrays = _npz(path)
        case ".npy":
            arrays = _npy(path)
        case ".csv":
            arrays = _csv(path, form)
        case other:
            raise AuditInvalid(f"examples {path} end in {other!r}; read are .npz, .npy and .csv")
    return _examples(path, arrays, labels)


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:
        # Archives can be damaged in more ways than a list of exception types would cover.
        raise AuditInvalid(
            f"examples {path} are not plain numpy arrays ({str(error).splitlines()[0].split('. ')[0]}); save them with "
            "numpy.savez, without objects"
        ) from error


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    file = _load(path)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise AuditInvalid(f"examples {path} are no .npz archive; save x and y with numpy.savez")
    arrays, known = {}, ("x", "y", "cluster", "task", "kept", "inserted")
    for name in file.files:
        if name not in known:
            raise AuditInvalid(f"examples {path} hold an array {name!r}; known are {', '.join(known)}")
        try:
            arrays[name] = np.asarray(file[name])
        except Exception as error:
            raise AuditInvalid(
                f"examples {path}: the array {name} is no plain array of numbers; save it without objects"
            ) from error
    return arrays


def _npy(path: Path) -> dict[str, NDArray[Any]]:
    beside = path.with_name(f"{path.stem}_labels.npy")
    if not beside.is_file():
        raise AuditInvalid(f"examples {path} have no labels beside them; save them as {beside.name}, or use .npz")
    return {"x": np.asarray(_load(path)), "y": np.asarray(_load(beside))}


def _csv(path: Path, form: Csv) -> dict[str, NDArray[Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AuditInvalid(f"examples {path} are not CSV text ({error}); save them as UTF-8") from error
    heading, rows = (lines[0], lines[1:]) if lines else ([], [])
    special = [column for column in (form.label, form.cluster, form.task) if column]
    for column in special:
        if heading.count(column) != 1:
            raise AuditInvalid(
                f"examples {path} have {heading.count(column)} columns {column!r} among {', '.join(heading[:6])}; name "
                "the right ones under [csv]"
            )
    places = [number for number, column in enumerate(heading) if column not in special]
    numbers = np.zeros((len(rows), len(places)), dtype=np.float64)
    for row, cells in enumerate(rows):
        if len(cells) != len(heading):
            raise AuditInvalid(f"examples {path}: row {row + 2} has {len(cells)} cells for {len(heading)} columns")
        for at, place in enumerate(places):
            numbers[row, at] = _number(path, row + 2, heading[place], cells[place])
    if form.shape and int(np.prod(form.shape)) != len(places):
        raise AuditInvalid(
            f"examples {path} have {len(places)} columns of numbers, and csv.shape = {list(form.shape)} takes "
            f"{int(np.prod(form.shape))}; correct the shape"
        )
    found = {"x": numbers.reshape(len(rows), *(form.shape or (len(places),)))}
    for name, column in (("y", form.label), ("cluster", form.cluster), ("task", form.task)):
        if column:
            found[name] = _whole(np.array([cells[heading.index(column)] for cells in rows], dtype=str))
    return found


def _number(path: Path, row: int, column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise AuditInvalid(
            f"examples {path}: row {row}, column {column!r} holds {cell!r}, which is no number; correct it, or name "
            "the column under [csv]"
        ) from None


def _whole(text: NDArray[np.str_]) -> NDArray[Any]:
    """Whole numbers where all of them are, otherwise the text."""
    try:
        return text.astype(np.int64)
    except ValueError:
        return text


def _examples(path: Path, arrays: dict[str, NDArray[Any]], labels: Sequence[str]) -> Examples:
    for name in ("x", "y"):
        if name not in arrays:
            raise AuditInvalid(f"examples {path} have no array {name!r}; save x (n, ...) and y (n,)")
    x, count = arrays["x"], len(arrays["x"]) if arrays["x"].ndim else 0
    if x.dtype.kind not in "fiub" or not count:
        raise AuditInvalid(
            f"examples {path}: x has type {x.dtype} and shape {x.shape}; give numbers (n, ...), n above 0"
        )
    for name, array in arrays.items():
        if array.shape[:1] != (count,) or (name != "x" and array.ndim != 1):
            raise AuditInvalid(
                f"examples {path}: {name} has shape {array.shape} for {count} examples; give one for each"
            )
    y = _classes(path, arrays["y"], labels)
    each = np.arange(count, dtype=np.int64)
    cluster = np.unique(arrays["cluster"], return_inverse=True)[1] if "cluster" in arrays else each
    task = arrays.get("task", np.zeros(count, dtype=np.int64))
    flags = {}
    for name in ("kept", "inserted"):
        if name in arrays:
            if not np.isin(arrays[name], (0, 1)).all():
                raise AuditInvalid(f"examples {path}: {name} must hold true and false, one coin for each example")
            flags[name] = arrays[name].astype(np.bool_)
    try:
        candidates = Candidates(x, y, cluster.astype(np.int64), task)
    except AttackError as error:
        raise AuditInvalid(f"examples {path}: {error}") from error
    return Examples(candidates, arrays.get("cluster"), "task" in arrays, flags)


def _classes(path: Path, y: NDArray[Any], labels: Sequence[str]) -> NDArray[np.int64]:
    if y.dtype.kind in "iu":
        if (y < 0).any():
            raise AuditInvalid(f"examples {path}: the label {int(y.min())} is below 0; number the classes from 0")
        return y.astype(np.int64)
    if y.dtype.kind != "U":
        raise AuditInvalid(f"examples {path}: y has type {y.dtype}; give whole numbers, or names that `labels` lists")
    unknown = sorted(set(y.tolist()) - set(labels))
    if unknown:
        raise AuditInvalid(
            f"examples {path}: the label {unknown[0]!r} is none of labels = {list(labels)}; list the classes in the "
            "model's order"
        )
    place = {name: number for number, name in enumerate(labels)}
    return np.array([place[name] for name in y.tolist()], dtype=np.int64)


def joined(members: Examples, others: Examples) -> tuple[Candidates, NDArray[np.bool_]]:
    """Members and others as one set of candidates, with the truth, (n,).

    Clusters keep their numbers where both files name them: a recording may have examples of either kind.

    Raises:
        AuditInvalid: shapes differ, or one file names clusters or tasks and the other does not.
    """
    if members.candidates.x.shape[1:] != others.candidates.x.shape[1:]:
        raise AuditInvalid(
            f"members have the shape {members.candidates.x.shape[1:]}, non-members {others.candidates.x.shape[1:]}; "
            "both must be examples of one kind"
        )
    if (members.clusters is None) != (others.clusters is None) or members.dated != others.dated:
        raise AuditInvalid("members and non-members do not both have cluster, or task; save it for both or for neither")
    parts = (members.candidates, others.candidates)
    x, y, cluster, task = (np.concatenate([getattr(p, n) for p in parts]) for n in ("x", "y", "cluster", "task"))
    if members.clusters is None or others.clusters is None:
        cluster = np.arange(len(x), dtype=np.int64)
    else:
        names = np.concatenate([members.clusters.astype(str), others.clusters.astype(str)])
        cluster = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return Candidates(x, y, cluster, task), np.arange(len(x)) < len(members)
