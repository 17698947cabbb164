"""`python -m benchmarks.attacks [section ...]`: all sections, or those named."""

from __future__ import annotations

import sys

import torch

from benchmarks.attacks import bounds, continual, gradients, hapt, shadows, sums

SECTIONS = {
    "shadows": shadows.main,
    "continual": continual.main,
    "gradients": gradients.main,
    "sums": sums.main,
    "bounds": bounds.main,
    "hapt": hapt.main,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or list(SECTIONS)
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"no section {unknown}; there are {list(SECTIONS)}")
    for name in wanted:
        SECTIONS[name]()
