"""Benchmark of fewer bytes: accuracy over what one client sends, protected and not."""
