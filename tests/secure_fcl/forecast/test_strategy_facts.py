"""The table of strategies against facts that are known otherwise."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from secure_fcl.cli.commands import app
from secure_fcl.cli.strategy_tables import TABLES, as_markdown
from secure_fcl.config import Config
from secure_fcl.forecast.strategy_facts import FactSheet, fact_sheets
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.methods import SynapticIntelligence


@pytest.fixture(scope="module")
def sheets(make_config: Callable[..., Config]) -> dict[str, FactSheet]:
    config = make_config("training.rounds=3", "training.steps=2")
    return {sheet.row: sheet for sheet in fact_sheets(config)}


def test_every_row_has_a_sheet(sheets: dict[str, FactSheet]) -> None:
    assert list(sheets) == list(ENTRIES)
    assert sheets["fedssi"].what.startswith("FedSSI: SI whose paths")


def test_only_published_glfc_and_fedweit_send_more_than_sums(sheets: dict[str, FactSheet]) -> None:
    odd = [row for row, sheet in sheets.items() if not sheet.sums_only or not sheet.per_example_dp]
    assert odd == ["glfc", "fedweit"]
    assert sheets["glfc"].side_channels == ("glfc.prototype_gradients",)
    assert sheets["glfc"].side_bytes > 0
    assert sheets["fedweit"].side_channels == ("fedweit.task_weights",)


@pytest.mark.parametrize(
    ("row", "releases", "extra", "kept"),
    [
        ("finetune", 6, 0, 0),
        ("replay", 6, 0, 6),
        ("fedavg", 9, 3, 0),  # a number of examples in each of three rounds
        ("fedewc", 7, 1, 0),  # Fisher information
        ("fedcurv", 7, 1, 0),
        ("fedmas", 7, 1, 0),  # importances
        ("fedsi", 6, 0, 0),
        ("fedssi", 12, 6, 0),  # the surrogate's visits
        ("fedagem", 6, 0, 9),  # the memory's reference in each round
        ("scaffold", 6, 0, 0),
        ("fedntd", 6, 0, 0),
        ("cfed", 6, 0, 0),
        ("fedweit_safe", 6, 0, 0),
        ("class_sums", 1, None, 0),
        ("calm", 2, None, 0),
    ],
)
def test_releases(sheets: dict[str, FactSheet], row: str, releases: int, extra: int | None, kept: int) -> None:
    sheet = sheets[row]
    assert (sheet.releases, sheet.extra_releases, sheet.releases_kept) == (releases, extra, kept)


def test_what_is_the_same_with_shared_noise(sheets: dict[str, FactSheet]) -> None:
    same = {row: sheet.shared_equals for row, sheet in sheets.items() if sheet.shared_equals}
    to_averaging = dict.fromkeys(("fedavg", "fedprox", "scaffold"), "finetune")
    assert same == {**to_averaging, "fedcurv": "fedewc", "fedssi": "fedsi"}
    assert [row for row, sheet in sheets.items() if sheet.places == ("local",)] == [
        "fedweit",
        "fedweit_safe",
        "local_only",
    ]


def test_where_terms_act(sheets: dict[str, FactSheet]) -> None:
    assert sheets["finetune"].terms == ()
    assert sheets["fedprox"].terms == ("after the noise",)
    assert sheets["flwf2t"].terms == ("loss of an example",)
    assert "server's use of sums" in sheets["fedewc"].terms
    assert sheets["cfed"].terms == ("uploads of its own",)


def test_storage_is_the_arrays(sheets: dict[str, FactSheet]) -> None:
    size = 64 * 64 + 64 + 64 * 10 + 10
    assert sheets["finetune"].kept_bytes == 0
    assert sheets["fedlwf"].kept_bytes == 4 * size
    assert sheets["fedsi"].kept_bytes == 12 * size
    assert sheets["fedssi"].kept_bytes == 16 * size
    assert sheets["derpp"].kept_bytes == 4 * 10 * sheets["derpp"].memory_examples > 0


def test_uploads_grow_with_the_sums_beside(sheets: dict[str, FactSheet]) -> None:
    assert sheets["fedsi"].bytes_up > 1.9 * sheets["finetune"].bytes_up
    assert sheets["local_only"].bytes_up < 100


def test_a_sheet_follows_the_code(make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_fcl.strategies import Plain

    changed = replace(ENTRIES["finetune"], method=lambda section: replace(SynapticIntelligence(), memory=True))
    monkeypatch.setitem(ENTRIES, "finetune", changed)
    found = fact_sheets(make_config())[0]
    assert found.row == "finetune"
    assert found.memory_examples > 0
    assert "after the noise" in found.terms
    assert Plain().memory is False


def test_the_command(tiny_settings: tuple[str, ...], sheets: dict[str, FactSheet]) -> None:
    options = [part for setting in tiny_settings for part in ("--set", setting)]
    shown = CliRunner().invoke(app, ["strategies", *options], env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.output
    # Whole names at 80 columns: nothing is cut.
    assert "…" not in shown.output
    assert all(f" {row} " in shown.output for row in sheets)
    assert max(len(line.rstrip()) for line in shown.output.splitlines()) <= 80
    as_json = CliRunner().invoke(app, ["strategies", "--json", *options])
    found = json.loads(as_json.output)
    assert [entry["row"] for entry in found] == list(sheets)
    for table in TABLES:
        assert all(len(cells) == len(table.heading) for cells in table.rows(list(sheets.values())))


def test_the_page_names_every_row_in_every_table(sheets: dict[str, FactSheet]) -> None:
    made = as_markdown(list(sheets.values()))
    assert all(made.count(f"\n| {row} |") == 1 + len(TABLES) for row in sheets)
    assert "glfc.prototype_gradients" in made
    assert "| replay | ER: " in made
    assert "| slda | Streaming linear" in made


def test_a_refused_scenario_is_one_sentence(tiny_settings: tuple[str, ...]) -> None:
    options = [part for setting in (*tiny_settings, "scenario.tasks=99") for part in ("--set", setting)]
    refused = CliRunner().invoke(app, ["strategies", *options])
    assert refused.exit_code == 2
