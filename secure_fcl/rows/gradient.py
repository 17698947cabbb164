"""The gradient strategies by the name of their row: which method, which public numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from privacy import DpSgdPlan
from secure_fcl.config import Config, Training
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Encoding, GradientStrategy, Method, Networks, Rates
from secure_fcl.strategies.entry import GradientEntry
from secure_fcl.strategies.gradient.numbers import LearntNorm
from secure_fcl.strategies.gradient.public_inputs import PublicInputs, public_inputs
from secure_fcl.strategies.gradient.uploads.choice import SendsOwn
from secure_fcl.strategies.methods.averaging import WeightedSection
from secure_fcl.strategies.section import GradientSection
from secure_fcl.streams import Scenario, as_shown


def method_of(config: Config, name: str, entry: GradientEntry[Any]) -> Method:
    """Return the method of a row with its hyper-parameters.

    Raises:
        ConfigInvalid: they do not fit the learning rate.
    """
    section = gradient_section(config, name)
    entry.check(section, section.learning_rate or config.training.learning_rate)
    return entry.method(section)


def gradient_section(config: Config, name: str) -> GradientSection:
    """Return the section of a row that trains a network.

    Raises:
        ConfigInvalid: it is the section of another kind of strategy.
    """
    section = config.section(name)
    if not isinstance(section, GradientSection):
        raise ConfigInvalid(f"{name}: a strategy that trains a network needs a GradientSection, not {section!r}")
    return section


def sends_gradients_alone(method: Method, at_once: bool) -> bool:
    """Return whether a row's whole upload can be one clipped gradient sum of what arrives, round by round."""
    sends_more = bool(method.beside) or method.channel is not None or isinstance(method, SendsOwn)
    return not (method.memory or sends_more or at_once)


def public_of(config: Config, scenario: Scenario, name: str, method: Method) -> PublicInputs | None:
    """Return the public inputs of a row, as its networks are shown inputs; None where it reads none.

    Raises:
        ConfigInvalid: as `public_inputs`.
    """
    if not method.public:
        return None
    section: Any = config.section(name)
    found = public_inputs(f"{name}.public", section.public, scenario.data.shape, config.seed, section.made_up)
    return replace(found, x=as_shown(found.raw, config.training.features))


def gradient_strategy(
    config: Config, scenario: Scenario, name: str, method: Method, noise_multiplier: float, examples: int,
    public: PublicInputs | None = None,
) -> GradientStrategy:  # fmt: skip
    """Return the strategy of a row that trains a network by a method; `examples` bounds those of one chunk."""
    t, row = config.training, gradient_section(config, name)
    return GradientStrategy(
        name=name,
        dpsgd=_visit(t, row, noise_multiplier),
        # Tasks put together are sampled at a lower rate for more rounds: as many steps, of as many examples.
        rates=Rates(
            current=t.q_current / scenario.together, memory=t.q_memory if method.memory else 0.0, fisher=t.q_fisher
        ),
        rounds=(row.rounds or t.rounds) * scenario.together,
        networks=Networks(
            kind=t.model,
            shape=scenario.data.shape,
            classes=len(scenario.data.classes),
            seed=config.seed,
            torch_device=config.device,
            trainer=t.trainer,
            replace_layers=t.replace_layers,
        ),
        examples=examples,
        method=method,
        encoding=Encoding(
            update_clip=t.upload_clip,
            update_bits=t.upload_bits,
            sum_clip=t.sum_clip,
            scale_bits=t.scale_bits,
            fisher_bits=t.fisher_bits,
        ),
        shared=row.noise == "shared",
        persons=config.privacy.unit == "person",
        sends=t.sends,
        learnt=_learnt(t),
        groups=_groups(scenario),
        last_from={"all": None, "last": 0, "last_later": 1}[config.compression.trained],
        keep_moments=t.keep_moments,
        public=public,
        slots=scenario.slots,
        fisher_noise=t.fisher_noise * noise_multiplier,
        count_noise=row.count_noise * noise_multiplier if isinstance(row, WeightedSection) else 0.0,
    )


def _groups(scenario: Scenario) -> tuple[int, ...] | None:
    """Return each class's task where the test names the task: only the classes of one task compete, in training too."""
    if scenario.kind != "task":
        return None
    task_of = {label: task for task, labels in enumerate(scenario.task_classes) for label in labels}
    return tuple(task_of.get(label, -1) for label in range(len(scenario.data.classes)))


def _learnt(t: Training) -> LearntNorm | None:
    if t.clipping == "given":
        return None
    return LearntNorm(target=t.clipping_target, rate=t.clipping_rate, share=t.clipping_share)


def _visit(t: Training, row: GradientSection, noise_multiplier: float) -> DpSgdPlan:
    by_gradients = row.noise == "shared" and t.sends == "gradient"
    return DpSgdPlan(
        steps=1 if by_gradients else t.steps, denominator=t.denominator, clipping_norm=t.clipping_norm,
        noise_multiplier=noise_multiplier, learning_rate=row.learning_rate or t.learning_rate,
        momentum=t.momentum, optimizer=t.optimizer,
    )  # fmt: skip
