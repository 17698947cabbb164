"""`python -m benchmarks`: every quick benchmark, one table each."""

from __future__ import annotations

from benchmarks import dpsgd, secure_sums

if __name__ == "__main__":
    secure_sums.main()
    dpsgd.main()
