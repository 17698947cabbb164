"""The documentation: generated pages and lists are up to date, links and paths lead somewhere, commands are real."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from attacks.own.settings import AuditSettings
from evaluation.forgetting import FORGETTING
from secure_fcl.cli.commands import app
from secure_fcl.config import load_config, validate
from secure_fcl.studies import AXES, open_study

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TOP = ("README", "SECURITY", "CHANGELOG", "CONTRIBUTING", "tests/README")
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / f"{name}.md" for name in TOP)]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A file of a user's own, which the pages warn of.
NOT_OURS = {"attacks.py"}
CODE = ("secure_fcl", "crypto", "privacy", "attacks", "evaluation", "tests", "benchmarks", "docs", "examples")
FILE_NAMES = {path.name for folder in CODE for path in (ROOT / folder).rglob("*.py")}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Any]:
    found = []
    for page in PAGES:
        for number, (kind, body) in enumerate(FENCE.findall(page.read_text(encoding="utf-8"))):
            if kind == language:
                found.append(pytest.param(body, id=f"{name_of(page)}-{number}"))
    return found


def generator(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration", "strategies"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    made = generator(f"make_{page}")
    assert (DOCS / f"{page}.md").read_text(encoding="utf-8") == made.render(), f"run docs/make_{page}.py"


LISTS = generator("make_lists")


@pytest.mark.parametrize("page", LISTS.PAGES, ids=name_of)
def test_marked_lists_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == LISTS.fill(text), "run docs/make_lists.py"


def test_every_list_stands_on_a_page() -> None:
    marked = {mark[1] for page in LISTS.PAGES for mark in LISTS.MARKED.findall(page.read_text(encoding="utf-8"))}
    assert marked == set(LISTS.LISTS)


def test_a_list_that_lacks_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a strategy, protocol or threat model that the code has and the page lacks changes the page."""
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    for gone in (", `fedcurv`", "| `secagg+` | pairwise masks | server |\n", ", `fedweit_safe`, `local_only` |"):
        assert text.count(gone) == 1
        assert LISTS.fill(text.replace(gone, "")) == text
    sheets, sums = LISTS.strategies(), LISTS.protections()
    monkeypatch.setattr(LISTS, "strategies", lambda: (*sheets, replace(sheets[0], row="unheard_of")))
    assert "`unheard_of`" in LISTS.fill(text)
    monkeypatch.setattr(LISTS, "protections", lambda: sums | {"unheard+of": sums["plain"]})
    assert "| `unheard+of` | nothing | server |" in LISTS.fill(text)
    with pytest.raises(KeyError):
        LISTS.fill("<!-- made: no-such-list -->\n<!-- end -->")


