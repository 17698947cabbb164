"""Pages in real headless Chromium, at the width of a desktop and of a phone: whole, legible, silent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pagebench import SIZES, chromium, shown

from evaluation.comparison import render_comparison
from evaluation.files import read_json, write_json
from evaluation.report import render_report
from evaluation.study_page import render_study
from evaluation.testing import write_synthetic_run

#: Kept for whoever wants to look; git does not.
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"

COLUMNS = "strategy,noise,epsilon,seed,micro,task_mean,forgetting,protection,epsilon_spent,leakage,worst_client"
LINES = [
    f"{name},{noise},{epsilon},{seed},{base + 0.02 * epsilon + 0.01 * seed},0.4,{0.5 - base / 2},bfv,{epsilon},0.1,0.2"
    for name, base in (("class_sums", 0.7), ("replay_with_a_long_name", 0.4))
    for noise in ("local", "shared")
    for epsilon in (0.5, 2, 8)
    for seed in (1, 2, 3)
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of every kind, with warnings, many tasks and everything that an audit can hold."""
    folder = tmp_path_factory.mktemp("pages")
    run = write_synthetic_run(folder / "a-run", tasks=6, protected=False)
    path = run / "attacks.json"
    document = read_json(path)
    point = {"value": 0.6, "low": 0.5, "high": 0.7}
    document |= {
        "history": [{"task": 0, "last": [point], "sequence": [point], "premium": [point], "half_life": 2}],
        "channels": [{"channel": "message sizes", "measure": "bytes", "auc": 0.6, "low": 0.5, "high": 0.7, "n": 9,
                      "least": 1, "largest": 2, "unaccounted": True}],
    }  # fmt: skip
    document["outcomes"].append({**document["outcomes"][0], "task": 1})
    write_json(path, document)
    other = write_synthetic_run(folder / "another-run", rows=("class_sums", "replay"), tasks=20, audited=False, seed=1)
    study = folder / "a-study"
    study.mkdir()
    (study / "study.csv").write_text("\n".join([COLUMNS, *LINES]) + "\n")
    texts = {"run": render_report(run), "many-tasks": render_report(other), "study": render_study(study),
             "comparison": render_comparison([run, other])}  # fmt: skip
    for name, text in texts.items():
        assert len(text.encode()) < 1_000_000
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("name", ["run", "many-tasks", "study", "comparison"])
def test_a_page_is_whole_legible_and_silent(pages: dict[str, Path], browser: Any, name: str, width: int) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    wrong = {}
    with shown(browser, pages[name], width) as seen:
        seen.page.screenshot(path=SCREENSHOTS / f"{name}-{width}.png")
        wrong["folded"] = seen.inspect()
        seen.unfold()
        wrong["unfolded"] = seen.inspect()
        seen.page.emulate_media(color_scheme="dark")
        wrong["dark"] = seen.inspect()
        seen.page.screenshot(path=SCREENSHOTS / f"{name}-{width}-dark-unfolded.png", full_page=True)
    assert wrong == {state: {"small": [], "pale": [], "cut": []} for state in wrong}
    assert seen.messages == []
    assert seen.requests == [pages[name].as_uri()]


def test_the_answer_of_a_run_is_on_one_screen(pages: dict[str, Path], browser: Any) -> None:
    with shown(browser, pages["run"], 1280) as seen:
        (figures,) = _boxes(seen.page, "table.figures")
        assert figures["y"] + figures["height"] <= SIZES[1280]
        bottoms = [box["y"] + box["height"] for box in _boxes(seen.page, "main > .side .matrix tbody")]
        assert len(bottoms) == 2
        assert max(bottoms) <= SIZES[1280]
        left, right = _boxes(seen.page, "main > .side .matrix")
        assert left["x"] + left["width"] <= right["x"]


def _boxes(page: Any, selector: str) -> list[dict[str, float]]:
    return [one.bounding_box() for one in page.locator(selector).all()]


