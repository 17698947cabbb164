"""The configuration sections that say what arrives where and when, and what a device may keep."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from secure_fcl.strategies.section import Positive, Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Scenario(Section):
    """How examples become streams. Everything here is public and follows the run's seed."""

    kind: Literal["class", "domain", "task", "online"] = Field(
        "class",
        description="class- or domain-incremental; task: the test says which task an input is of; "
        "online: blurry tasks in a stream seen once, see [online]",
    )
    domains: Literal["rotated", "permuted", "classes", "persons"] = Field(
        "rotated",
        description="what a domain is: the input turned, its entries permuted, a group of classes labelled by "
        "position (split MNIST), or a group of persons",
    )
    setting: Literal["cross-device", "cross-silo"] = Field(
        "cross-device", description="cross-device: stream and bounded storage; cross-silo: everything kept"
    )
    tasks: int = Field(6, ge=1, le=100, description="number of tasks")
    class_order: tuple[int, ...] = Field((), description="order of the classes; empty: the data set's own")
    order: Literal["same", "shuffle"] = Field(
        "same", description="shuffle: every client meets the same tasks in a public order of its own"
    )
    arrival: Literal["synchronous", "asynchronous"] = Field(
        "synchronous", description="synchronous: all clients meet a task together; asynchronous: a public delay each"
    )
    max_delay: int = Field(2, ge=1, le=50, description="largest delay in tasks, for asynchronous arrival")
    joining: Share = Field(0.0, description="share of clients that join after the first slot, by a public draw")
    leaving: Share = Field(0.0, description="share of clients that leave for good before the last slot, likewise")
    dropout: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="share of a slot's clients that are away from each round, by a public draw; 0.1 of 30: 3",
    )
    dropout_step: Literal["upload", "confirm", "unmask", "mixed"] = Field(
        "upload",
        description="the first step that they miss: upload; or, under masks, confirm or unmask after it, and then the "
        "next round too; mixed: any, by a public draw",
    )
    min_cohort: int = Field(
        1, ge=1, description="fewest clients that must hold each class of a release; until then it waits; 1: none waits"
    )
    partition: Literal["natural", "iid", "dirichlet", "pathological"] = Field(
        "natural", description="who owns which unit; natural: the data set's own clients (persons)"
    )
    clients: int = Field(30, ge=1, le=100_000, description="number of clients; natural: the first ones of the data set")
    alpha: Positive = Field(0.5, description="Dirichlet concentration")
    classes_per_client: int = Field(2, ge=1, description="for pathological partitions")
    holdout: float = Field(0.1, ge=0.0, lt=1.0, description="share of items held out by coin as non-members")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind == "online" and self.order == "shuffle":
            raise ValueError("kind = 'online' has no tasks to shuffle: set order = 'same' beside it")
        if self.kind == "domain" and self.domains == "persons" and self.partition == "natural":
            raise ValueError(
                "domains = 'persons' gives a natural client one task only: set partition = 'iid' beside it"
            )
        if self.min_cohort > self.clients:
            raise ValueError(f"min_cohort = {self.min_cohort} exceeds clients = {self.clients}; lower it")
        return self


class Online(Section):
    """The stream of scenario.kind = "online": tasks with blurry boundaries, cut into segments."""

    blur: Share = Field(0.3, description="share of a task's examples spread over the whole stream; 0: sharp, 1: none")
    disjoint: Share = Field(0.0, description="share of classes that stay in their own task (i-Blurry); the rest blurs")
    segments: int = Field(4, ge=1, le=100, description="segments per task; the model is evaluated after each")


class Drift(Section):
    """Change of the input over time, by a public schedule."""

    course: Literal["none", "gradual", "abrupt"] = Field(
        "none", description="gradual: in proportion to time; abrupt: all at once at `start`"
    )
    kind: Literal["rotation", "gain"] = Field(
        "rotation", description="rotation of the image or sensor; gain: strength of the signal, contrast of the image"
    )
    amount: float = Field(
        45.0, ge=-360.0, le=360.0, description="at the end: degrees, or per cent by which the gain changes (over -100)"
    )
    start: Share = Field(0.5, description="share of the run after which an abrupt change happens")

    @model_validator(mode="after")
    def _gain_stays_positive(self) -> Self:
        if self.kind == "gain" and self.amount <= -100.0:
            raise ValueError(f"amount = {self.amount:g} per cent leaves no signal; use more than -100")
        return self


class Storage(Section):
    """What one device may keep between rounds (cross-device): pool, memory, held-back examples, a strategy's arrays."""

    budget_kib: int = Field(512, ge=1, description="bytes kept between rounds, in KiB: everything, keys included")
    budget_examples: int = Field(
        0, ge=0, description="examples kept between rounds: pool, memory and held-back ones together; 0: no such bound"
    )
