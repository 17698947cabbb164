"""Every file of a run folder, damaged in every way: named and refused; and no instant of a run that refuses itself."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation.errors import EvaluationError
from privacy import Ledger
from secure_fcl.cli.commands import app
from secure_fcl.config import Config
from secure_fcl.errors import RunFolderError, SecureFclError
from secure_fcl.runner import resume, train, verify, write_report
from secure_fcl.running.bonds import files_of, require_not_lower
from secure_fcl.running.fitting import ATTACKS, REPORT, findings, require_continuable, require_fitting
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.pins import state_text
from secure_fcl.running.prepare import Prepared, prepare

#: Every file that the runs below leave, but for locks.
FINISHED = (
    "attacks.json", "certificate.json", "certificate.txt", "config.toml", "cost.jsonl", "environment.json",
    "ledger/class_sums.budget.json", "ledger/class_sums.jsonl", "ledger/derpp.budget.json", "ledger/derpp.jsonl",
    "metrics.jsonl", "model/class_sums.npz", "model/derpp.npz", "report.html", "simulation/clear-update-derpp.npz",
    "simulation/coins-class_sums.npz", "simulation/coins-derpp.npz", "simulation/devices-derpp-2.npz",
    "simulation/devices-derpp-3.npz", "simulation/devices-derpp-closed-0.npz",
    "simulation/devices-derpp-closed-1.npz", "simulation/memory-derpp-000.npz", "simulation/memory-derpp-001.npz",
    "simulation/processes-class_sums.json", "simulation/processes-derpp.json", "state.json",
    "transcript/class_sums/00000.npz", "transcript/class_sums/00001.npz", "transcript/derpp/00000.npz",
    "transcript/derpp/00001.npz", "transcript/derpp/00002.npz", "transcript/derpp/00003.npz",
)  # fmt: skip
#: After the first round of the second task, with what nothing needs or pins on the right.
STOPPED = (
    "config.toml", "cost.jsonl", "environment.json", "ledger/derpp.budget.json", "ledger/derpp.jsonl", "metrics.jsonl",
    "simulation/clear-update-derpp.npz", "simulation/coins-derpp.npz", "simulation/devices-derpp-2.npz",
    "simulation/devices-derpp-closed-0.npz", "simulation/memory-derpp-000.npz", "state.json",
    "transcript/derpp/00000.npz", "transcript/derpp/00001.npz", "transcript/derpp/00002.npz",
)  # fmt: skip
SPARE = ("report.html", "simulation/devices-derpp-1.npz", "simulation/processes-derpp.json")
DAMAGES = ("torn", "shortened", "deleted", "restored", "exchanged", "edited")
SETTINGS = (
    'rows=["derpp","class_sums"]', "attacks.row=derpp", "attacks.enabled=true", "privacy.spare_rounds=2",
    "attacks.one_client_view=true",
)  # fmt: skip


@dataclass(frozen=True)
class Story:
    """One run at three times, each a whole copy of its folder: after its first round, stopped later, and finished.

    `other`: another run of the same configuration, finished too. `journals`: what the first one's devices keep.
    """

    early: Path
    stopped: Path
    finished: Path
    other: Path
    journals: Path


def run_until(prepared: Prepared, folder: RunFolder, rounds: int, journals: Path | None) -> None:
    seen: list[object] = []
    with pytest.raises(Interrupted):
        train(prepared, folder, seen.append, lambda: len(seen) == rounds, journals)


def finish(prepared: Prepared, folder: RunFolder, journals: Path | None) -> None:
    train(prepared, folder, journals=journals)
    # An audit takes long, and its games are tested elsewhere: here is what it leaves.
    folder.publish("attacks.json", json.dumps({"row": "derpp", "outcomes": []}))
    write_report(folder)


@pytest.fixture(scope="module")
def prepared(make_config: Callable[..., Config]) -> Prepared:
    return prepare(make_config(*SETTINGS))


@pytest.fixture(scope="module")
def story(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("story")
    journals = place / "journals"
    folder = RunFolder.create(place, prepared.config, "run", journals=True)
    copies = []
    for name, rounds in (("early", 1), ("stopped", 2)):
        run_until(prepared, folder, rounds, journals)
        write_report(folder)
        copies.append(shutil.copytree(folder.path, place / name / "run"))
    finish(prepared, folder, journals)
    other = RunFolder.create(place, prepared.config, "other")
    finish(prepared, other, None)
    return Story(*copies, folder.path, other.path, journals)


def names(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


def test_the_lists_name_every_file(story: Story) -> None:
    assert names(story.finished) == set(FINISHED)
    assert names(story.stopped) == {*STOPPED, *SPARE}


def damaged(path: Path, damage: str, older: Path, other: Path) -> bool:
    """Damage a file; whether it is another file now."""
    content = path.read_bytes()
    match damage:
        case "torn":
            changed = content[: len(content) // 2]
        case "shortened":
            lines = content.splitlines(keepends=True)
            changed = b"".join(lines[:-1]) if path.suffix == ".jsonl" else content[:-1]
        case "deleted":
            path.unlink()
            return True
        case "restored":
            changed = older.read_bytes() if older.exists() else content
        case "exchanged":
            changed = other.read_bytes() if other.exists() else content
        case _:
            middle = len(content) // 2
            changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes(changed)
    return changed != content


def commands(path: Path) -> Iterator[tuple[str, ...]]:
    yield from (("run", "--resume", str(path)), ("audit", str(path)), ("report", str(path)))
    yield "report", str(path), "--tensorboard"


def certified(path: Path) -> bytes:
    return (path / "certificate.json").read_bytes() if (path / "certificate.json").exists() else b""


def refuses(path: Path, name: str, damage: str, anew: tuple[str, ...] = (REPORT,)) -> None:
    """Every command refuses the folder in one sentence that names the file and a remedy, and changes nothing.

    `anew`: what an audit makes anew. One damage goes through the command line, the others through what it calls.
    """
    before = {file: (path / file).read_bytes() for file in names(path)}
    audit_makes = {name} <= {*anew}
    if damage == "edited":
        for command in (*(c for c in commands(path) if not (audit_makes and c[0] == "audit")), ("verify", str(path))):
            done = CliRunner().invoke(app, list(command))
            assert done.exit_code == 2, (command, done.output)
            assert command[0] == "verify" or done.stderr.strip().count("\n") == 0
            named(path / name, done.stderr)
    else:
        calls: list[Callable[[], object]] = [lambda: resume(path), lambda: write_report(RunFolder.existing(path))]
        for call in calls if audit_makes else [*calls, lambda: resume(path, anew=(REPORT, ATTACKS))]:
            with pytest.raises((SecureFclError, EvaluationError)) as caught:
                call()
            named(path / name, str(caught.value))
        done = CliRunner().invoke(app, ["verify", str(path)])
        assert done.exit_code == 2
        named(path / name, done.stderr)
    assert {file: (path / file).read_bytes() for file in names(path)} == before


def named(file: Path, sentence: str) -> None:
    assert str(file) in sentence
    assert any(word in sentence for word in ("restore", "make it anew", "start a new run")), sentence


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FINISHED)
def test_a_damaged_file_of_a_finished_run_is_named_and_refused(
    name: str, damage: str, story: Story, tmp_path: Path
) -> None:
    path = shutil.copytree(story.finished, tmp_path / "run")
    if not damaged(path / name, damage, story.stopped / name, story.other / name):
        # What was there already and never changed is no older copy.
        assert damage in ("restored", "exchanged")
        return
    if name == "report.html":
        # It is made of the others by every command: only who reads it must know.
        assert [one.file for one in verify(path).misfits] == ([] if damage == "deleted" else [name])
        done = CliRunner().invoke(app, ["report", str(path)])
        assert (done.exit_code, done.stderr) == (0, "")
        assert not verify(path).misfits
        return
    refuses(path, name, damage, anew=(REPORT, ATTACKS))
    if name == ATTACKS:
        require_fitting(RunFolder.existing(path), but=(REPORT, ATTACKS))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", STOPPED)
def test_a_damaged_file_of_a_stopped_run_is_named_and_refused(
    name: str, damage: str, story: Story, tmp_path: Path
) -> None:
    path = shutil.copytree(story.stopped, tmp_path / "run")
    if not damaged(path / name, damage, story.early / name, story.other / name):
        assert damage in ("restored", "exchanged")
        return
    refuses(path, name, damage)


@pytest.mark.parametrize("name", SPARE)
def test_what_nothing_needs_may_be_lost(name: str, story: Story, tmp_path: Path) -> None:
    path = shutil.copytree(story.stopped, tmp_path / "run")
    (path / name).unlink()
    assert not verify(path).misfits
    require_continuable(RunFolder.existing(path))


def test_untouched_folders_fit_and_say_what_was_not_checked(story: Story) -> None:
    for path in (story.early, story.stopped, story.finished, story.other):
        found = verify(path)
        assert found.pinned
        assert found.misfits == []
        assert len(found.held) > 6
    done = CliRunner().invoke(app, ["verify", str(story.other)])
    assert done.exit_code == 0
    assert "not checked: the folder alone; rollback not excluded" in done.stdout
    assert "checked: ledger/derpp.jsonl: 4 entries" in done.stdout
    assert "states no less epsilon than its ledger and budget give" in done.stdout
    assert "rollback not excluded" in (story.other / "certificate.txt").read_text()


def test_a_ledger_cut_to_one_line_is_never_certified_again(story: Story, tmp_path: Path) -> None:
    """The state is set back, or stripped of its pins, to let the cut ledger through: the certificate stays."""
    for trick in ("as it is", "early state", "no pins", "no pins anywhere"):
        path = shutil.copytree(story.finished, tmp_path / trick)
        ledger = path / "ledger" / "derpp.jsonl"
        ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
        state = json.loads((path / "state.json").read_text())
        bare = {key: value for key, value in state.items() if key not in ("files", "ledgers", "sha256")}
        if trick == "early state":
            shutil.copy(story.early / "state.json", path)
        elif trick != "as it is":
            (path / "state.json").write_text(json.dumps(bare))
        if trick == "no pins anywhere":
            about = json.loads((path / "environment.json").read_text())
            (path / "environment.json").write_text(json.dumps({k: v for k, v in about.items() if k != "pinned"}))
        before = certified(path)
        for command in (*commands(path), ("verify", str(path))):
            done = CliRunner().invoke(app, list(command))
            assert done.exit_code == 2, (trick, command, done.output)
            assert str(path) in done.stderr
        assert certified(path) == before


def test_a_certificate_never_states_less_than_before(story: Story, tmp_path: Path) -> None:
    path = shutil.copytree(story.finished, tmp_path / "run")
    rows = json.loads((path / "certificate.json").read_text())["rows"]
    require_not_lower(path, rows)
    stated = rows["derpp"]["epsilon"]
    for change in ({"epsilon": stated * 0.999}, {"ledger_entries": 1}):
        with pytest.raises(RunFolderError, match=f"states epsilon {stated} after 4 entries for row derpp"):
            require_not_lower(path, rows | {"derpp": rows["derpp"] | change})
    with pytest.raises(RunFolderError, match="for row class_sums"):
        require_not_lower(path, {"derpp": rows["derpp"]})
    require_not_lower(path, rows | {"derpp": rows["derpp"] | {"epsilon": None}})
    rows["derpp"]["epsilon"] = None
    (path / "certificate.json").write_text(json.dumps({"rows": rows}))
    with pytest.raises(RunFolderError, match="states epsilon None"):
        require_not_lower(path, rows | {"derpp": rows["derpp"] | {"epsilon": 7.0}})


def test_an_epsilon_below_what_the_ledger_gives_is_found(story: Story, tmp_path: Path) -> None:
    """Somebody writes a smaller epsilon and every digest anew."""
    path = shutil.copytree(story.other, tmp_path / "run")
    document = json.loads((path / "certificate.json").read_text())
    document["rows"]["derpp"]["epsilon"] *= 0.9
    (path / "certificate.json").write_text(json.dumps(document))
    folder = RunFolder.existing(path)
    progress = folder.recall()
    folder.pin(path / "certificate.json")
    folder.save_progress(progress)
    assert {one.file for one in findings(folder).misfits} == {"report.html"}
    (only,) = [one.sentence for one in verify(path).misfits if one.file == "certificate.json"]
    assert "its ledger and budget give" in only


# ---- A folder of before there were pins


def stripped(path: Path) -> None:
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(
        json.dumps({k: v for k, v in state.items() if k not in ("files", "ledgers", "sha256")})
    )
    for name, younger in (("environment", ("pinned", "journals")), ("certificate", ("files", "devices", "rollback"))):
        file = path / f"{name}.json"
        if file.exists():
            document = json.loads(file.read_text())
            file.write_text(json.dumps({k: v for k, v in document.items() if k not in younger}))


def test_a_folder_without_pins_is_read_with_a_sentence_and_not_continued(story: Story, tmp_path: Path) -> None:
    path = shutil.copytree(story.other, tmp_path / "run")
    stripped(path)
    for command in (("report", str(path)), ("verify", str(path))):
        done = CliRunner().invoke(app, list(command))
        assert done.exit_code == 0, done.output
        assert "carries no pins" in done.output
    path = shutil.copytree(story.stopped, tmp_path / "stopped")
    stripped(path)
    done = CliRunner().invoke(app, ["run", "--resume", str(path)])
    assert done.exit_code == 2
    assert "finish it with the version that began it, or start a new run" in done.stderr


# ---- A whole folder set back


def test_devices_refuse_a_whole_folder_set_back(story: Story, prepared: Prepared, tmp_path: Path) -> None:
    for older in (story.early, story.stopped):
        path = shutil.copytree(older, tmp_path / older.parent.name)
        journals = shutil.copytree(story.journals, tmp_path / f"journals-{older.parent.name}")
        # The folder alone fits itself.
        assert not verify(path).misfits
        entries = len(Ledger(path / "ledger" / "derpp.jsonl"))
        with pytest.raises(SecureFclError, match=r"client\d refuses the ledger of row derpp: it has answered 4 "):
            train(prepared, RunFolder.existing(path), journals=journals)
        assert len(Ledger(path / "ledger" / "derpp.jsonl")) == entries
        done = CliRunner().invoke(app, ["verify", str(path), "--journals", str(journals)])
        assert done.exit_code == 2
        assert "set back to an older copy" in done.stderr
        # Without journals it is not continued at all: the run began with them.
        done = CliRunner().invoke(app, ["run", "--resume", str(path)])
        assert (done.exit_code, "keep journals outside it; name their folder" in done.stderr) == (2, True)
    assert not verify(story.finished, story.journals).misfits


def test_a_certificate_lists_what_devices_signed(story: Story, tmp_path: Path) -> None:
    document = json.loads((story.finished / "certificate.json").read_text())
    ledger = Ledger(story.finished / "ledger" / "derpp.jsonl")
    mine = [one for one in document["devices"] if one["row"] == "derpp"]
    assert [one["device"] for one in mine] == [f"client{k}" for k in range(5)]
    assert {(one["attempts"], one["entries"], one["head"]) for one in mine} == {(4, 4, ledger.last_hash)}
    assert "5 devices signed" in document["rollback"]
    assert "5 devices signed" in (story.finished / "certificate.txt").read_text().replace("\n    ", " ")
    assert json.loads((story.other / "certificate.json").read_text())["devices"] == []
    # Another signature, or another number, is found whatever the digests say.
    for field, value in (("proof", "00" * 96), ("attempts", 3), ("attempts", 5), ("head", "ab" * 32)):
        path = shutil.copytree(story.finished, tmp_path / f"{field}-{value}"[:20])
        lines = [json.loads(line) for line in (path / "cost.jsonl").read_text().splitlines()]
        next(line for line in lines[::-1] if line["row"] == "derpp")["heads"][2][field] = value
        (path / "cost.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert any("client2" in one.sentence for one in findings(RunFolder.existing(path)).misfits), field


def test_a_round_that_died_is_answered_for_again(prepared: Prepared, tmp_path: Path) -> None:
    """Devices count attempts; the ledger has an entry for each, and a run with journals goes on after a crash."""
    folder = RunFolder.create(tmp_path, prepared.config, "run", journals=True)
    journals = tmp_path / "journals"

    def dies(tick: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared, folder, dies, journals=journals)
    train(prepared, folder, journals=journals)
    document = json.loads((folder.path / "certificate.json").read_text())
    assert {(one["attempts"], one["entries"]) for one in document["devices"] if one["row"] == "derpp"} == {(5, 5)}
    assert not verify(folder.path, journals).misfits


def test_journals_inside_the_run_are_refused(prepared: Prepared, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, prepared.config, "run")
    with pytest.raises(SecureFclError, match="lie inside the run folder"):
        train(prepared, folder, journals=folder.path / "journals")


def test_a_lost_folder_of_journals_is_said(story: Story, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(story.finished), "--journals", str(tmp_path)])
    assert done.exit_code == 2
    assert "nothing tells whether it is the newest copy" in done.stderr


# ---- Small print


def test_a_run_in_progress_is_reported_with_a_sentence_and_not_verified(story: Story, tmp_path: Path) -> None:
    path = shutil.copytree(story.stopped, tmp_path / "run")
    with (path / "metrics.jsonl").open("ab") as file:
        file.write((path / "metrics.jsonl").read_bytes())
    with RunFolder.existing(path).locked():
        done = CliRunner().invoke(app, ["report", str(path)])
        assert (done.exit_code, "is in progress; whether its files fit is not checked" in done.stderr) == (0, True)
        done = CliRunner().invoke(app, ["verify", str(path)])
        assert (done.exit_code, "is in use by another process; wait for it" in done.stderr) == (2, True)
    assert CliRunner().invoke(app, ["report", str(path)]).exit_code == 2


def test_a_file_outside_the_folder_is_no_file_of_it(story: Story, tmp_path: Path) -> None:
    path = shutil.copytree(story.other, tmp_path / "run")
    (tmp_path / "secret").write_text("mine")
    folder = RunFolder.existing(path)
    progress, pins = folder.state()
    assert pins is not None
    (path / "state.json").write_text(state_text(vars(progress), pins.with_file("../secret", "0" * 64)))
    assert any("no file of the folder" in one.sentence for one in findings(folder).misfits)


def test_a_folder_without_simulation_can_be_reported(story: Story, tmp_path: Path) -> None:
    """What the page on files says to leave out of what is published."""
    path = shutil.copytree(story.finished, tmp_path / "run")
    shutil.rmtree(path / "simulation")
    found = verify(path)
    assert found.misfits == []
    assert any(one.startswith("simulation/: the whole folder was left out") for one in found.unchecked)
    assert CliRunner().invoke(app, ["report", str(path)]).exit_code == 0


def test_every_file_of_the_run_is_on_the_certificate(story: Story) -> None:
    listed = {one["file"] for one in json.loads((story.finished / "certificate.json").read_text())["files"]}
    later = {"attacks.json", "certificate.json", "certificate.txt", "report.html", "state.json"}
    assert listed == set(FINISHED) - later == {one["file"] for one in files_of(story.finished)}


def test_resuming_a_finished_run_changes_none_of_its_files(story: Story, tmp_path: Path) -> None:
    path = shutil.copytree(story.other, tmp_path / "run")
    before = {name: (path / name).read_bytes() for name in FINISHED}
    prepared, folder = resume(path)
    train(prepared, folder)
    assert {name: (path / name).read_bytes() for name in FINISHED} == before
