"""The page of an audit of one's own model: it decides by fields, says what is missing, and takes no markup in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from evaluation.model_page import LEVELS, banners, render_audit
from evaluation.roc_figure import RocLine, log_roc
from tests.evaluation.auditbench import audit_record, outcome

Read = Callable[[str], Any]


def words(page: Any) -> str:
    return " ".join(str(page.words).split())


def test_the_page_answers_first_and_rests_on_one_file(page: Read) -> None:
    text = render_audit(audit_record())
    found = page(text)
    assert len(found.ids) == len(set(found.ids))
    assert not [target for target in found.references if not target.startswith("#")]
    assert "script" not in found.tags
    assert text == render_audit(audit_record())
    said = words(found)
    answer = said.index("does the last model tell who was trained on?")
    assert answer < said.index("Every attack that was tried") < said.index("What was not tried")
    for must in ("RMIA", "0.004", "updates: none were saved", "ab" * 32, "nets:make in nets.py", "torch 2.13.0",
                 "0123456789ab with changes", "2500 more members and 2600 more non-members",
                 "needs at least 10000; no number of examples would be enough"):  # fmt: skip
        assert must in said, must
    # A lower bound is rounded down, and where no coins were declared none is stated.
    assert "1.23" in said
    assert "1.24" not in said
    assert "none stated" in said


@pytest.mark.parametrize("verdict", LEVELS)
def test_a_verdict_is_marked_by_its_field(verdict: str) -> None:
    text = render_audit(audit_record(verdict))
    assert re.search(rf'<span class="mark {LEVELS[verdict]}">{verdict}</span>', text)
    # A word in a label decides nothing.
    other = audit_record(verdict)
    other["answers"][0]["said"] = "found, void, refuted"
    assert render_audit(other).count(f'mark {LEVELS[verdict]}"') == text.count(f'mark {LEVELS[verdict]}"')


def test_controls_and_refuted_claims_are_said() -> None:
    assert banners(audit_record()) == ()
    missed = {"control": "positive", "what": "planted", "attack": "loss", "held": False, "auc": 0.6}
    chance = {**missed, "control": "negative"}
    claim = {"attack": "loss", "target": "model", "bound": 3.456, "ledger_epsilon": 1.0, "confidence": 0.999}
    found = banners(audit_record("void", controls=[chance, missed], contradictions=[claim]))
    assert [banner.severe for banner in found] == [True, True, True, False]
    assert "missed a planted leak (planted, AUC 0.60)" in found[0].text
    assert "shows 3.45 where 1 is claimed" in found[1].text
    assert "differ by themselves" in found[2].text
    assert "refuted" in render_audit(audit_record(contradictions=[claim]))


def test_names_from_a_file_are_text(page: Read) -> None:
    bad = "<script>alert(1)</script>"
    record = audit_record(row=bad, not_tested=[bad], outcomes=[outcome(attack=bad)])
    record["answers"][0]["said"] = bad
    record["roc"][0]["attack"] = bad
    assert "<script" not in render_audit(record)
    assert words(page(render_audit(record))).count(bad) >= 3


def test_an_empty_record_has_a_page(page: Read) -> None:
    said = words(page(render_audit({})))
    assert "n/a" in said
    assert "found" not in said.split("“Not found”")[0]


def test_curves_have_logarithmic_axes_and_say_what_they_show() -> None:
    svg = log_roc([RocLine("an attack", ((0.0, 0.0), (0.001, 0.01), (1.0, 1.0)))])
    assert "ROC curves on logarithmic axes of an attack" in svg
    # One step on the axis is a factor of ten: percent 0.1, 1, 10 and 100 are labels of both.
    for label in ("0.1", "1", "10", "100"):
        assert len(re.findall(rf">{re.escape(label)}</text>", svg)) == 2, label
    assert "No attack was played." in log_roc([])
