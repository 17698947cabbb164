"""What normals and integer noise cost per million values, by where their randomness comes from."""

from __future__ import annotations

import numpy as np
import torch
from rich.console import Console

from benchmarks.privacy.page import Section, save_section
from benchmarks.timing import best
from crypto.keys.randomness import KeyedStream
from privacy import system_bytes
from privacy.secure_gaussian import discrete_gaussian, gaussian
from privacy.skellam import sample_skellam

COUNT = 1_000_000


def main() -> None:
    """Print milliseconds per million values."""
    torch.set_num_threads(1)
    generator, sfc = torch.Generator(), np.random.Generator(np.random.SFC64(1))
    keyed = KeyedStream(bytes(32))
    rows = [
        ("torch.randn, float32 (reaches 5.8 sigma)", lambda: torch.randn(COUNT, generator=generator)),
        ("torch.normal, float64", lambda: torch.normal(0.0, 1.0, (COUNT,), dtype=torch.float64, generator=generator)),
        ("inversion, numpy SFC64 bytes", lambda: gaussian(1.0, (COUNT,), sfc.bytes)),
        ("inversion, keyed cipher stream", lambda: gaussian(1.0, (COUNT,), keyed)),
        ("inversion, operating system", lambda: gaussian(1.0, (COUNT,), system_bytes)),
        ("discrete Gaussian, keyed", lambda: discrete_gaussian(1e6, COUNT, keyed)),
        ("Skellam, keyed", lambda: sample_skellam(1e6, COUNT, keyed)),
    ]
    times = [1e3 * best(draw, 3) for _, draw in rows]
    shown = [[name, f"{spent:.1f}", f"{spent / times[0]:.1f}"] for (name, _), spent in zip(rows, times, strict=True)]
    made = Section("noise", [("", ["noise", "ms per million", "times torch.randn"], shown)])
    save_section(made)
    Console().print(made.text())


if __name__ == "__main__":
    main()
