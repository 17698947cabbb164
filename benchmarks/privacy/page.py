"""The page docs/benchmarks-privacy.md: sections of tables, kept one by one so that each can be measured alone."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE, POINTS = DOCS / "benchmarks-privacy.md", DOCS / "benchmarks-privacy.json"
IMAGES = DOCS / "images"

_HEAD = """# What privacy costs

Written by `make bench-privacy` (each section by its own command); not edited by hand. Times are CPU time of one thread
(`OMP_NUM_THREADS=1`), the best of three, measured on a machine that was shared with other work; ratios compare runs of
one process.
"""

_SECTIONS = {
    "curve": (
        "Accuracy over epsilon on HAPT, by place of the noise",
        "hapt_curve",
        "One linear classifier on bounded public features, all labels present, window level (one window added or "
        "removed), delta 1e-5. Session 1 of all 30 people trains, later sessions test. Test accuracy over windows in "
        "percent, mean and standard deviation of three seeds; in brackets the mean over the twelve classes. Every "
        "round is one clipped gradient sum of a Poisson sample. *Shared* noise is Skellam noise in integers, sized for "
        "3 of 30 clients missing and one colluder, and charged by Renyi accounting when this was measured; the others "
        "are Gaussian and "
        "charged by privacy loss distributions. The setting (25 rounds, rate 0.25, clipping norm 1, learning rate "
        "36, momentum 0.9, mean of the second half of the iterates) was chosen for the curator at epsilon 1 on "
        "held-out people of session 1, and is the same for the first four lines. Local noise does best there with far "
        "smaller steps (50 rounds, clipping norm 0.5, learning rate 1.6), the fifth line; the first four"
        " lines' setting suits it badly: read both. These choices used private data and are not charged.",
    ),
    "accounting": ("Accounting", "accounting", "Replay and current data in turn: two kinds of steps, 5,000 each."),
    "stacked": (
        "Many clients at once",
        "stacked",
        "Client-steps a second of DP-SGD, and in brackets how many times slower than plain SGD without privacy, one "
        "client after the other. *Opacus* is `DpSgdTrainer`, the same noise as *secure*.",
    ),
    "stacked_noise": (
        "What cipher noise adds to a stack",
        "stacked_noise",
        "CPU milliseconds of a client's step in one process, and times plain SGD without privacy. *As before* is the "
        "same numbers, made through new arrays; `privacy.secure_gaussian` now goes over each block in place. The goal, "
        "1.6 times, is not reached: what remains is named below, and two variables a release are what keeps its tail "
        "without gaps (`release_noise`).",
    ),
    "noise": ("Noise", "noise", "Milliseconds for a million values."),
    "skellam": (
        "Noise of rows with shared noise",
        "skellam",
        "The least noise multiplier of each row with shared noise, default run on HAPT, delta 1e-5: by the Renyi bound "
        "of Skellam noise, by the [Gaussian mechanism that dominates it](skellam.md), and how much that is over real "
        "Gaussian noise without rounding, by privacy loss distributions. All to a thousandth.",
    ),
    "streams": (
        "Streams without sampling",
        "streams",
        "Root mean square error of all prefix sums of a one-pass stream, at noise multiplier 1 and equal privacy.",
    ),
    "online": (
        "A tree's noise on an online stream",
        "online",
        "Whole runs of `finetune` (logistic regression on refined features, shared noise) on HAPT as a blurry stream "
        "seen once: 30 clients, 24 segments read in 144 rounds, each window in one of them, delta 1e-5, one window "
        "added or removed. `privacy.mechanism = \"independent\"` against `\"tree\"` with everything else alike. "
        "Accuracy on test windows at the end (*last*) and over the stream (*anytime*) in percent, of one run a cell: "
        "two runs of one cell at epsilon 1 were up to twelve points apart. The multiplier is of one release: of the "
        "round's, or of a node's, of which a window is charged eight. All step sizes are shown for both, since what "
        "suits depends on the noise. The total after t rounds has the noise of t rounds, or of eight times as many "
        "nodes as t has ones in base two: less late in the stream, which *last* shows, and more in its first dozens of "
        "rounds, which *anytime* shows.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Tables (title, head, rows) and sentences of one section, and an SVG if it has a figure."""

    name: str
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]
    said: Sequence[str] = ()
    figure: str | None = None

    def text(self) -> str:
        """Return the section's own part as Markdown."""
        parts = []
        if self.figure is not None:
            parts.append(f"![{_SECTIONS[self.name][0]}](images/benchmarks-privacy-{self.name}.svg)")
        for title, head, rows in self.tables:
            lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
            parts += [title] if title else []
            parts.append("\n".join(lines))
        return "\n\n".join([*parts, *self.said])


def save_section(section: Section) -> None:
    """Keep a section and write the page anew from all that are kept."""
    kept = json.loads(POINTS.read_text()) if POINTS.exists() else {}
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "torch", "opacus", "dp-accounting"))
    kept[section.name] = {"text": section.text(), "with": f"Python {platform.python_version()}, {versions}"}
    POINTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    if section.figure is not None:
        (IMAGES / f"benchmarks-privacy-{section.name}.svg").write_text(section.figure)
    parts = [_HEAD]
    for name, (title, module, said) in _SECTIONS.items():
        if name in kept:
            found = kept[name]
            command = f"`python -m benchmarks.privacy.{module}`; {found['with']}."
            parts.append(f"## {title}\n\n{said}\n\n{found['text']}\n\n{command}\n")
    PAGE.write_text("\n".join(parts))