def section(page: str, head: str) -> str:
    """The text of a page from a heading (or a bold word that opens a paragraph) to the next of its kind."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count(head) == 1, f"{page} has no single {head!r}"
    return re.split(r"^(?:#|\*\*)", text.partition(head)[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """The words in backticks of the first column of the tables in a text."""
    return [
        word for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for word in re.findall(r"`([^`]+)`", cell)
    ]


def test_lists_that_pages_keep_by_hand_are_whole() -> None:
    shown = re.findall(r"^secure-fcl (.*?)  ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = [line.split()[0] for line in shown if " | " not in line]
    groups = [line.split(maxsplit=1) for line in shown if " | " in line]
    names += [f"{group} {name}" for group, choice in groups for name in choice.split(" | ")]
    assert sorted(names) == sorted(LISTS.commands())
    rows = re.findall(
        r"^\|[^|]*\| ((?:`\w+`(?:, )?)+) \|", section("docs/literature.md", "## Built here, and not"), re.MULTILINE
    )
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(sheet.row for sheet in LISTS.strategies())
    assert sorted(first_cells(section("docs/how-to/run.md", "## Extras"))) == sorted(LISTS.extras())
    assert sorted(first_cells(section("docs/concepts.md", "## Measures"))) == sorted(FORGETTING)


NUMBERS = {24: "Twenty-four", 25: "Twenty-five", 26: "Twenty-six", 27: "Twenty-seven", 28: "Twenty-eight"}


def test_the_readme_counts_the_strategies() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n{NUMBERS[len(LISTS.strategies())]} strategies run behind one interface" in text


def lacking(text: str, names: Iterable[str], form: str = "`{}`") -> list[str]:
    return [name for name in names if form.format(name) not in text]


def test_prose_names_all_there_is() -> None:
    who = section("docs/threat-models.md", "## Who sees what")
    assert not lacking(who, LISTS.protections())
    assert not lacking(section("docs/threat-models.md", "## What the secure sums assume"), LISTS.protections())
    assert not lacking((ROOT / "README.md").read_text(encoding="utf-8"), LISTS.protections())
    assert not lacking(section("docs/concepts.md", "**Memory.**"), LISTS.choices("memory.policy"))
    assert not lacking(section("docs/concepts.md", "**Places of noise.**"), LISTS.choices("class_sums.noise"), "*{}*")
    assert not lacking(section("docs/how-to/study.md", "# Study"), AXES)
    bytes_page = (DOCS / "how-to" / "fewer-bytes.md").read_text(encoding="utf-8")
    for key, default in (("kind", "none"), ("trained", "all")):
        wanted = set(LISTS.choices(f"compression.{key}")) - {default}
        assert not lacking(bytes_page, wanted, f'compression.{key} = "{{}}"')
    scenario = (DOCS / "how-to" / "choose-a-scenario.md").read_text(encoding="utf-8")
    for key in ("scenario.kind", "scenario.domains", "scenario.order", "scenario.arrival", "scenario.partition",
                "scenario.setting", "drift.course", "drift.kind"):  # fmt: skip
        standard = {"same", "synchronous", "none", "cross-device"}
        assert not lacking(scenario, set(LISTS.choices(key)) - standard, f"{key.partition('.')[2]}={{}}"), key


def test_what_prose_lacks_is_found() -> None:
    """Negative control of the two tests above."""
    assert lacking("`a`, `b`", ["a", "b", "c"]) == ["c"]
    assert lacking(section("docs/concepts.md", "**Memory.**"), ["reservoir"]) == ["reservoir"]
    assert first_cells("| `a` | `b` |\n|---|---|\n| `c`, `d` | e |\n") == ["a", "c", "d"]
    with pytest.raises(AssertionError):
        section("docs/concepts.md", "**No such word.**")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_and_names_in_the_text_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for label, target in re.findall(r"\[`([^`]+\.py)`\]\(([^)\s]+)\)", text):
        assert target.endswith(label), f"the link to {target} calls it {label}"
    alone = re.sub(r"\[`[^`]+`\]\([^)\s]+\)", "", text)
    assert not [word for word in re.findall(r"`([^`\n]+)`", alone) if missing(word)]


def missing(word: str) -> bool:
    """Whether a word in backticks has the form of a path or a dotted name of this repository, and there is none."""
    if re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*/?", word) and ("/" in word or word.endswith(".py")):
        if "/" not in word:
            return word not in NOT_OURS | FILE_NAMES
        return (ROOT / word.partition("/")[0]).is_dir() and not (ROOT / word).exists()
    if not re.fullmatch(r"(secure_fcl|crypto|privacy|attacks|evaluation)(\.\w+)+", word) or word.endswith(".json"):
        return False
    package, *names = word.split(".")
    if names[0] in load_config().model_dump().get(package, {}):
        return False
    found: Any = importlib.import_module(package)
    for name in names:
        if not hasattr(found, name):
            try:
                importlib.import_module(f"{found.__name__}.{name}")
            except ImportError:
                return True
        found = getattr(found, name)
    return False


def test_a_path_that_is_not_there_is_found() -> None:
    for wrong in (
        "secure_fcl/run/loop.py",
        "crypto/planning.py",
        "no_such.py",
        "docs/nowhere/",
        "attacks.views.View",
        "privacy.no",
    ):
        assert missing(wrong), wrong
    for right in (
        "secure_fcl/streams/",
        "crypto.planning.plans.make_plan",
        "privacy.delta",
        "attacks.json",
        "plan(x)",
        "n/a",
    ):
        assert not missing(right), right


def test_the_loop_has_the_numbered_steps_of_the_page() -> None:
    code = (ROOT / "secure_fcl" / "running" / "loop.py").read_text(encoding="utf-8")
    page = (DOCS / "concepts.md").read_text(encoding="utf-8")
    in_code = dict(re.findall(r"^ +# (\d)\. (.+)$", code, re.MULTILINE))
    in_page = dict(re.findall(r"^(\d)\. (.+)$", page, re.MULTILINE))
    assert sorted(in_code) == [str(number) for number in range(1, 6)]
    assert {number: text.replace("**", "") for number, text in in_page.items()} == in_code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), f"{target} is not there"
            if anchor:
                heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def test_every_page_is_on_the_map() -> None:
    listed = {(DOCS / t).resolve() for t in LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))}
    assert {page.resolve() for page in DOCS.rglob("*.md")} - listed == {DOCS / "index.md"}


def commands(body: str) -> Iterator[list[str]]:
    for line in body.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def parse(words: list[str]) -> dict[str, Any]:
    """Return the parameters that the command line makes of the words, without running anything."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        name, *rest = rest
        assert name in command.commands, f"no command {name!r}"
        command = command.commands[name]
    parameters: dict[str, Any] = command.make_context(words[1], rest).params
    if parameters.get("settings"):
        load_config(None, parameters["settings"])
    return parameters


