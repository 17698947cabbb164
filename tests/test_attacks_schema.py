"""attacks.json of real runs against the schema that strangers read it by, closed: it must name every field."""

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from evaluation.audit_schema import attacks_schema
from secure_fcl.config import load_config
from secure_fcl.runner import execute, start

pytestmark = pytest.mark.slow
_NETWORK = (
    "data.name=digits", "scenario.partition=iid", "scenario.clients=4", "scenario.tasks=2", "training.rounds=2",
    "protection=plain", "workers=1", 'rows=["replay", "class_sums"]', "attacks.inversion_steps=2", "attacks.targets=2",
    "memory.capacity=200", "privacy.max_dropouts=1", "attacks.over_rounds=60",
)  # fmt: skip
_SUMS = (
    "data.name=digits", "scenario.partition=iid", "scenario.clients=8", "scenario.tasks=2", "protection=plain",
    "workers=1", 'rows=["class_sums"]', "privacy.max_dropouts=1",
)  # fmt: skip


def closed(schema: Any) -> Any:
    """The same schema with every object that names its fields closed to others."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return found | ({"additionalProperties": False} if "properties" in schema and "required" in schema else {})


STRICT = jsonschema.Draft202012Validator(closed(attacks_schema()))


@pytest.fixture(scope="module", params=[_NETWORK, _SUMS], ids=["network", "sums"])
def document(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    prepared, run = start(load_config(None, request.param), tmp_path_factory.mktemp("runs"), "audited")
    execute(prepared, run)
    found: dict[str, Any] = json.loads((run.path / "attacks.json").read_text(encoding="utf-8"))
    return found


def test_a_real_audit_fits(document: dict[str, Any]) -> None:
    assert [f"{list(error.absolute_path)}: {error.message}" for error in STRICT.iter_errors(document)] == []
    games = [one for one in document["outcomes"] if one["control"] is None]
    assert document["reach"]["games"] == len(games)
    assert document["reach"]["could_contradict"] == sum(one["could_contradict"] for one in games)


def _stage(document: dict[str, Any]) -> None:
    document["outcomes"][0]["stage"] = "staged"


def _silent(document: dict[str, Any]) -> None:
    document["outcomes"][0] |= {"could_contradict": False, "why_not": None}


def _able(document: dict[str, Any]) -> None:
    document["outcomes"][0] |= {"could_contradict": True, "why_not": None, "ledger_epsilon": None}


def _no_seed(document: dict[str, Any]) -> None:
    del document["seed"]


def _text(document: dict[str, Any]) -> None:
    document["outcomes"][0]["auc"] = "0.5"


def _unnamed(document: dict[str, Any]) -> None:
    document["outcomes"][0]["leak"] = 1.0


def _reasonless(document: dict[str, Any]) -> None:
    document["outcomes"][0]["tpr"][2] |= {"value": None, "reason": None}


def _newer(document: dict[str, Any]) -> None:
    document["format"] = 2


@pytest.mark.parametrize("change", [_stage, _silent, _able, _no_seed, _text, _unnamed, _reasonless, _newer])
def test_a_document_that_is_wrong_does_not_fit(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    wrong = copy.deepcopy(document)
    change(wrong)
    assert not STRICT.is_valid(wrong)
