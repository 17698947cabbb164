"""The schema of attacks.json as JSON Schema: valid itself, and of the format that runs write."""

import json
from importlib.metadata import files

import jsonschema
import pytest

from evaluation.audit_schema import FORMAT, KIND, SCHEMA, attacks_schema


def test_the_schema_is_one_and_has_the_format_that_runs_write() -> None:
    schema = attacks_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["format"] == {"const": FORMAT}
    assert schema["properties"]["kind"] == {"const": KIND}
    assert SCHEMA.name == f"attacks-{FORMAT}.json"


def test_the_command_prints_the_schema_without_a_run() -> None:
    from typer.testing import CliRunner

    from secure_fcl.cli.commands import app

    printed = CliRunner().invoke(app, ["audit", "--schema"])
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == attacks_schema()


def test_an_empty_document_does_not_fit() -> None:
    with pytest.raises(jsonschema.ValidationError, match="required"):
        jsonschema.Draft202012Validator(attacks_schema()).validate({})


def test_the_schema_is_part_of_what_is_installed() -> None:
    # An editable install lists no data files; the pattern that ships them is what can be looked at.
    if files("secure-fcl") is None:
        pytest.skip("not installed")
    text = (SCHEMA.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"*.json"' in text.split("[tool.setuptools.package-data]")[1].split("\n\n")[0]
