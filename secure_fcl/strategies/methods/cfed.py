"""CFeD: distillation on public unlabelled inputs, at clients that review old tasks and at the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import numpy as np
from pydantic import AfterValidator, Field

from privacy import Event
from privacy.randomness import uniforms
from secure_fcl.references import names_code
from secure_fcl.strategies.base import Contribution, DeviceView, Floats, State, StepContext, Stratum
from secure_fcl.strategies.contribution import Part, UploadSpec, Values
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.losses import Head
from secure_fcl.strategies.gradient.method import Plain, Received
from secure_fcl.strategies.gradient.models import load_vector
from secure_fcl.strategies.gradient.networks import Visit
from secure_fcl.strategies.gradient.numbers import Numbers
from secure_fcl.strategies.gradient.public_inputs import GENERATED
from secure_fcl.strategies.gradient.uploads.choice import Uploads
from secure_fcl.strategies.gradient.uploads.gradient_sum import GradientSumUpload
from secure_fcl.strategies.gradient.uploads.update import UpdateUpload
from secure_fcl.strategies.gradient.uploads.upload import ClientRound, Training
from secure_fcl.strategies.gradient.uploads.visits import LocalVisits, Made
from secure_fcl.strategies.section import GradientSection, Positive

if TYPE_CHECKING:
    import torch

T = TypeVar("T", bound=Training)


@dataclass(frozen=True, kw_only=True)
class Cfed(Plain):
    """CFeD: some clients learn, others review the old model's answers on public inputs, and the server distils.

    Ma et al. 2022 (IJCAI, "Continual Federated Learning Based on Knowledge Distillation"), sections on the clients
    division and the server distillation mechanisms. From the second task on a client reviews a round with probability
    `review`: it trains on public inputs towards the answers that the server's model gave when the last task closed.
    Who does is a coin of its own, whatever it holds: an update without noise would tell that a device has nothing new.
    A reviewer reads no example; everybody is charged as a learner. All clients have the same public inputs, the paper
    gives each a share. In every round the server distils the averaged model from all clients' answers: the paper's
    loss over single teachers is linear in their answers, so their sum is all it takes, one more part of the upload.

    With noise shared inside the sum all reviewers would send one public gradient, which the server adds itself with
    weight `review`; no client has a model of its own then, so that there is nothing to distil at the server.
    """

    public: bool = True
    review: float = 0.4
    temperature: float = 2.0
    server_steps: int = 5

    def uploads(self, numbers: Numbers) -> Uploads:
        """See `SendsOwn.uploads`."""
        public = PublicAnswers(numbers, self.temperature)
        if numbers.shared:
            reviewed = ReviewedSum(public, self.review, GradientSumUpload(numbers))
            return Uploads(reviewed.training, {"train": reviewed})
        visits = ReviewingVisits(public, LocalVisits(numbers), self.review)
        return Uploads(visits, {"train": AnsweredUpdate(public, self.server_steps, visits)})


@dataclass(frozen=True, eq=False)
class PublicAnswers:
    """Answers on the public inputs: softened outputs over all classes, task by task where the test names the task.

    All classes, as the authors' code has it: the old model's low answers for classes to come hold back a new task's.
    """

    numbers: Numbers
    temperature: float

    @property
    def shape(self) -> tuple[int, int]:
        """Inputs and classes."""
        return len(self.numbers.public), self.numbers.networks.classes

    def of(self, weights: Floats) -> Floats:
        """Return the answers (n, classes) of a network with these weights."""
        import torch

        outputs = torch.from_numpy(self.numbers.networks.outputs(weights, self.numbers.public))
        return _log_answers(outputs, self.numbers.head, self.temperature).exp().numpy()

    def loss(self, answers: Floats) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return T^2 times the mean cross-entropy of a network's outputs with given answers."""
        import torch

        taught = torch.from_numpy(np.ascontiguousarray(answers, dtype=np.float32))

        def loss(outputs: torch.Tensor) -> torch.Tensor:
            said = _log_answers(outputs, self.numbers.head, self.temperature)
            return -(taught * said).sum(1).mean() * self.temperature**2

        return loss

    def gradient(self, weights: Floats, answers: Floats, slot: int) -> Values:
        """Return the loss's gradient at weights, float64 (P,), no longer than the clipping norm. Reads nothing private.

        Zero where the slot trains nothing. As long as a learner's at most: a step on few inputs is not to outrun it.
        """
        import torch

        model: torch.nn.Module = self.numbers.networks.fresh()
        load_vector(model, weights)
        model.eval()
        trained = [p for p in model.parameters() if p.requires_grad]
        found = torch.autograd.grad(self.loss(answers)(model(torch.from_numpy(self.numbers.public))), trained)
        flat: Values = torch.cat([g.reshape(-1) for g in found]).numpy().astype(np.float64)
        flat[: self.numbers.frozen(slot)] = 0.0
        return flat * min(1.0, self.numbers.dpsgd.clipping_norm / max(float(np.linalg.norm(flat)), 1e-12))

    def descended(self, weights: Floats, answers: Floats, slot: int, steps: int) -> Floats:
        """Return the weights after plain gradient steps at the run's learning rate towards given answers."""
        for _ in range(steps):
            step = self.numbers.dpsgd.learning_rate * self.gradient(weights, answers, slot)
            weights = (weights - step).astype(np.float32)
        return weights


