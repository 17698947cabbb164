"""What ran, in a few pairs for the head of a page: data, protection, delta, and what else a figure depends on."""

from __future__ import annotations

import tomllib
from typing import Any

from evaluation.run_folder import Run, mapping, number
from evaluation.tables import small
from evaluation.tasks import shortened

Pairs = tuple[tuple[str, str], ...]


def configuration(run: Run) -> dict[str, Any]:
    """The run's configuration as a tree; empty where the file is missing or is no TOML."""
    try:
        return tomllib.loads(run.config or "")
    except tomllib.TOMLDecodeError:
        return {}


def facts(run: Run) -> Pairs:
    """Data, protection and delta, then unit, seed and start; what the folder does not say is "not stated"."""
    tree = configuration(run)
    entries = [mapping(run.guarantee(row)) for row in run.rows if run.guarantee(row) is not None]
    environment = mapping(run.environment)
    found = [
        ("Data", _data(tree)),
        ("Protection", _united([_protection(one.get("protection")) for one in entries or [tree]])),
        ("Delta", _united([small(delta) for one in entries if number(delta := one.get("delta")) is not None])),
        ("Unit protected", _united([_first_clause(one["unit"]) for one in entries if "unit" in one])),
    ]
    if "seed" in tree:
        found.append(("Seed", str(tree["seed"])))
    if started := str(environment.get("started", "")):
        found.append(("Started", started[:16].replace("T", " ")))
    return tuple(found)


def _protection(name: object) -> str | None:
    """A protocol in words; one of the user's own by its name."""
    return None if name is None else _PROTECTIONS.get(str(name), str(name))


_PROTECTIONS = {
    "plain": "none (uploads in the clear)",
    "bfv": "encrypted sums (BFV)",
    "mpc": "shares to two servers (MPC)",
    "secagg": "pairwise masks (SecAgg)",
    "secagg+": "pairwise masks (SecAgg+)",
}


def _united(values: list[Any]) -> str:
    known = dict.fromkeys(str(value) for value in values if value is not None and str(value))
    return ", ".join(known) or "not stated"


def _first_clause(unit: object) -> str:
    return str(unit).partition(";")[0]


def _data(tree: dict[str, Any]) -> str:
    data, scenario = mapping(tree.get("data")), mapping(tree.get("scenario"))
    source = data.get("source", "catalogue")
    name = data.get("name") if source == "catalogue" else source
    parts = [shortened(str(name))] if name else []
    parts += [f"{scenario[key]} {key}" for key in ("clients", "tasks") if key in scenario]
    return ", ".join(parts) or "not stated"
