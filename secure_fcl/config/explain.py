"""One sentence for what is wrong with a configuration."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, section: str = "", model: type[BaseModel] | None = None) -> str:
    """Return one sentence that names the first offending key, its value and what is allowed.

    Args:
        error: of a whole configuration, or of one section of it.
        section: the key of that section; empty for a whole one.
        model: of what was validated; an unknown key is then told the known one that is most like it.
    """
    first = error.errors()[0]
    path = [*([section] if section else []), *map(str, first["loc"])]
    where = ".".join(path)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        near = "" if model is None else nearest_key(model, [str(part) for part in first["loc"]])
        hint = f"did you mean {'.'.join([*path[:-1], near])!r}? " if near else ""
        return f"unknown configuration key {where!r}{more}; {hint}`secure-fcl config` lists all keys"
    if first["type"] == "tuple_type" and isinstance(first["input"], str | int | float):
        return f"configuration {where} = {first['input']!r}: write a list, {where}=[{json.dumps(first['input'])}]{more}"
    shown = "" if isinstance(first["input"], dict | BaseModel) else f" = {first['input']!r}"
    return f"configuration {where or 'error'}{shown}: {first['msg'].removeprefix('Value error, ')}{more}"


def nearest_key(model: type[BaseModel], path: Sequence[str]) -> str:
    """Return the key of the same section that is most like the last one of `path`; empty if none is like it."""
    for part in path[:-1]:
        found = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return ""
        model = found
    return next(iter(difflib.get_close_matches(path[-1], model.model_fields, n=1)), "")
