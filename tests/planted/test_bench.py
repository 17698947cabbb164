"""Every planted bug is caught by the test named beside it, and no rewrite of the same places is."""

import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from bugs import BUGS  # noqa: E402 - found once the folder is on the path
from planting import ROOT, Change, planted, try_change  # noqa: E402
from rewrites import REWRITES  # noqa: E402


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Change) -> None:
    found = try_change(bug)
    assert bug.where in found.seen, f"the planted line ran nowhere but in {set(found.seen)}:\n{found.output[-3000:]}"
    # 1: a test failed. Anything else (no test collected, an error of the bench) is no catch.
    assert found.code == 1, found.output[-3000:]
    assert " failed" in found.output, found.output[-3000:]
    assert bug.said in found.output, found.output[-3000:]


SAMPLED = frozenset(random.Random("rewrites").sample([rewrite.name for rewrite in REWRITES], 8))


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "rewrite",
    [pytest.param(one, marks=() if one.name in SAMPLED else pytest.mark.rest) for one in REWRITES],
    ids=lambda rewrite: rewrite.name,
)
def test_a_rewrite_passes(rewrite: Change) -> None:
    found = try_change(rewrite)
    assert rewrite.where in found.seen, found.output[-3000:]
    assert found.code == 0, found.output[-3000:]


def test_the_bench_is_as_large_as_it_says() -> None:
    names = [change.name for change in (*BUGS, *REWRITES)]
    assert len(set(names)) == len(names)
    assert len(BUGS) >= 40
    assert len(REWRITES) >= 15


@pytest.mark.parametrize("change", [*BUGS, *REWRITES], ids=lambda change: change.name)
def test_every_change_finds_its_place(change: Change) -> None:
    """Quick, so that whoever moves the line learns of it at once."""
    compile(planted((ROOT / change.file).read_text(), change.old, change.new), change.file, "exec")
    for test in change.tests:
        assert (ROOT / test.partition("::")[0]).is_file()
