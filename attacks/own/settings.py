"""`audit.toml`: what is audited, on which files, and how; every mistake gets one sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attacks.errors import AuditInvalid

Count = Annotated[int, Field(ge=1, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""Code of the user's own as `module:function`. Importing it runs it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Csv(_Section):
    """How a CSV file with a heading is read: one column of labels, columns of numbers for the rest.

    Attributes:
        label: column of the labels.
        cluster: column that says which examples are of one recording; empty: every example stands alone.
        task: column of the task in which an example arrived; empty: all of task 0.
        shape: of one example, channels first; empty: a flat vector of the remaining columns.
    """

    label: str = "label"
    cluster: str = ""
    task: str = ""
    shape: tuple[Count, ...] = ()


class Coins(_Section):
    """How members were chosen. Without this section no epsilon is stated.

    Attributes:
        rate: of the independent coin that made a candidate a member.
        per_cluster: one coin for a whole cluster.
        delta: of the bound on epsilon.
        claimed_epsilon: what the model's owner claims at `delta`, of one candidate (of one cluster where coins are).
    """

    rate: Share = 0.5
    per_cluster: bool = False
    delta: Annotated[float, Field(ge=0, lt=1)] = 1e-5
    claimed_epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Canaries(Coins):
    """Examples that were put in by coins which somebody kept.

    Attributes:
        file: `.npz` with x, y and `inserted` (boolean), the coins.
    """

    file: Path


class Shadows(_Section):
    """How shadow models are trained: by a function of the user's own, or by a declared optimiser.

    Attributes:
        models: how many; half of them see a given candidate.
        train: `module:function`, called as `train(x, y, seed)` with float32 (n, ...) and int64 (n,) arrays; returns the
            trained torch module. Empty: the optimiser below, on fresh networks of `model`, by cross-entropy.
        background: examples that the audited model was trained on and no question is about; every shadow model sees
            them as well.
        optimiser, learning_rate, momentum, weight_decay, epochs, batch: of the declared training.
    """

    models: Annotated[int, Field(ge=4, le=1024, strict=True)] = 16
    train: Reference | None = None
    background: Path | None = None
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    epochs: Count = 20
    batch: Count = 32


class Updates(_Section):
    """Updates that somebody saved, to be attacked as a curious server would.

    Attributes:
        files: one update each, tensors by the names of the model's parameters.
        kind: "gradient", or "step": weights afterwards minus weights before.
        checkpoint: number of the checkpoint, from 0, at which they were taken; -1 is the last.
        truth: `.npz` with x and y of the examples behind the updates, in the order of the files.
        examples: behind each update.
    """

    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    kind: Literal["gradient", "step"] = "gradient"
    checkpoint: Annotated[int, Field(strict=True)] = -1
    truth: Path
    examples: Count = 1


class Leak(_Section):
    """The smallest leak that matters: what "not found" must exclude.

    Attributes:
        auc: an attack that ranks a member above a non-member that often.
        ratio: members found per false alarm, as a multiple of no knowledge.
    """

    auc: Annotated[float, Field(gt=0.5, le=1)] = 0.6
    ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 3.0


class AuditSettings(_Section):
    """All of `audit.toml`. Paths are relative to its folder.

    Attributes:
        model: `module:function`; called without arguments, returns the architecture as a torch module. Importing runs
            the module's code.
        checkpoints: state dictionaries, oldest first (`checkpoints.read_tensors`).
        tasks: task in training at each checkpoint, -1 before any; needed where there are several.
        members, nonmembers: examples (`examples.read_examples`) that the model was and was not trained on.
        population: examples that nobody trained on and no question is about, for RMIA.
        labels: names of the classes in the model's order, where labels are text.
        score: "loss", or `module:function`, called as `score(model, x, y)` with torch tensors; returns one number for
            each example, higher for "rather a member".
        name: of the audited model, for the report.
        seed: public seed of judging and of shadow models.
        csv, coins, canaries, shadows, updates, leak: see there.
    """

    model: Reference
    checkpoints: Annotated[tuple[Path, ...], Field(min_length=1)]
    tasks: tuple[Annotated[int, Field(ge=-1, strict=True)], ...] = ()
    members: Path
    nonmembers: Path
    population: Path | None = None
    labels: tuple[str, ...] = ()
    score: Literal["loss"] | Reference = "loss"
    name: str = "model"
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    csv: Csv = Csv()
    coins: Coins | None = None
    canaries: Canaries | None = None
    shadows: Shadows | None = None
    updates: Updates | None = None
    leak: Leak = Leak()

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, tree: object) -> object:
        if isinstance(tree, dict) and isinstance(tree.get("checkpoints"), str):
            return {**tree, "checkpoints": [tree["checkpoints"]]}
        return tree

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tasks and len(self.tasks) != len(self.checkpoints):
            raise ValueError(f"{len(self.tasks)} tasks for {len(self.checkpoints)} checkpoints; give one task for each")
        if not self.tasks and len(self.checkpoints) > 1:
            raise ValueError(
                f"{len(self.checkpoints)} checkpoints and no tasks; say in which task each was taken, for example "
                f"tasks = {[*range(len(self.checkpoints))]}, or tasks = [-1, 0] for before and after one training"
            )
        if list(self.tasks) != sorted(self.tasks) or (self.tasks and self.tasks[-1] < 0):
            raise ValueError(f"tasks = {list(self.tasks)} must not decrease and end at 0 or later, oldest first")
        if self.shadows is not None and len({task for task in self.tasks if task >= 0}) > 1:
            raise ValueError(
                "shadows are trained on one task only; leave the section out, or train them yourself with "
                "attacks.continual_models and call attacks.audit"
            )
        if self.updates is not None and not -len(self.checkpoints) <= self.updates.checkpoint < len(self.checkpoints):
            raise ValueError(
                f"updates.checkpoint = {self.updates.checkpoint} is none of the {len(self.checkpoints)} checkpoints; "
                "count from 0, or write -1 for the last"
            )
        return self

    @property
    def checkpoint_tasks(self) -> tuple[int, ...]:
        """Task of each checkpoint; one checkpoint is of task 0."""
        return self.tasks or (0,)

    def references(self) -> tuple[str, ...]:
        """Every `module:function` that the audit imports, once each."""
        train = self.shadows.train if self.shadows else None
        named = [self.model, *([] if self.score == "loss" else [self.score]), *([train] if train else [])]
        return tuple(dict.fromkeys(named))


def read_settings(path: Path) -> AuditSettings:
    """Read and check an `audit.toml`; paths in it become relative to where the reader stands.

    Raises:
        AuditInvalid: there is no such file, it is not TOML, or a key or value is wrong; one sentence names the first.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditInvalid(f"audit file {path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AuditInvalid(f"audit file {path} cannot be read: {error}; correct it") from error
    try:
        found = AuditSettings.model_validate(tree)
    except ValidationError as error:
        raise AuditInvalid(f"audit file {path}: {_explained(error)}") from None
    return _beside(found, path.parent)


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("literal", "constrained-str")))
    if first["type"] == "extra_forbidden":
        section = AuditSettings.model_fields.get(where.rpartition(".")[0])
        kind = AuditSettings if section is None else _section_of(section.annotation)
        return f"unknown key {where!r}; known are {', '.join(kind.model_fields)}"
    if first["type"] == "missing":
        return f"key {where!r} is missing; see docs/how-to/audit-a-checkpoint.md for what each holds"
    if first["type"] == "string_pattern_mismatch":
        return f"{where} = {first['input']!r} is not of the form module:function, for example nets:make"
    shown = "" if isinstance(first["input"], dict) or not where else f"{where} = {first['input']!r}: "
    said = first["msg"].removeprefix("Value error, ")
    return shown + said[:1].lower() + said[1:]


def _section_of(annotation: object) -> type[BaseModel]:
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def _beside(found: AuditSettings, folder: Path) -> AuditSettings:
    """The same with paths that start from the file's folder; absolute ones stay."""

    def moved(section: BaseModel) -> dict[str, object]:
        changed: dict[str, object] = {}
        for name in type(section).model_fields:
            value = getattr(section, name)
            if isinstance(value, Path):
                changed[name] = folder / value
            elif isinstance(value, tuple) and value and all(isinstance(one, Path) for one in value):
                changed[name] = tuple(folder / one for one in value)
            elif isinstance(value, BaseModel):
                changed[name] = value.model_copy(update=moved(value))
        return changed

    return found.model_copy(update=moved(found))
