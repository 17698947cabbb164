"""Benchmarks: ratios taken in one run against a named baseline. Nothing here is asserted in tests."""
