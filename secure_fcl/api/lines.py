"""The five tables of a run, read off its files: accuracy, forgetting, epsilon, leakage, cost.

Tasks are counted from 1 here, as people count them; the files count from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.run_folder import Run as Files
from evaluation.run_folder import mapping, number, objects, texts
from evaluation.tables import cost_bars
from secure_fcl.api.tables import Table, each, shown_as


@dataclass(frozen=True, kw_only=True)
class AccuracyLine:
    """Test accuracy of one strategy after one task, as shares in [0, 1]; None: not measured, or not yet.

    Attributes:
        strategy: the row of the run.
        noise: where its noise is added.
        after_task: slot of the calendar, from 1; the task itself where all clients meet it at once.
        all_windows: share right of all test windows, of tasks to come too.
        seen: share right of the test windows of what was released so far.
        tasks: share right of each task's test windows.
        class_mean: mean over classes; after the last task only.
        worst_client: of the client that is served worst; after the last task only.
        unseen_persons: share right of the test windows of persons who never trained, which the others leave out.
    """

    strategy: str
    noise: str
    after_task: int
    all_windows: float | None = shown_as("share")
    seen: float | None = shown_as("share")
    tasks: tuple[float | None, ...] = each("share", "task")
    class_mean: float | None = shown_as("share")
    worst_client: float | None = shown_as("share")
    unseen_persons: float | None = shown_as("share")


@dataclass(frozen=True, kw_only=True)
class ForgettingLine:
    """What one strategy forgot over the run, as shares; the definitions are in docs/concepts.md, Measures.

    Attributes:
        strategy: the row of the run.
        forgetting: best earlier accuracy of a task minus its last, over all tasks but the last (Chaudhry et al. 2018).
        backward_transfer: last accuracy of a task minus that right after it.
        average_incremental_accuracy: mean over tasks of the accuracy on all tasks so far.
        learning_accuracy: mean accuracy of a task right after it.
        anytime_accuracy: area under the accuracy over the examples that arrived (Koh et al. 2022).
        worst_case_accuracy: WC-ACC (De Lange et al. 2023).
        stability_gap: how deep old tasks fall inside a later task and recover.
    """

    strategy: str
    forgetting: float | None = shown_as("share")
    backward_transfer: float | None = shown_as("change")
    average_incremental_accuracy: float | None = shown_as("share")
    learning_accuracy: float | None = shown_as("share")
    anytime_accuracy: float | None = shown_as("share")
    worst_case_accuracy: float | None = shown_as("share")
    stability_gap: float | None = shown_as("share")


@dataclass(frozen=True, kw_only=True)
class EpsilonLine:
    """What the certificate guarantees of one strategy; there is no line before it is written.

    Attributes:
        strategy: the row of the run.
        noise: where the noise was added.
        epsilon: of the worst cohort; None: nothing is guaranteed.
        delta: of the guarantee.
        accountant: whose bound it is.
        epsilon_of_what_ran: of what was charged, where that is smaller than the budget and the whole schedule ran.
        unit: what one neighbour is.
        protection: the secure sum.
        cohorts: number of cohorts.
        non_private: sentences that end the guarantee for somebody; read them before you quote epsilon.
        contradicted: whether the audit shows more than epsilon; None: no audit.
    """

    strategy: str
    noise: str
    epsilon: float | None = shown_as("bound")
    delta: float | None = None
    accountant: str | None = None
    epsilon_of_what_ran: float | None = shown_as("bound")
    unit: str = ""
    protection: str = ""
    cohorts: int = 0
    non_private: tuple[str, ...] = ()
    contradicted: bool | None = None


@dataclass(frozen=True, kw_only=True)
class LeakageLine:
    """One attack's outcome in the audit of the run.

    Attributes:
        strategy: the row that was attacked.
        game: what was asked.
        target: about which examples.
        attack: who scored them.
        view: what the attacker saw.
        members: examples that were in.
        non_members: examples that were not.
        auc: area under the ROC; .5 is guessing.
        auc_low: lower end of its interval.
        auc_high: upper end.
        blind_auc: of an attacker without a view.
        void: whether the blind attacker succeeds too, so that the outcome says nothing.
        epsilon_shown: lower bound on epsilon that the outcome proves.
        epsilon_spent: what the ledger states for these examples, at the same delta; None: no counterpart.
        delta: of both, which is smaller than the certificate's.
        control: positive, negative, without noise; None: the run itself.
    """

    strategy: str
    game: str
    target: str
    attack: str
    view: str
    members: int | None = None
    non_members: int | None = None
    auc: float | None = shown_as("number")
    auc_low: float | None = shown_as("number")
    auc_high: float | None = shown_as("number")
    blind_auc: float | None = shown_as("number")
    void: bool | None = None
    epsilon_shown: float | None = shown_as("shown")
    epsilon_spent: float | None = shown_as("bound")
    delta: float | None = None
    control: str | None = None


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """What one strategy cost so far: bytes of one client, seconds of all processes together.

    Attributes:
        strategy: the row of the run.
        rounds: that were run.
        bytes_up: what one client sent, keys included.
        bytes_down: what one client received.
        wall: seconds by the clock.
        train: seconds of training, summed over clients.
        encrypt: seconds of protecting uploads, summed over clients.
        aggregate: seconds of summing.
        apply: seconds of making the next model.
        evaluate: seconds of measuring.
    """

    strategy: str
    rounds: int
    bytes_up: float | None = shown_as("bytes")
    bytes_down: float | None = shown_as("bytes")
    wall: float | None = shown_as("number")
    train: float | None = shown_as("number")
    encrypt: float | None = shown_as("number")
    aggregate: float | None = shown_as("number")
    apply: float | None = shown_as("number")
    evaluate: float | None = shown_as("number")


def accuracy(run: Files) -> Table[AccuracyLine]:
    """Return one line for each strategy and task that it finished."""
    lines = []
    for row in run.rows:
        final = next(iter(run.records("final", row)), {})
        slots = run.tasks(row)
        for slot, record in slots.items():
            shares = record.get("accuracy")
            last = bool(final) and slot == max(slots)
            lines.append(
                AccuracyLine(
                    strategy=row,
                    noise=str(final.get("noise", mapping(run.guarantee(row)).get("noise", "?"))),
                    after_task=slot + 1,
                    all_windows=number(record.get("micro")),
                    seen=number(record.get("seen")),
                    tasks=tuple(number(share) for share in shares) if isinstance(shares, list) else (),
                    class_mean=number(final.get("class_mean")) if last else None,
                    worst_client=number(final.get("worst_client")) if last else None,
                    unseen_persons=number(record.get("unseen_micro")),
                )
            )
    return Table("accuracy", AccuracyLine, tuple(lines), _unfinished(run))


def forgetting(run: Files) -> Table[ForgettingLine]:
    """Return one line for each strategy that ended."""
    names = [name for name in ForgettingLine.__dataclass_fields__ if name != "strategy"]
    lines = tuple(
        ForgettingLine(strategy=row, **{name: number(final[-1].get(name)) for name in names})
        for row in run.rows
        if (final := run.records("final", row))
    )
    return Table("forgetting", ForgettingLine, lines, _unfinished(run))


def epsilon(run: Files) -> Table[EpsilonLine]:
    """Return one line for each strategy on the certificate, and none before there is one."""
    certified = mapping(mapping(run.certificate).get("rows"))
    if not certified:
        return Table("epsilon", EpsilonLine, (), "no certificate yet, so no epsilon is stated")
    lines = []
    for row, found in certified.items():
        one = mapping(found)
        lines.append(
            EpsilonLine(
                strategy=row,
                noise=str(one.get("noise", "?")),
                epsilon=number(one.get("epsilon")),
                delta=number(one.get("delta")),
                accountant=str(one["accountant"]) if one.get("accountant") else None,
                epsilon_of_what_ran=number(one.get("epsilon_of_what_ran")),
                unit=str(one.get("unit", "")),
                protection=str(one.get("protection", "")),
                cohorts=len(objects(one.get("cohorts"))),
                non_private=tuple(texts(one.get("non_private"))),
                contradicted=_contradicted(run, row),
            )
        )
    said = [f"{line.strategy}: not private: {sentence}" for line in lines for sentence in line.non_private]
    note = "; ".join(["strategies of different epsilon must not be ranked against each other", *said])
    return Table("epsilon", EpsilonLine, tuple(lines), note)


def _contradicted(run: Files, row: str) -> bool | None:
    if run.attacks is None or run.attacks.get("row") != row:
        return None
    broken = any(mapping(law).get("broken") for law in objects(run.attacks.get("laws")))
    memory = mapping(run.attacks.get("memory")).get("contradictions")
    return bool(run.attacks.get("contradictions")) or broken or bool(memory)


def leakage(run: Files) -> Table[LeakageLine]:
    """Return one line for each outcome of the audit, and none before there was one."""
    if run.attacks is None:
        return Table("leakage", LeakageLine, (), "the audit has not been run, so nothing is known of leakage")
    row, lines = str(run.attacks.get("row", "?")), []
    for one in objects(run.attacks.get("outcomes")):
        members, others = number(one.get("n_members")), number(one.get("n_nonmembers"))
        lines.append(
            LeakageLine(
                strategy=row,
                game=str(one.get("game", "")),
                target=str(one.get("target", "")),
                attack=str(one.get("attack", "")),
                view=str(one.get("view", "")),
                members=None if members is None else int(members),
                non_members=None if others is None else int(others),
                auc=number(one.get("auc")),
                auc_low=number(one.get("auc_low")),
                auc_high=number(one.get("auc_high")),
                blind_auc=number(one.get("blind_auc")),
                void=one["void"] if isinstance(one.get("void"), bool) else None,
                epsilon_shown=number(mapping(one.get("epsilon_lower")).get("value")),
                epsilon_spent=number(one.get("ledger_epsilon")),
                delta=number(mapping(one.get("epsilon_lower")).get("delta")),
                control=None if one.get("control") is None else str(one["control"]),
            )
        )
    note = "; ".join(f"not tested: {sentence}" for sentence in texts(run.attacks.get("not_tested")))
    return Table("leakage", LeakageLine, tuple(lines), note)


def cost(run: Files) -> Table[CostLine]:
    """Return one line for each strategy that has run a round."""
    phases = ("train", "encrypt", "aggregate", "apply", "evaluate")
    lines = tuple(
        CostLine(
            strategy=bar.row,
            rounds=sum(record.get("row") == bar.row for record in run.cost),
            bytes_up=bar.bytes_up,
            bytes_down=bar.bytes_down,
            wall=bar.wall,
            **{phase: bar.seconds.get(phase) for phase in phases},
        )
        for bar in cost_bars(run)
    )
    return Table("cost", CostLine, lines, _unfinished(run))


def _unfinished(run: Files) -> str:
    return "" if run.finished else "the run is not finished; these are its lines so far"
