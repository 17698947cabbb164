"""Benchmarks of the privacy toolkit; each module is a section of docs/benchmarks-privacy.md."""
