"""Rows whose rounds share a tree's noise: what is charged and kept, what is refused, and who takes part once."""

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from privacy import Cohort
from privacy.matrix import BinaryTree
from privacy.participation import ParticipationRefused
from privacy.tree_shares import PrefixSteps, TreeShares
from secure_fcl.cli.plan_tables import print_plan
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.engines.device import Device
from secure_fcl.errors import ConfigInvalid, SecureFclError, StorageTooSmall
from secure_fcl.forecast.cost import plan_run
from secure_fcl.randomness import Coins
from secure_fcl.rows.build import build_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies import Contribution
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.streams import build_scenario

ONLINE = ("scenario.kind=online", "training.q_current=1", "training.rounds=3", "training.model=softmax")
TREE = ("privacy.mechanism=tree", *ONLINE, 'rows=["finetune"]', "finetune.noise=shared", "finetune.epsilon=4")


@pytest.fixture(scope="module")
def row(digits: Dataset, make_config: Callable[..., Config]) -> Callable[..., RowPlan]:
    def made(*settings: str, name: str = "finetune") -> RowPlan:
        config = make_config(*TREE, f"{name}.noise=shared", *settings)
        return build_row(config, build_scenario(digits, config), name, 3.0)

    return made


def test_every_example_is_charged_the_whole_tree_in_its_one_round(row: Callable[..., RowPlan]) -> None:
    plan = row()
    node = plan.noises["train"]
    tree = TreeShares(BinaryTree(plan.rounds), node)
    assert (plan.rounds, tree.tree.levels) == (24, 5)
    rounds: dict[Cohort, set[tuple[int, int]]] = {}
    for at in plan.schedule():
        for charge in plan.charges(*at):
            rounds.setdefault(charge.cohort, set()).add(at)
            assert {charge.event: charge.count} == tree.events() == {node.event(1.0): 5}
    assert all(len(found) == 1 for found in rounds.values())
    assert plan.events("memory") == {}


def test_open_nodes_and_attendance_are_storage_that_a_device_keeps_to(row: Callable[..., RowPlan]) -> None:
    plan = row()
    assert plan.tree is not None
    table = plan.storage.table()
    assert table["raw sums of open nodes"] == plan.tree.storage_bytes == 8 * plan.strategy.size * 5
    device = Device(plan, 0, Coins(None))
    for at in plan.schedule():
        device.attend(*at)
        device.released(Contribution({"gradient": np.zeros(plan.strategy.size)}))
    assert device.tree is not None
    took_part = sum(len(experience.index) for experience in device.experiences.values())
    assert took_part > 50
    declared = table["raw sums of open nodes"] + table["numbers of the examples that took part"]
    assert table["raw sums of open nodes"] + 24 * took_part == device.tree.nbytes <= declared
    # A stream that is read in more rounds has a tree of more levels.
    longer = row("storage.budget_examples=10")
    assert longer.rounds == 64
    assert longer.storage.table()["raw sums of open nodes"] == longer.tree.storage_bytes > plan.tree.storage_bytes
    # 40 KiB hold five levels, and a stream in more rounds than five levels have.
    with pytest.raises(StorageTooSmall, match=r"raw sums of open nodes \("):
        row("storage.budget_kib=40")


def test_what_devices_send_adds_up_to_all_that_was_made(row: Callable[..., RowPlan]) -> None:
    """Whoever is there: the model follows the sum of all rounds so far, of those who are in the nodes."""
    plan = row()
    devices = [Device(plan, client, Coins(None)) for client in range(2)]
    server, rng = PrefixSteps(plan.tree.tree), np.random.default_rng(1)
    made, moved = 0.0, 0.0
    for at in plan.schedule():
        sent = 0.0
        for device in devices:
            device.attend(*at)
            own = rng.normal(size=plan.strategy.size)
            made = made + own
            sent = sent + device.released(Contribution({"gradient": own})).parts["gradient"]
        moved = moved + server.moved(sent)
        assert moved == pytest.approx(made, abs=1e-9)


