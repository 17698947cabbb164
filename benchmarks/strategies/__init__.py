"""Benchmarks of the strategies: reproductions of published figures, and the table of `docs/`."""
