"""The command line: commands, and the tables they print."""

from __future__ import annotations

from secure_fcl.cli.commands import app, main

__all__ = ["app", "main"]