def test_anchors_keys_and_paper_open_what_is_folded(pages: dict[str, Path], browser: Any) -> None:
    with shown(browser, pages["run"], 1280) as seen:
        page, rules = seen.page, "document.querySelector('#rules').checkVisibility({contentVisibilityAuto: true})"
        assert not page.evaluate(rules)
        page.locator("a[href='#rules']").press("Enter")
        assert page.evaluate(rules)
        page.locator("details:has(#cost) > summary").press("Enter")
        assert page.locator("#cost").is_visible()
        assert not page.locator("#attacks").is_visible()
        page.emulate_media(media="print")
        assert page.locator("#attacks table").first.evaluate("(e) => e.getBoundingClientRect().height") > 0
        assert seen.inspect()["pale"] == []


def test_a_wide_table_scrolls_by_keyboard(pages: dict[str, Path], browser: Any) -> None:
    with shown(browser, pages["run"], 390) as seen:
        seen.unfold()
        box = seen.page.get_by_role("region", name="Attacks", exact=True)
        assert box.evaluate("(e) => e.scrollWidth > e.clientWidth")
        box.press("ArrowRight")
        seen.page.wait_for_function("(e) => e.scrollLeft > 0", arg=box.element_handle())


def test_a_screen_reader_hears_tables_headings_and_figures(pages: dict[str, Path], browser: Any) -> None:
    for width in SIZES:
        with shown(browser, pages["run"], width) as seen:
            page = seen.page
            figures = page.get_by_role("table", name="Five figures and a verdict for every strategy")
            assert figures.get_by_role("columnheader").count() == 6
            assert figures.get_by_role("rowheader").count() == 3
            assert figures.get_by_role("cell").count() == 15
            assert page.get_by_role("heading", level=1).count() == 1
            seen.unfold()
            assert page.get_by_role("img", name="Accuracy over the classes seen so far").count() == 1
            unnamed = "(tables) => tables.filter((one) => !one.caption?.textContent.trim()).length"
            assert page.locator("table").evaluate_all(unnamed) == 0
            assert page.locator("th:not([scope])").count() == 0


def test_a_study_sorts_and_is_whole_without_its_script(pages: dict[str, Path], browser: Any) -> None:
    with shown(browser, pages["study"], 1280) as seen:
        table = seen.page.locator("#points table")
        heading = table.get_by_role("columnheader", name="epsilon")
        cells = "(t) => [...t.tBodies[0].rows].map((row) => row.cells[1].textContent)"
        for order in ("ascending", "descending"):
            heading.get_by_role("button").press("Enter")
            assert heading.get_attribute("aria-sort") == order
            values = [float(text) for text in table.evaluate(cells)]
            assert values == sorted(values, reverse=order == "descending")
        assert len(values) == 12
    with shown(browser, pages["study"], 390, java_script_enabled=False) as seen:
        assert seen.page.locator("#points table tbody tr").count() == 12
        assert seen.page.locator("#points button").count() == 0


BAD = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0;background:#fff;color:#000">
<p style="font-size:8px">small</p><p style="color:#aaa">pale</p><p style="width:2000px">wide</p>
<p style="width:40px;overflow:hidden;white-space:nowrap">hidden overflow of a long text</p>
<svg width="40" height="40" viewBox="0 0 80 80"><text x="0" y="20" font-size="16">tiny</text></svg>
<svg width="40" height="40"><text x="20" y="20" font-size="16">beyond the frame</text></svg>
<img src="https://example.org/x.png" alt="">"""


def test_what_is_wrong_with_a_page_is_found(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(BAD)
    with shown(browser, tmp_path / "bad.html", 390) as seen:
        found = seen.inspect()
    assert [text.split()[-1] for text in found["small"]] == ["small", "tiny"]
    assert [text.split()[-1] for text in found["pale"]] == ["pale"]
    for part in ("the page", ": wide", "hidden overflow of p", "outside its figure"):
        assert any(part in text for text in found["cut"])
    assert len(seen.requests) == 2
    assert seen.messages
