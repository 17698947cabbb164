"""What secure sums cost in time and bytes, beside a named peer in the same process: `python -m benchmarks.crypto`."""
