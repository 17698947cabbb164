"""Write docs/configuration.md from the configuration's model and the plans: `python docs/make_configuration.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crypto import Upload
from crypto.planning.assumptions import assumption
from crypto.planning.masks import Mode
from crypto.protocols.catalogue import ENTRIES
from secure_fcl.config import Config

PAGE = Path(__file__).with_name("configuration.md")

_HEAD = """# Configuration

Every key, its default, what it takes, and what it means. Written by `python docs/make_configuration.py` from the model
in `secure_fcl/config/` and the sections of `secure_fcl/strategies/`; do not edit it by hand. How to set keys:
[how-to/configure.md](how-to/configure.md).

Unknown keys are refused. `secure-fcl config` prints the same defaults as TOML.
"""

_ASSUMED = """## What each protection assumes

Word by word as on the certificate.
"""


def render() -> str:
    """Return the whole page."""
    schema = Config.model_json_schema()
    top = {key: entry for key, entry in schema["properties"].items() if not _section(entry)}
    parts = [_HEAD, "## Top level\n", _table("", top)]
    for name, entry in schema["properties"].items():
        target = _section(entry)
        if target:
            body = schema["$defs"][target]
            parts += [f"## [{name}]\n", body["description"].strip() + "\n", _table(f"{name}.", body["properties"])]
    assumed = [_assumption(name) for name in ENTRIES]
    return "\n".join([*parts, _ASSUMED, *assumed, ""])


def _assumption(protocol: str) -> str:
    uploads, entry = (Upload(name="update", length=1, bound=1),), ENTRIES[protocol]
    masked = entry.masks is not None
    modes: tuple[Mode, ...] = ("active", "semi-honest") if masked else ("semi-honest",)
    which = [f"`{protocol}`, `server = {mode!r}`" if masked else f"`{protocol}`" for mode in modes]
    said = [assumption(entry, uploads, pinned=True, mode=mode) for mode in modes]
    return "\n".join(f"- {name}: {text}" for name, text in zip(which, said, strict=True))


def _section(entry: dict[str, Any]) -> str:
    return str(entry.get("$ref", "")).rpartition("/")[2]


def _table(prefix: str, properties: dict[str, dict[str, Any]]) -> str:
    lines = ["| key | default | takes | meaning |", "|---|---|---|---|"]
    for key, entry in properties.items():
        meaning = entry["description"]
        cells = (f"`{prefix}{key}`", f"`{_value(entry['default'])}`", _takes(entry), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case float():
            return repr(value)
        case _:
            return str(value)


def _takes(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{choice}`" for choice in entry["enum"])
    if entry["type"] == "array":
        return f"list of: {_takes(entry['items'])}"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {entry[key]:,g}" if abs(entry[key]) < 1e6 else f"{sign} {entry[key]}"
              for key, sign in signs.items() if key in entry]  # fmt: skip
    return " ".join([names[entry["type"]], ", ".join(bounds)]).strip()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
