import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import tables
from evaluation.errors import StorageError
from evaluation.files import atomic_write, read_json, read_jsonl, write_json
from evaluation.report import render_report
from evaluation.run_folder import read_run
from evaluation.tables import epsilon_above
from evaluation.testing import write_synthetic_run
from evaluation.verdict import banners, verdict

NAMES = (
    "metrics.jsonl",
    "cost.jsonl",
    "certificate.json",
    "certificate.txt",
    "attacks.json",
    "environment.json",
    "state.json",
    "config.toml",
)


def change(path: Path, edit: Callable[[dict], None]) -> None:
    value = read_json(path)
    edit(value)
    write_json(path, value)


def test_a_complete_page_is_well_formed_and_self_contained(run_folder: Path, page: Callable) -> None:
    html = render_report(run_folder)
    found = page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert len(found.ids) == len(set(found.ids))
    assert {"script", "link", "img", "iframe"} & set(found.tags) == set()
    inside = {f"#{identity}" for identity in found.ids}
    assert set(found.references) <= inside
    assert set(re.findall(r"url\((#[^)]+)\)", html)) <= inside
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)
    assert html == render_report(run_folder)


def test_the_page_holds_every_number_of_the_folder(run_folder: Path, page: Callable) -> None:
    words = page(render_report(run_folder)).words
    for record in read_jsonl(run_folder / "metrics.jsonl").records:
        if record["kind"] == "final":
            for key in ("micro", "class_mean", "worst_client", "forgetting", "learning_accuracy"):
                assert f"{100 * record[key]:.1f}" in words
    for entry in read_json(run_folder / "certificate.json")["rows"].values():
        assert epsilon_above(entry["epsilon"]) in words
        assert entry["sampling"] in words
    assert "0.511 [0.471, 0.551]" in words
    assert "1%: n/a: too few" in words
    assert "0.00 of 4.69" in words
    assert "0.81 [0.71, 0.91]" in words
    assert "malicious server" in words
    assert "must not be ranked" in words
    assert read_run(run_folder).certificate_text in render_report(run_folder).replace("&lt;", "<").replace("&gt;", ">")
    assert "Warning." not in words


def test_persons_who_never_trained_have_a_column_and_a_word(run_folder: Path, page: Callable) -> None:
    assert "persons who never trained" not in page(render_report(run_folder)).words
    metrics = run_folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"worst_client"', '"unseen_micro": 0.4321, "worst_client"'))
    words = page(render_report(run_folder)).words
    assert "persons who never trained 43.2 %" in words
    results = tables.results(read_run(run_folder))
    assert {line[results.columns.index("unseen persons")] for line in results.rows} == {"43.2"}


def test_a_protected_finished_audited_run_has_no_banner(run_folder: Path) -> None:
    assert banners(read_run(run_folder)) == ()


def test_an_unprotected_row_shows_in_banners(tmp_path: Path, page: Callable) -> None:
    folder = write_synthetic_run(tmp_path / "open", protected=False)
    texts = [banner.text for banner in banners(read_run(folder)) if banner.severe]
    assert any("not encrypted" in text for text in texts)
    assert any("no differential privacy" in text for text in texts)
    assert any("gradients in the clear" in text for text in texts)
    assert all(text.startswith("finetune") for text in texts)
    words = page(render_report(folder)).words
    assert words.count("Warning.") == len(texts) == 3
    assert "without a privacy guarantee" in words


def test_a_non_private_part_alone_shows_in_a_banner(run_folder: Path) -> None:
    change(run_folder / "certificate.json", lambda c: c["rows"]["replay"]["non_private"].append("herding"))
    (banner,) = banners(read_run(run_folder))
    assert banner.severe
    assert banner.text == "replay: not private: herding."


def test_a_ratio_is_shown_to_three_digits(run_folder: Path, page: Callable) -> None:
    certificate = read_json(run_folder / "certificate.json")
    certificate["rows"]["replay"]["people_over_noise"] = 41.123456789
    write_json(run_folder / "certificate.json", certificate)
    words = page(render_report(run_folder)).words
    assert "People over the noise of a sum 41.1 " in words


def test_doubts_show_in_a_banner_that_is_not_severe(run_folder: Path) -> None:
    change(run_folder / "certificate.json", lambda c: c["rows"]["replay"].update(doubts=["units are in doubt"]))
    (banner,) = banners(read_run(run_folder))
    assert (banner.severe, banner.text) == (False, "replay: units are in doubt.")


