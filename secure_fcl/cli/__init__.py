"""The command line: commands, and the tables they print."""

from secure_fcl.cli.commands import app, main

__all__ = ["app", "main"]
