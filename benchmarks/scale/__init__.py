"""Measurements of runs with many clients: memory, CPU time, rounds a second, and what dropouts cost."""
