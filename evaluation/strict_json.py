"""Strict JSON: NaN and infinities are written as null; a text that spells them out is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.errors import SerialisationError


def plain(value: object) -> Any:
    """`value` as strict JSON: NaN and infinities None, arrays lists, dataclasses and mappings objects.

    Raises:
        SerialisationError: a type that JSON cannot hold (bytes and sets included), or a key that is not text.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case np.generic():
            return plain(value.item())
        case np.ndarray():
            return plain(value.tolist())
        case Path():
            return str(value)
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise SerialisationError(f"key {key!r} is not text; JSON objects need text keys")
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise SerialisationError(f"a {type(value).__name__} has no place in JSON; convert it to numbers, text or lists")


def to_json(value: object, *, indent: int | None = None) -> str:
    """Strict JSON text of `value` (see `plain`), keys in the order given.

    Raises:
        SerialisationError: a type that JSON cannot hold.
    """
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False, indent=indent)


def _refuse_constant(name: str) -> object:
    raise SerialisationError(f"{name} is not JSON; write null for a missing number")


def from_json(text: str) -> Any:
    """The value of strict JSON `text`.

    Raises:
        SerialisationError: not JSON, or NaN and Infinity spelt out.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SerialisationError(f"not JSON: {error}") from error
