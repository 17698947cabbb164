"""One sentence for what is wrong with a configuration."""

from __future__ import annotations

import json

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, section: str = "") -> str:
    """Return one sentence that names the first offending key, its value and what is allowed.

    Args:
        error: of a whole configuration, or of one section of it.
        section: the key of that section; empty for a whole one.
    """
    first = error.errors()[0]
    where = ".".join([*([section] if section else []), *map(str, first["loc"])])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown configuration key {where!r}{more}; `secure-fcl config` lists all keys"
    if first["type"] == "tuple_type" and isinstance(first["input"], str | int | float):
        return f"configuration {where} = {first['input']!r}: write a list, {where}=[{json.dumps(first['input'])}]{more}"
    shown = "" if isinstance(first["input"], dict | BaseModel) else f" = {first['input']!r}"
    return f"configuration {where or 'error'}{shown}: {first['msg'].removeprefix('Value error, ')}{more}"