def test_a_second_participation_is_refused_before_anything_is_used(row: Callable[..., RowPlan]) -> None:
    plan = row()
    device = Device(plan, 0, Coins(None))
    before, after = [slot for slot in range(plan.scenario.slots) if len(device.experiences[slot].index)][:2]
    device.experiences[after] = device.experiences[before]
    for at in plan.schedule():
        if at == (after, 0):
            break
        device.attend(*at)
        device.released(Contribution({"gradient": np.zeros(plan.strategy.size)}))
    with pytest.raises(ParticipationRefused, match="takes part 2 times, and the noise is planned for 1"):
        device.attend(after, 0)
    assert device.tree.step == plan.rounds_per_slot * after


def test_a_device_that_missed_a_round_was_away_by_the_public_draw(row: Callable[..., RowPlan]) -> None:
    away, nothing = row("scenario.dropout=0.2"), Contribution({"gradient": np.zeros(row().strategy.size)})
    for client in range(away.scenario.clients):
        device = Device(away, client, Coins(None))
        for at in away.schedule():
            if away.away(*at).get(client) != "upload":
                device.attend(*at)
                device.released(nothing)
    device = Device(row(), 0, Coins(None))
    with pytest.raises(SecureFclError, match="round 2 of a tree is asked of a device that stands before round 1"):
        device.attend(0, 1)
    device.attend(0, 0)
    device.released(nothing)
    with pytest.raises(SecureFclError, match="stands before round 2"):
        device.attend(0, 0)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("privacy.unit=person",), "privacy.unit = 'person' and"),
        (("finetune.noise=local",), "finetune.noise = 'local' and"),
        (("finetune.noise=none", "finetune.epsilon=inf"), "finetune.noise = 'none' and"),
        (("scenario.kind=class",), "scenario.kind = 'class' and"),
        (("training.q_current=0.5",), "training.q_current = 0.5 and"),
        (("privacy.spare_rounds=1",), "set privacy.spare_rounds = 0"),
        (("scenario.joining=0.4",), "set scenario.joining = 0.0"),
        (("scenario.leaving=0.4",), "set scenario.leaving = 0.0"),
        (("engine=tls",), "set engine = 'local'"),
        (("engine=flower",), "set engine = 'local'"),
        (("finetune.norm_bound=2",), "set finetune.norm_bound = 0.0"),
        (("attacks.canaries=8",), "set attacks.canaries = 0"),
        (("attacks.enabled=true", "attacks.row=finetune"), "set attacks.enabled = false"),
        (("compression.rotation=true",), "leave [compression] at its defaults"),
    ],
)
def test_what_a_tree_does_not_fit_is_refused_in_a_sentence(
    row: Callable[..., RowPlan], settings: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigInvalid, match=re.escape(why)) as found:
        row(*settings)
    assert "privacy.mechanism = 'tree'" in str(found.value)
    assert not str(found.value).endswith(".")


@pytest.mark.parametrize("name", ENTRIES)
def test_a_row_shares_a_tree_s_noise_or_is_refused(row: Callable[..., RowPlan], name: str) -> None:
    fits = {"finetune", "fedavg", "fedprox", "fedlwf", "flwf2t", "fedntd"}
    try:
        plan = row(name=name)
    except SecureFclError:
        assert name not in fits
        return
    assert name in fits
    assert plan.tree is not None
    assert [part.name for part in plan.wire("train").sent.parts] == ["gradient"]


def test_a_plan_says_what_the_tree_charges_and_whether_it_pays(make_config: Callable[..., Config]) -> None:
    console = Console(file=io.StringIO(), width=1000)
    for rounds, said in (("3", "0.949 times that of independent noise"), ("1", "it does not pay")):
        print_plan(plan_run(make_config(*TREE, f"training.rounds={rounds}"), alternatives=False), console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert f"mechanism, finetune: tree: {8 * int(rounds)} rounds" in text
        assert said in text


def test_the_new_key_leaves_the_noise_of_other_runs_alone(digits: Dataset, make_config: Callable[..., Config]) -> None:
    settings = TREE[1:]
    usual, named, other = (
        prepare(make_config(*settings, *more), digits).noise_key(bytes(32))
        for more in ((), ("privacy.mechanism=independent",), ("privacy.mechanism=tree",))
    )
    assert usual == named != other
