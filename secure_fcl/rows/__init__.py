"""Rows: one strategy of a run as public numbers; its noise, wires, storage and budget."""