def test_contradictions_show_in_banners(run_folder: Path) -> None:
    def edit(attacks: dict) -> None:
        attacks["outcomes"][0]["epsilon_lower"]["value"] = 3.456
        attacks["outcomes"][3]["auc_low"] = 0.49
        attacks["outcomes"][4]["auc_low"] = 0.51

    change(run_folder / "attacks.json", edit)
    texts = [banner.text for banner in banners(read_run(run_folder))]
    assert any("shows epsilon 3.45, above the 2.70" in text for text in texts)
    assert any("positive control failed" in text for text in texts)
    assert any("negative control" in text for text in texts)
    change(run_folder / "certificate.json", lambda c: c["rows"].pop("replay"))
    assert any("does not mention" in banner.text for banner in banners(read_run(run_folder)))


def test_the_verdict_over_all_games_decides_where_it_is_known(run_folder: Path, page: Callable) -> None:
    def edit(attacks: dict) -> None:
        attacks["outcomes"][0]["epsilon_lower"]["value"] = 3.456
        attacks["contradictions"] = []

    change(run_folder / "attacks.json", edit)
    assert banners(read_run(run_folder)) == ()
    one = {"game": "membership", "attack": "loss", "target": "task 1", "bound": 3.459, "ledger_epsilon": 2.701,
           "confidence": 0.999}  # fmt: skip
    change(run_folder / "attacks.json", lambda a: a["contradictions"].append(one))
    (banner,) = banners(read_run(run_folder))
    assert banner.severe
    assert "shows epsilon 3.45 where 2.71 was charged, at confidence 0.999 for all games" in banner.text
    assert banner.text in page(render_report(run_folder)).words


def test_the_verdict_counts_what_is_left_after_correction(run_folder: Path) -> None:
    def found(adjusted: list[float]) -> list[dict]:
        names = (("membership", "loss"), ("retained or merely seen", "final loss"))
        return [
            {"game": game, "attack": attack, "target": "task 1", "auc": 0.6, "p_value": 0.001, "adjusted": p}
            for (game, attack), p in zip(names, adjusted, strict=True)
        ]

    change(run_folder / "attacks.json", lambda a: a.update(discoveries=found([0.049, 0.05])))
    assert "1 of 2 attacks on class_sums did better than chance (p < 0.05, corrected" in verdict(read_run(run_folder))
    assert "1 more are void or without interval" in verdict(read_run(run_folder))
    change(run_folder / "attacks.json", lambda a: a.update(discoveries=[]))
    assert "by their own interval (not corrected" in verdict(read_run(run_folder))


def test_the_verdict_counts_games_that_could_not_have_contradicted_the_ledger(run_folder: Path) -> None:
    said = "17 of 22 games could not have contradicted the ledger"
    assert "could not have contradicted" not in verdict(read_run(run_folder))
    change(run_folder / "attacks.json", lambda a: a.update(reach={"games": 22, "could_contradict": 5}))
    assert said in verdict(read_run(run_folder))
    assert said in render_report(run_folder)


def test_the_verdict_says_how_many_held_out_examples_a_rate_would_take(run_folder: Path) -> None:
    rate = {"fpr": 0.01, "told": 0.03, "needed": {"members": 9000, "nonmembers": 1734}}

    def edit(held: int) -> None:
        change(
            run_folder / "attacks.json",
            lambda a: a["outcomes"][0].update(
                game="membership", stage="run", control=None, task=None, nonmember_units=held, tpr=[rate]
            ),
        )

    edit(137)
    assert "about 1734 independent held-out examples, and 137 were held out" in verdict(read_run(run_folder))
    edit(1734)
    assert "held-out examples" not in verdict(read_run(run_folder))


