"""The documentation: generated pages are up to date, links lead somewhere, and commands and code are real."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from secure_fcl.cli.commands import app
from secure_fcl.config import load_config, validate
from secure_fcl.studies import load_study

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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
        assert len(load_study(path)) == 10
    else:
        assert validate(tree).scenario.clients == tree["scenario"]["clients"]


@pytest.mark.parametrize("body", blocks("python"))
def test_python_runs(body: str) -> None:
    names = {"__name__": "documentation"}
    exec(compile(body, "documentation", "exec"), names)
    assert len(names) > 2