def _log_answers(outputs: torch.Tensor, head: Head, temperature: float) -> torch.Tensor:
    """Return logarithms of softened outputs (n, classes); each task's sum to 1 where the test names the task."""
    import torch

    if head.groups is None:
        return torch.log_softmax(outputs / temperature, dim=1)
    found = outputs.new_zeros(outputs.shape)
    for group in sorted(set(head.groups)):
        own = [c for c, task in enumerate(head.groups) if task == group]
        found[:, own] = torch.log_softmax(outputs[:, own] / temperature, dim=1)
    return found


@dataclass(frozen=True, eq=False)
class Reviewed(Generic[T]):
    """The usual training, and in its arrays the old model's answers."""

    public: PublicAnswers
    usual: T

    @property
    def carried(self) -> Mapping[str, tuple[int, ...]]:
        """See `Training.carried`."""
        return self.usual.carried

    def initial(self) -> State:
        """See `Training.initial`."""
        return {**self.usual.initial(), "answers": np.zeros(self.public.shape, dtype=np.float32)}

    def prepared(self, visit: Visit, state: State, view: DeviceView) -> Visit:
        """See `Training.prepared`."""
        return self.usual.prepared(visit, state, view)


@dataclass(frozen=True, eq=False)
class ReviewingVisits(Reviewed[LocalVisits]):
    """Visits of learners as usual; a reviewer's is as many steps on public inputs, which the state decides alone."""

    review: float

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what a learner's visit charges; a reviewer's would charge nothing."""
        return self.usual.events(stratum)

    def made(self, round: ClientRound) -> Iterator[Made]:
        """Yield what each client's visit makes, in order; the first coin of each says whether it reviews."""
        chance = self.review if round.step.seen else 0.0
        reviews = [chance > 0.0 and float(uniforms(visit.coins, (1,))[0]) < chance for visit in round.visits]
        learners = replace(
            round,
            views=[view for view, one in zip(round.views, reviews, strict=True) if not one],
            visits=[visit for visit, one in zip(round.visits, reviews, strict=True) if not one],
        )
        learned = self.usual.made(learners) if learners.visits else iter(())
        reviewed = self._reviewed(round) if any(reviews) else None
        for view, one in zip(round.views, reviews, strict=True):
            yield Made(reviewed, None, dict(view.carried)) if one and reviewed is not None else next(learned)

    def _reviewed(self, round: ClientRound) -> Values:
        state, step, steps = round.state, round.step, self.public.numbers.dpsgd.steps
        end = self.public.descended(state["weights"], state["answers"], step.slot, steps)
        return end.astype(np.float64) - state["weights"]