def test_the_verdict_counts_attacks_that_rank_members_last(run_folder: Path) -> None:
    def edit(auc: float, p: float) -> None:
        def change_both(attacks: dict) -> None:
            one = attacks["outcomes"][0]
            one["auc"] = auc
            names = {key: one[key] for key in ("game", "attack", "target")}
            attacks["discoveries"] = [names | {"auc": auc, "p_value": 0.999, "adjusted": 1.0, "either_way": p}]

        change(run_folder / "attacks.json", change_both)

    edit(0.31, 0.001)
    assert "1 of them did worse than chance" in verdict(read_run(run_folder))
    edit(0.31, 0.06)
    assert "worse than chance" not in verdict(read_run(run_folder))
    edit(0.69, 0.001)
    assert "worse than chance" not in verdict(read_run(run_folder))


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("attacks.json", "The audit has not been run"),
        ("certificate.json", "no certificate yet"),
        ("certificate.txt", "The certificate has not been written yet"),
        ("cost.jsonl", "no cost to report"),
        ("environment.json", "The environment was not recorded"),
        ("config.toml", "The configuration is missing"),
        ("metrics.jsonl", "No task is finished yet"),
    ],
)
def test_a_missing_file_is_said_to_be_missing(run_folder: Path, page: Callable, missing: str, sentence: str) -> None:
    assert sentence not in page(render_report(run_folder)).words
    (run_folder / missing).unlink()
    assert sentence in page(render_report(run_folder)).words


def test_an_empty_folder_has_a_page(tmp_path: Path, page: Callable) -> None:
    assert "Nothing has been measured" in page(render_report(tmp_path)).words
    with pytest.raises(StorageError, match="not a folder"):
        render_report(tmp_path / "nowhere")


def test_a_run_in_progress(tmp_path: Path, page: Callable) -> None:
    folder = write_synthetic_run(tmp_path / "run", finished=False, audited=False)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "task", "row": "fine')
    words = page(render_report(folder)).words
    assert "finetune (unfinished)" in words
    assert "The run is not finished" in words
    assert "unfinished record" in words
    assert "No attack has been run" in words
    assert str(folder) not in words


@pytest.mark.parametrize("cut", [0.1, 0.35, 0.5, 0.8, 0.97])
def test_a_folder_cut_at_any_point_has_a_page(run_folder: Path, page: Callable, cut: float) -> None:
    for name in NAMES:
        data = (run_folder / name).read_bytes()
        (run_folder / name).write_bytes(data[: int(cut * len(data))])
    words = page(render_report(run_folder)).words
    assert "not JSON" in words
    assert "left out" in words or "Nothing" in words


def test_text_from_files_is_escaped(run_folder: Path, page: Callable) -> None:
    nasty = "<script>alert(1)</script>"
    change(run_folder / "certificate.json", lambda c: c["notes"].append(nasty))
    atomic_write(run_folder / "config.toml", f'name = "{nasty}"')
    atomic_write(run_folder / "certificate.txt", nasty)
    renamed = (run_folder / "metrics.jsonl").read_text().replace('"replay"', json.dumps(nasty))
    atomic_write(run_folder / "metrics.jsonl", renamed)
    found = page(render_report(run_folder))
    assert "script" not in found.tags
    assert nasty in found.words


def test_the_verdict_neither_ranks_nor_claims(run_folder: Path) -> None:
    text = verdict(read_run(run_folder))
    assert "at epsilon 1.20 for its worst cohort" in text
    assert "0 of 2 attacks" in text
    assert "1 more are void" in text
    assert "no evidence of privacy" in text
    assert "better than replay" not in text
    assert "inversion beats a blind guess for one client, noise off" in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 2) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_no_value_of_any_field_crashes_the_page(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_synthetic_run(tmp_path_factory.mktemp("fuzz") / "run", rows=("replay",), tasks=2, clients=2)
    name = data.draw(st.sampled_from(["metrics.jsonl", "cost.jsonl", "certificate.json", "attacks.json"]))
    if name.endswith("l"):
        records = [dict(record) for record in read_jsonl(folder / name).records]
        for record in records:
            key = data.draw(st.sampled_from(sorted(record)))
            record[key] = data.draw(json_values)
        atomic_write(folder / name, "".join(json.dumps(record) + "\n" for record in records))
    else:
        value = read_json(folder / name)
        target = value
        for _ in range(data.draw(st.integers(0, 3))):
            inner = [
                v for v in (target.values() if isinstance(target, dict) else target) if isinstance(v, dict | list) and v
            ]
            if not inner:
                break
            target = data.draw(st.sampled_from(inner))
        key = data.draw(st.sampled_from(sorted(target) if isinstance(target, dict) else list(range(len(target)))))
        target[key] = data.draw(json_values)
        write_json(folder / name, value)
    assert render_report(folder).startswith("<!DOCTYPE html>")
    shutil.rmtree(folder)