@pytest.mark.parametrize("body", blocks("sh"))
def test_commands_parse(body: str) -> None:
    for words in commands(body):
        match words:
            case ["secure-fcl", *_]:
                parse(words[: words.index(">")] if ">" in words else words)
            case ["make", target, *_]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            case ["python", script]:
                assert (ROOT / script).is_file()
            case _:
                pytest.fail(f"the documentation shows {words}, which no test can check")


def test_the_parser_of_this_test_refuses() -> None:
    for wrong in ("run --sett a=b", "run --set no.such=1", "trian", "data lost", "audit"):
        with pytest.raises((AssertionError, Exception)):
            parse(["secure-fcl", *shlex.split(wrong)])


def settings_in_tables() -> list[Any]:
    return [
        pytest.param(cell, id=f"{name_of(page)}: {cell}")
        for page in PAGES
        for cell in re.findall(r"`((?:--set [^`]+))`", page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("cell", settings_in_tables())
def test_settings_in_the_text_are_valid(cell: str) -> None:
    assert len(parse(["secure-fcl", "run", *shlex.split(cell)])["settings"]) == cell.count("--set")


@pytest.mark.parametrize("body", blocks("toml"))
def test_toml_is_valid(body: str, tmp_path: Path) -> None:
    tree = tomllib.loads(body)
    if "grid" in tree:
        path = tmp_path / "study.toml"
        path.write_text(body, encoding="utf-8")
        said = re.search(r"^# (\d+) cells$", body, re.MULTILINE)
        assert said, "say in a comment how many cells there are"
        assert len(open_study(path).cells) == int(said[1])
    elif "nonmembers" in tree:
        assert AuditSettings.model_validate(tree).model == "nets:make"
    else:
        assert validate(tree).scenario.clients == tree["scenario"]["clients"]


@pytest.mark.parametrize("body", blocks("python"))
def test_python_runs(body: str) -> None:
    names = {"__name__": "documentation"}
    exec(compile(body, "documentation", "exec"), names)
    assert len(names) > 2
