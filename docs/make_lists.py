"""Fill the marked lists of the pages from the code: `python docs/make_lists.py`.

A page holds a list between `<!-- made: NAME -->` and `<!-- end -->`. `LISTS` says which function writes which list. The
functions of the section "What the code says" are the only ones that know where a list comes from; when something moves,
they follow it and nothing else does.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer

import crypto
import secure_fcl.data
from attacks.games import views
from crypto.protocols.catalogue import ENTRIES as PROTOCOLS
from crypto.protocols.session import hiding
from secure_fcl.cli.commands import app
from secure_fcl.config import Config, load_config
from secure_fcl.data.catalogue import source_of
from secure_fcl.forecast.strategy_facts import FactSheet, fact_sheets

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
MARKED = re.compile(r"(<!-- made: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

# ---- What the code says


@cache
def strategies() -> tuple[FactSheet, ...]:
    """Return the fact sheet of every strategy under the default configuration, in the order of the configuration."""
    return fact_sheets(load_config())


def protections() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return for every protocol what hides a client's vector from the server, and who takes part beside the clients."""
    names, upload = [f"client {number}" for number in range(30)], crypto.Upload(name="update", length=1, bound=1)
    plans = {name: crypto.plan(name, names, (upload,), rounds=1, max_dropouts=3) for name in PROTOCOLS}
    return {name: (hiding(plan), crypto.plan_roles(plan)) for name, plan in plans.items()}


def threat_models() -> tuple[views.ThreatModel, ...]:
    """Return every threat model that attacks can look from, the weakest first."""
    found = [value for value in vars(views).values() if isinstance(value, views.ThreatModel)]
    return tuple(sorted(found, key=lambda threat: len(threat.capabilities)))


def data_sets() -> dict[str, tuple[str, int]]:
    """Return for every data set the folder it is read from ("" if installed), and its number of classes."""
    found = {}
    for status in secure_fcl.data.list_datasets():
        if status.state == "shipped":
            found[status.name] = ("", len(secure_fcl.data.load(status.name).classes))
        else:
            source = source_of(status.name)
            found[status.name] = (source.folder, len(source.classes))
    return found


def choices(key: str) -> tuple[str, ...]:
    """Return the words that a key of the configuration takes, such as "scenario.kind"."""
    schema: dict[str, Any] = Config.model_json_schema()
    node: dict[str, Any] = schema
    for part in key.split("."):
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        node = node["properties"][part]
    return tuple(node.get("items", node)["enum"])


def commands() -> tuple[str, ...]:
    """Return every command of the command line, those of a group with the group's name before them."""
    return tuple(_commands(typer.main.get_command(app), ""))


def extras() -> dict[str, list[str]]:
    """Return the optional dependencies of the package by the name of the extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def _commands(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name


# ---- How a page says it


def _strategies() -> str:
    networks = [sheet for sheet in strategies() if sheet.extra_releases is not None]
    sums = [sheet for sheet in strategies() if sheet.extra_releases is None]
    return _table(
        ("kind", "rows"),
        [
            ("train a network by DP-SGD, without a memory", _rows(s for s in networks if not s.memory_examples)),
            ("train a network by DP-SGD, with a replay memory", _rows(s for s in networks if s.memory_examples)),
            ("sum bounded statistics of each example, train nothing", _rows(sums)),
        ],
    )


def _places() -> str:
    every = strategies()
    lines = []
    for place in choices("replay.noise"):
        # Without noise every row runs; a fact sheet lists the places of noise only.
        have = [sheet for sheet in every if place == "none" or place in sheet.places]
        lack = [sheet for sheet in every if sheet not in have]
        lines.append((f"`{place}`", f"all but {_rows(lack)}" if lack else "all"))
    return _table(("place", "rows that have it"), lines)


def _protections() -> str:
    hidden = {
        "nothing": "nothing",
        "ciphertext": "encryption for another party",
        "shares": "shares, of which it sees none",
        "masks": "pairwise masks",
        "pads": "pads, of which a helper knows the sums",
    }
    return _table(
        ("protocol", "hides one client's vector from the server by", "parties beside the clients"),
        [(f"`{name}`", hidden[how], ", ".join(roles)) for name, (how, roles) in protections().items()],
    )


def _threat_models() -> str:
    lines, every = [], threat_models()
    for threat in every:
        within = [other for other in every if other.capabilities < threat.capabilities]
        base = max(within, key=lambda other: len(other.capabilities), default=None)
        more = threat.capabilities - (base.capabilities if base else frozenset())
        said = "; ".join(capability.value for capability in views.Capability if capability in more)
        lines.append((threat.name, f"as {base.name}, and {said}" if base else said))
    return _table(("threat model", "what the adversary has"), lines)


def _data_sets() -> str:
    return _table(
        ("data set", "classes", "read from"),
        [(f"`{name}`", str(n), f"`{folder}`" if folder else "installed") for name, (folder, n) in data_sets().items()],
    )


def _rows(sheets: Iterable[FactSheet]) -> str:
    return ", ".join(f"`{sheet.row}`" for sheet in sheets)


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


LISTS: Mapping[str, Callable[[], str]] = {
    "strategies": _strategies,
    "places": _places,
    "protections": _protections,
    "threat-models": _threat_models,
    "data-sets": _data_sets,
}


def fill(text: str) -> str:
    """Return a page with its marked lists written anew.

    Raises:
        KeyError: a mark names no list.
    """
    return MARKED.sub(lambda found: f"{found[1]}{LISTS[found[2]]()}{found[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        if fill(old) != old:
            page.write_text(fill(old), encoding="utf-8")
