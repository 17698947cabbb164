"""The page of an audit of one's own model, from the record that `attacks.own.playing.audit_model` returns.

Decides by fields alone; what is missing in a record is said to be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.figures import Figure, Level, Subject
from evaluation.page import inline, page
from evaluation.roc_figure import SHOWN, RocLine, log_roc
from evaluation.run_folder import mapping, number, objects, texts
from evaluation.tables import MISSING, Table, epsilon_below, p_text, percent, quantity, small, with_interval
from evaluation.verdict import Banner

LEVELS: dict[str, Level] = {
    "found": "poor", "not found": "good", "could not have been found": "unknown", "void": "fair",
}  # fmt: skip
"""How each verdict is marked. "not found" is about the attacks that were played and leaks of the size that is named."""

RATE_COLUMNS = (
    ("AUC", "a member ranks above a non-member"),
    ("at 10 %", "members found at so many false alarms"),
    ("at 1 %", "members found"),
    ("at 0.1 %", "members found"),
    ("would have shown", "smallest AUC, with a chance of 95 %"),
)


def render_audit(document: Mapping[str, Any]) -> str:
    """Return the page of one audit as the text of one HTML file: no script, nothing fetched, light, dark and paper.

    Args:
        document: the record (`audit.json`). Equal records give equal text.
    """
    found = dict(document)
    answers = objects(found.get("answers"))
    attacks = objects(found.get("outcomes"))
    return page(
        "model_audit.html",
        name=str(found.get("row", "model")),
        facts=_facts(found),
        banners=banners(found),
        answers=[(_text(one, "question"), _text(one, "verdict"), _level(one), _text(one, "said")) for one in answers],
        roc=inline(log_roc(_lines(found))),
        rates=[subject for one in answers if (subject := _subject(one)) is not None],
        rate_columns=RATE_COLUMNS,
        rate_notes=[note for one in answers for note in _rate_notes(one)],
        attacks=_attack_table(found, attacks),
        controls=_controls(found),
        not_tried=texts(found.get("not_tested")),
        digests=Table(
            ("file", "SHA-256"), tuple((str(k), str(v)) for k, v in mapping(found.get("digests")).items()), 2
        ),
        made_by=_made_by(found),
        settings=_settings(mapping(found.get("settings"))),
        seconds=quantity(found.get("seconds"), 1),
    )


def _text(one: Mapping[str, Any], key: str) -> str:
    return str(one.get(key, MISSING))


def _level(one: Mapping[str, Any]) -> Level:
    return LEVELS.get(_text(one, "verdict"), "unknown")


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    settings = mapping(found.get("settings"))
    checkpoints = settings.get("checkpoints") or []
    sizes = next((mapping(one.get("figures")) for one in objects(found.get("answers")) if one.get("rates")), {})
    pairs = [
        ("Model", str(settings.get("model", MISSING))),
        ("Checkpoints", str(len(checkpoints)) if isinstance(checkpoints, list) else MISSING),
        ("Members", f"{number(sizes.get('members')) or 0:.0f}"),
        ("Non-members", f"{number(sizes.get('nonmembers')) or 0:.0f}"),
        ("Seed", str(mapping(found.get("seeds")).get("seed", MISSING))),
    ]
    commit = found.get("commit")
    return (
        [*pairs, ("Commit", str(commit)[:12] + (" with changes" if "with changes" in str(commit) else ""))]
        if commit
        else pairs
    )


def banners(found: Mapping[str, Any]) -> tuple[Banner, ...]:
    """What limits the verdicts, the severe first: controls that did not come out as they must, refuted claims."""
    said = []
    for one in objects(found.get("controls")):
        if one.get("held") is False and one.get("control") == "positive":
            said.append(
                Banner(
                    f"The attack {one.get('attack')} missed a planted leak ({one.get('what')}, AUC "
                    f"{quantity(one.get('auc'), 2)}): that it finds nothing says nothing.",
                    True,
                )
            )
        elif one.get("held") is False:
            said.append(
                Banner(
                    f"The negative control ({one.get('what')}) came out at AUC {quantity(one.get('auc'), 2)}: by "
                    "chance one in twenty does.",
                    False,
                )
            )
    said += [
        Banner(
            f"The claimed epsilon is refuted: {one.get('attack')} ({one.get('target')}) shows "
            f"{epsilon_below(one.get('bound'))} where {small(one.get('ledger_epsilon'))} is claimed, at confidence "
            f"{small(one.get('confidence'))} for all games together.",
            True,
        )
        for one in objects(found.get("contradictions"))
    ]
    if any(one.get("verdict") == "void" for one in objects(found.get("answers"))):
        said.append(
            Banner(
                "Members and non-members differ by themselves, so that finding them is no leak: choose both from one "
                "pool by coin. At 95 % this strikes one honest audit in twenty.",
                True,
            )
        )
    return tuple(sorted(said, key=lambda banner: not banner.severe))


def _lines(found: Mapping[str, Any]) -> list[RocLine]:
    """The curves of the attacks with the largest AUC, those of members before canaries."""
    area = {
        (o.get("game"), o.get("attack"), o.get("view"), o.get("target")): number(o.get("auc")) or 0.0
        for o in objects(found.get("outcomes"))
    }
    curves = []
    for one in objects(found.get("roc")):
        key = (one.get("game"), one.get("attack"), one.get("view"), one.get("target"))
        points = tuple((float(x), float(y)) for x, y in one.get("points") or ())
        label = f"{one.get('attack')}" + ("" if one.get("game") == "membership" else f" ({one.get('game')})")
        curves.append((area.get(key, 0.0), RocLine(label, points)))
    return [line for _, line in sorted(curves, key=lambda pair: -pair[0])][:SHOWN]


def _subject(answer: Mapping[str, Any]) -> Subject | None:
    """The five figures of a question about members; None for another one."""
    figures, rates = mapping(answer.get("figures")), objects(answer.get("rates"))
    if not rates:
        return None
    area = Figure(
        quantity(figures.get("auc"), 2), _text(answer, "verdict"), _level(answer),
        f"{quantity(figures.get('auc_low'), 2)} to {quantity(figures.get('auc_high'), 2)}",
    )  # fmt: skip
    smallest = number(figures.get("smallest_auc"))
    shown = Figure(
        MISSING if smallest is None else quantity(smallest, 3),
        "nothing" if smallest is None else "and above", "unknown",
        f"{quantity(figures.get('members'), 0)} against {quantity(figures.get('nonmembers'), 0)}",
    )  # fmt: skip
    return Subject(
        _text(answer, "question"),
        (area, *(_rate_figure(rate) for rate in rates), shown),
        f"AUC: {_text(answer, 'attack')}; rates: {_text(answer, 'attack_at_rates')}",
    )


def _rate_figure(rate: Mapping[str, Any]) -> Figure:
    if rate.get("reason") is not None:
        return Figure("", _text(rate, "verdict"), _level(rate))
    interval = f"{percent(rate.get('low'))} to {percent(rate.get('high'))}"
    return Figure(f"{percent(rate.get('value'))} %", _text(rate, "verdict"), _level(rate), interval)


def _rate_notes(answer: Mapping[str, Any]) -> list[str]:
    """What would have to be added to tell a leak at each rate that could not be told."""
    notes = []
    for rate in objects(answer.get("rates")):
        if rate.get("verdict") != "could not have been found":
            continue
        more = rate.get("more")
        at = f"{_text(answer, 'question')} At {small(100 * (number(rate.get('fpr')) or 0.0))} % false alarms: "
        why = f"{rate.get('reason')}; " if rate.get("reason") else ""
        if isinstance(more, list | tuple) and len(more) == 2:
            notes.append(
                f"{at}{why}about {more[0]} more members and {more[1]} more non-members would tell the smallest leak "
                "that matters."
            )
        else:
            notes.append(f"{at}{why}no number of examples would be enough.")
    return notes


def _label(one: Mapping[str, Any]) -> str:
    control = one.get("control")
    if control:
        return f"{control} control: {one.get('target')}"
    return f"{one.get('game')}: {one.get('attack')}"


def _attack_table(found: Mapping[str, Any], attacks: list[dict[str, Any]]) -> Table:
    adjusted = {
        (one.get("game"), one.get("attack"), one.get("target")): one.get("adjusted")
        for one in objects(found.get("discoveries"))
    }
    lines = []
    for one in attacks:
        key = (one.get("game"), one.get("attack"), one.get("target"))
        bound = mapping(one.get("epsilon_lower"))
        control = one.get("control") is not None
        lines.append(
            (
                _label(one),
                _text(one, "view"),
                f"{one.get('n_members')} / {one.get('n_nonmembers')}",
                with_interval(one.get("auc"), one.get("auc_low"), one.get("auc_high"), 2),
                p_text(None if control else adjusted.get(key)),
                *(
                    "too few"
                    if rate.get("reason")
                    else f"{percent(rate.get('value'))} [{percent(rate.get('low'))}, {percent(rate.get('high'))}]"
                    for rate in objects(one.get("tpr"))
                ),
                with_interval(one.get("blind_auc"), one.get("blind_low"), one.get("blind_high"), 2),
                epsilon_below(bound.get("value")) if bound and not control else "none stated",
            )
        )
    columns = (
        "attack", "adversary has", "members / others", "AUC", "adjusted p", "at 10 % (%)", "at 1 % (%)", "at 0.1 % (%)",
        "blind AUC", "epsilon at least",
    )  # fmt: skip
    return Table(columns, tuple(lines), 2)


def _controls(found: Mapping[str, Any]) -> Table:
    lines = [
        (
            _text(one, "control"), _text(one, "what"), _text(one, "attack"),
            with_interval(one.get("auc"), one.get("auc_low"), one.get("auc_high"), 2),
            "as it must" if one.get("held") else "not as it must",
        )
        for one in objects(found.get("controls"))
    ]  # fmt: skip
    return Table(("control", "what", "attack", "AUC", "came out"), tuple(lines), 3)


def _made_by(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    code = ", ".join(
        f"{one.get('reference')} in {one.get('path')}, SHA-256 {one.get('digest')}"
        if one.get("path")
        else f"{one.get('reference')}, which was handed over as an object; its file is not known"
        for one in objects(found.get("code"))
    )
    versions = [f"{name} {version}" for name, version in mapping(found.get("versions")).items()]
    return [
        ("Versions", ", ".join(versions) or MISSING),
        ("Commit of the working folder", str(found.get("commit") or "no git work tree")),
        ("Seed", str(mapping(found.get("seeds")).get("seed", MISSING))),
        ("Code of the user's own that ran", code or "none"),
    ]


def _settings(tree: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for key, value in tree.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        pairs += [(f"{key}.{name}".rstrip("."), _shown(one)) for name, one in inner if one is not None]
    return pairs


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(Path(one).name if isinstance(one, str) else str(one) for one in value) or "none"
    return str(value)