@dataclass(frozen=True, eq=False)
class AnsweredUpdate:
    """The update of a visit, and the client's answers on the public inputs: post-processing, which charges nothing.

    The server takes the mean update, then steps towards the mean answer of all clients and its own model before it
    (the authors' code counts that one in). Answers are probabilities; they travel in the update's units.
    """

    public: PublicAnswers
    server_steps: int
    visits: ReviewingVisits

    @cached_property
    def _update(self) -> UpdateUpload:
        return UpdateUpload(self.public.numbers, self.visits)

    @property
    def _clip(self) -> float:
        return self.public.numbers.encoding.update_clip

    def declare(self) -> UploadSpec:
        """Return the update, and the answers unless the server makes nothing of them."""
        usual = self._update.declare()
        if not self.server_steps:
            return usual
        return replace(usual, parts=(*usual.parts, Part("answers", self.public.shape, self._clip)))

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """Return what the visit charges."""
        return self._update.events(stratum)

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """Return no rate: all noise is the clients' own."""
        return ()

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's update and what the network it leads to answers."""
        for made in self._update.fill(round):
            parts = dict(made.parts)
            if self.server_steps:
                local = (round.state["weights"] + parts["update"]).astype(np.float32)
                parts["answers"] = self._clip * self.public.of(local).astype(np.float64)
            yield Contribution(parts, made.carried)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights moved by the mean update and distilled, and the answers to review in the next slot."""
        new, received = self._update.read(state, step, total, clients)
        after = received.after
        if self.server_steps:
            before = self.public.of(state["weights"])
            mean = (total["answers"] / self._clip + before) / (clients + 1)
            after = self.public.descended(after, mean.astype(np.float32), step.slot, self.server_steps)
        answers = self.public.of(after) if step.last else state["answers"]
        return {**new, "weights": after, "answers": answers}, replace(received, after=after)


@dataclass(frozen=True, eq=False)
class ReviewedSum:
    """The usual gradient sum, to which the server adds the reviewers' one gradient; it is public, nobody sends it."""

    public: PublicAnswers
    review: float
    usual: GradientSumUpload

    @property
    def training(self) -> Reviewed[GradientSumUpload]:
        """What a round needs beside what is sent."""
        return Reviewed(self.public, self.usual)

    def declare(self) -> UploadSpec:
        """Return the gradient sum."""
        return self.usual.declare()

    def events(self, stratum: Stratum) -> Mapping[Event, int]:
        """See `SummedUpload.events`."""
        return self.usual.events(stratum)

    def sampled(self, stratum: Stratum) -> tuple[float, ...]:
        """See `SummedUpload.sampled`."""
        return self.usual.sampled(stratum)

    def fill(self, round: ClientRound) -> Iterator[Contribution]:
        """Yield each client's sum, without noise."""
        return self.usual.fill(round)

    def read(
        self, state: State, step: StepContext, total: Mapping[str, Values], clients: int
    ) -> tuple[State, Received]:
        """Return the weights after a step with the mixed gradient, and the answers to review from the next slot on."""
        if step.seen:
            public = self.public.gradient(state["weights"], state["answers"], step.slot)
            everyone = self.public.numbers.dpsgd.denominator * clients
            mixed = (1.0 - self.review) * total["gradient"] + self.review * everyone * public
            total = {**total, "gradient": mixed}
        new, received = self.usual.read(state, step, total, clients)
        answers = self.public.of(received.after) if step.last else state["answers"]
        return {**new, "answers": answers}, received


def _generated_or_code(name: str) -> str:
    if name == GENERATED or names_code(name):
        return name
    raise ValueError(f"use {GENERATED}, or module:function of your own that returns inputs")


class CfedSection(GradientSection):
    """CFeD."""

    public: Annotated[str, AfterValidator(_generated_or_code)] = Field(
        GENERATED,
        description="public unlabelled inputs. generated: made up from the seed, like no data set; module:function: "
        "what it returns for the shape of an example, checked not to be training or test examples",
        json_schema_extra={"enum": [GENERATED, "module:function"]},
    )
    made_up: int = Field(128, ge=1, le=100_000, description="number of generated public inputs")
    review: float = Field(
        0.4,
        ge=0.0,
        lt=1.0,
        description="chance that a client reviews old tasks in a round; shared noise: weight of that",
    )
    temperature: Positive = Field(2.0, description="softens answers on the public inputs")
    server_steps: int = Field(
        5,
        ge=0,
        le=1000,
        description="steps of the server's distillation after each round; 0: none, no answers are sent",
    )


cfed = GradientEntry(
    section=CfedSection(),
    method=lambda section: Cfed(
        review=section.review, temperature=section.temperature, server_steps=section.server_steps
    ),
)
