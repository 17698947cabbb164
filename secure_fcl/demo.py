"""The configuration of `secure-fcl demo`."""

from __future__ import annotations

from pathlib import Path

CONFIG = Path(__file__).with_name("demo.toml")
"""Four strategies at epsilon 1 on HAPT, noise shared in BFV sums, and the attacks; a file to start one's own from."""
