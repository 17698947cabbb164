"""Engines: who carries the messages between the run and those who play its clients."""
