"""Benchmarks of the privacy toolkit: `python -m benchmarks.privacy.stacked`, `.noise`, `.streams`."""
