"""The gradient strategies by the name of their row: which method, which public numbers."""

from __future__ import annotations

from privacy import DpSgdPlan
from secure_fcl.config import Config, Training, rows
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Encoding, GradientStrategy, Method, Networks, Plain, Rates
from secure_fcl.streams import Scenario


def method_of(config: Config, name: str) -> Method:
    """Return the method of a row with its hyper-parameters."""
    from secure_fcl.strategies import methods

    match getattr(config, name):
        case rows.ProxRow() as row:
            step = row.learning_rate or config.training.learning_rate
            if step * row.mu >= 2.0:
                raise ConfigInvalid(
                    f"{name}.mu = {row.mu:g} at a learning rate of {step:g}: from mu times rate 2 on, steps leave the "
                    "server's weights further each time; lower one of them"
                )
            return methods.Proximal(mu=row.mu)
        case rows.WeightedRow():
            return methods.Weighted()
        case rows.AloneRow():
            return methods.Alone()
        case rows.CurvatureRow() as row:
            return methods.Curvature(strength=row.strength, decay=row.decay)
        case rows.ElasticRow() as row:
            return methods.ElasticWeights(strength=row.strength, decay=row.decay)
        case rows.SurrogateRow() as row:
            return methods.SurrogateIntelligence(strength=row.strength, damping=row.damping, mix=row.mix)
        case rows.SynapticRow() as row:
            return methods.SynapticIntelligence(strength=row.strength, damping=row.damping)
        case rows.DistillationRow() as row:
            return methods.LwF(
                weight=row.weight, temperature=row.temperature, balanced=row.balanced, per_task=row.per_task
            )
        case rows.TwoTeachersRow() as row:
            return methods.TwoTeachers(alpha=row.alpha, beta=row.beta, temperature=row.temperature)
        case rows.DarkRow() as row:
            return methods.DarkReplay(alpha=row.alpha, beta=row.beta)
        case rows.GlfcProxyRow() as row:
            return methods.GlfcWithProxy(new_error=row.new_error, old_error=row.old_error)
        case rows.GlfcRow() as row:
            return methods.Glfc(new_error=row.new_error, old_error=row.old_error)
        case rows.GradientMemoryRow():
            return methods.AveragedGradientMemory()
        case _:
            return Plain(memory=name == "replay")


def gradient_strategy(
    config: Config, scenario: Scenario, name: str, noise_multiplier: float, examples: int
) -> GradientStrategy:
    """Return the strategy of a row that trains a network; `examples` bounds those of one chunk."""
    t, row = config.training, getattr(config, name)
    method, shared = method_of(config, name), row.noise == "shared"
    return GradientStrategy(
        name=name,
        plan=_visit(t, row, noise_multiplier),
        # Tasks put together are sampled at a lower rate for more rounds: as many steps, of as many examples.
        rates=Rates(t.q_current / scenario.together, t.q_memory if method.memory else 0.0, t.q_fisher),
        rounds=(row.rounds or t.rounds) * scenario.together,
        networks=Networks(
            t.model, scenario.data.shape, len(scenario.data.classes), config.seed, config.device, t.trainer
        ),
        examples=examples,
        method=method,
        encoding=Encoding(t.upload_clip, t.upload_bits, t.sum_clip, t.scale_bits, t.fisher_bits),
        shared=shared,
        groups=_groups(scenario),
        last_from={"all": None, "last": 0, "last_later": 1}[config.compression.trained],
        keep_moments=t.keep_moments,
        fisher_noise=t.fisher_noise * noise_multiplier,
        count_noise=row.count_noise * noise_multiplier if isinstance(row, rows.WeightedRow) else 0.0,
    )


def _groups(scenario: Scenario) -> tuple[int, ...] | None:
    """Return each class's task where the test names the task: only the classes of one task compete, in training too."""
    if scenario.kind != "task":
        return None
    task_of = {label: task for task, labels in enumerate(scenario.task_classes) for label in labels}
    return tuple(task_of.get(label, -1) for label in range(len(scenario.data.classes)))


def _visit(t: Training, row: rows.GradientRow, noise_multiplier: float) -> DpSgdPlan:
    shared = row.noise == "shared"
    return DpSgdPlan(
        1 if shared else t.steps, t.denominator, t.clipping_norm, noise_multiplier,
        row.learning_rate or t.learning_rate, t.momentum, t.optimizer,
    )  # fmt: skip
