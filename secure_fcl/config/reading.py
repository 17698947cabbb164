"""Reading and writing a configuration: TOML, `--set a.b=c`, and one sentence for what is wrong."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from secure_fcl.config.explain import explain
from secure_fcl.config.root import Config
from secure_fcl.errors import ConfigInvalid


def load_config(path: Path | None = None, settings: Sequence[str] = ()) -> Config:
    """Return the configuration of a TOML file (None: all defaults) with `a.b=c` settings applied over it.

    Raises:
        ConfigInvalid: the file does not parse, a key is unknown, or a value is out of range; names the key.
    """
    return with_settings(load_tree(path) if path is not None else {}, settings)


def with_settings(tree: Mapping[str, Any], settings: Sequence[str] = ()) -> Config:
    """Return the configuration of nested dictionaries, which stay as they are, with `a.b=c` settings over them.

    Raises:
        ConfigInvalid: as `load_config`.
    """
    changed = copy.deepcopy(dict(tree))
    for setting in settings:
        _apply(changed, setting)
    return validate(changed)


def load_tree(path: Path) -> dict[str, Any]:
    """Return a TOML file as nested dictionaries.

    Raises:
        ConfigInvalid: the file is missing, unreadable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigInvalid(f"configuration file {path} does not exist; check the path") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"configuration file {path} cannot be read: {error}") from error


def validate(tree: dict[str, Any]) -> Config:
    """Return the configuration of a parsed tree.

    Raises:
        ConfigInvalid: names the first offending key, its value and what is allowed.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigInvalid(explain(error, model=Config)) from None


def _apply(tree: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigInvalid(f"--set {setting!r} is not of the form a.b=c")
    try:
        write_key(tree, key.strip(), _value(text.strip()))
    except ConfigInvalid as error:
        raise ConfigInvalid(f"--set {setting!r}: {error}") from None


def write_key(tree: dict[str, Any], key: str, value: Any) -> None:
    """Write a value under a dotted key of nested dictionaries, with the sections that are not there yet.

    A strategy of the user's own has no section as long as all its settings are the defaults.

    Raises:
        ConfigInvalid: a part of the key is a value.
    """
    node = tree
    *sections, leaf = key_path(key)
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            raise ConfigInvalid(f"{section!r} is a value, not a section")
    node[leaf] = value


def key_path(key: str) -> list[str]:
    """Split a dotted key. The dots of a module's name are not ours: `lab.own:mine.epsilon` has two parts."""
    module, colon, rest = key.partition(":")
    if not colon:
        return key.split(".")
    first, *others = rest.split(".")
    return [f"{module}:{first}", *others]


def _value(text: str) -> Any:
    # A bare word (hapt, bfv) is a string; anything that TOML can read (8, true, [1, 2], inf) is what TOML says.
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def dump_config(config: Config) -> str:
    """Return the resolved configuration as TOML; `load_config` reads it back to an equal one."""
    return tomli_w.dumps(config.model_dump(mode="python"))
