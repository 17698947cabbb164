"""The configuration of a run: one validated tree, from TOML and settings `a.b=c`."""

from __future__ import annotations

from secure_fcl.config.reading import dump_config, load_config, load_tree, validate, with_settings
from secure_fcl.config.root import Config
from secure_fcl.config.sections import Attacks, Compression, Data, Memory, Privacy, Training
from secure_fcl.config.streams import Drift, Online, Scenario, Storage

__all__ = [
    "Attacks",
    "Compression",
    "Config",
    "Data",
    "Drift",
    "Memory",
    "Online",
    "Privacy",
    "Scenario",
    "Storage",
    "Training",
    "dump_config",
    "load_config",
    "load_tree",
    "validate",
    "with_settings",
]
