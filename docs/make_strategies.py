"""Write docs/strategies.md from the strategies' own code under the defaults: `python docs/make_strategies.py`."""

from __future__ import annotations

from pathlib import Path

from secure_fcl.cli.strategy_tables import as_markdown
from secure_fcl.config import load_config
from secure_fcl.forecast.strategy_facts import fact_sheets

PAGE = Path(__file__).with_name("strategies.md")

_HEAD = """# Strategies

Read off the code that runs them, under the default configuration (HAPT, 30 phones, six tasks), by
`python docs/make_strategies.py`; do not edit it by hand. `secure-fcl strategies` prints the same tables for a
configuration of your own, `--json` every fact. What they reach: [benchmarks-strategies.md](benchmarks-strategies.md).
Where they come from, and which others survive sums and privacy: [literature.md](literature.md). How to add one:
[how-to/add-a-strategy.md](how-to/add-a-strategy.md).

"""


def render() -> str:
    """Return the whole page."""
    return _HEAD + as_markdown(fact_sheets(load_config()))


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
