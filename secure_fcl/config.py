"""The configuration of a run: one validated tree, from TOML and `--set a.b=c`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from secure_fcl.config_rows import (
    AloneRow,
    AnalyticRow,
    CalmRow,
    ChannelName,
    ClassSumsRow,
    CurvatureRow,
    DarkRow,
    DistillationRow,
    ElasticRow,
    GlfcProxyRow,
    GlfcRow,
    GradientMemoryRow,
    GradientName,
    GradientRow,
    MomentsRow,
    Probability,
    ProxRow,
    RowName,
    SurrogateRow,
    SynapticRow,
    TwoTeachersRow,
    WeightedRow,
)
from secure_fcl.config_streams import Drift, Online, Positive, Scenario, Section, Storage
from secure_fcl.errors import ConfigInvalid
from secure_fcl.models import check_kind


class Data(Section):
    """Which data set, and where files are looked for."""

    name: str = Field("hapt", description="data set: see `secure-fcl data list`")
    data_dir: str = Field("", description="folder of data files; empty: $SECURE_FCL_DATA, then the cache folder")


class Memory(Section):
    """The replay memory."""

    policy: Literal["threshold", "herding"] = Field(
        "threshold", description="threshold: independent coins; herding: class-balanced, NON-PRIVATE"
    )
    keep: Probability = Field(0.2, description="probability of keeping an item; falls when the budget demands it")
    capacity: int = Field(136, ge=0, description="most examples in memory")


class Training(Section):
    """DP-SGD. Rates, steps and the denominator are public constants."""

    trainer: Literal["opacus", "stacked"] = Field(
        "opacus", description="opacus: client by client; stacked: all clients of a worker at once, for simulations"
    )
    features: Literal["none", "plain", "refined"] = Field(
        "none",
        description="what networks are shown: none: the windows or images as they are; plain, refined: their public "
        "features, as the rows of sums use them",
    )
    model: str = Field(
        "auto",
        description="cnn: a convolutional network for the data's shape; softmax: logistic regression; auto: softmax on "
        "features, else cnn; mlp: one hidden layer of 64 tanh units; mlp:400,400:relu: hidden layers of these widths, "
        "of tanh or relu units",
    )
    rounds: int = Field(20, ge=1, le=10_000, description="rounds per task")
    steps: int = Field(2, ge=1, le=10_000, description="local steps per round")
    optimizer: Literal["sgd", "adam"] = Field("sgd", description="of the client's steps; adam needs momentum = 0")
    learning_rate: Positive = Field(0.5, description="step size: the client's, or the server's with shared noise")
    momentum: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="of SGD; a client's starts from zero at every visit unless kept, a server's goes on",
    )
    keep_moments: bool = Field(
        False,
        description="a client's optimizer goes on where its last visit ended (not a surrogate's, and not with shared "
        "noise, where no client steps); its moments count as storage",
    )
    clipping_norm: Positive = Field(1.0, description="Euclidean norm to which an example's gradient is clipped")
    q_current: Probability = Field(0.25, description="Poisson sampling rate of the current data")
    q_memory: Probability = Field(0.05, description="Poisson sampling rate of the memory")
    denominator: Positive = Field(16.0, description="public constant the noisy sum is divided by")
    upload_clip: Positive = Field(0.5, description="coordinatewise bound of an update")
    upload_bits: int = Field(17, ge=4, le=52, description="bits of one encoded coordinate, sign included")
    sum_clip: Positive = Field(
        4.0, description="coordinatewise bound of a gradient sum with shared noise, in clipping norms"
    )
    scale_bits: int = Field(14, ge=8, le=30, description="shared noise: the clipping norm is 2^scale_bits integers")
    q_fisher: Probability = Field(1.0, description="Poisson sampling rate of Fisher information, once a task")
    fisher_noise: Positive = Field(8.0, description="noise multiplier of Fisher information over that of a step")
    fisher_bits: int = Field(24, ge=8, le=52, description="bits of one entry of Fisher information, sign included")

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        try:
            return check_kind(model)
        except ConfigInvalid as error:
            raise ValueError(str(error)) from None


class Compression(Section):
    """Fewer bytes for strategies that train a network: a public linear map before the sum, the same for all clients."""

    kind: Literal["none", "random_k", "low_rank"] = Field(
        "none", description="random_k: some coordinates, drawn anew each round; low_rank: a random basis per layer"
    )
    fraction: Probability = Field(0.1, description="of the coordinates, or of each layer's outputs, that is sent")
    unbiased: bool = Field(True, description="scale the sum up by what was left out; false: leave it out")
    trained: Literal["all", "last", "last_later"] = Field(
        "all", description="what is trained and sent: all layers, the last one, or the last one after the first task"
    )
    rotation: bool = Field(False, description="rotate what is sent, so that a smaller bound and few bits do")
    bits: int = Field(
        0, ge=0, le=16, description="bits of one sent coordinate, sign included, 4 to 16; 0: as in [training]"
    )

    @field_validator("bits")
    @classmethod
    def _none_or_enough(cls, bits: int) -> int:
        if 0 < bits < 4:
            raise ValueError("too few for a sum of signed numbers: use 0 for those of [training], or at least 4")
        return bits


class Privacy(Section):
    """What holds for every row."""

    delta: float = Field(
        1e-5, gt=0.0, lt=1.0, description="of every row's guarantee; overflow of the memory is taken out of it"
    )
    max_dropouts: int = Field(3, ge=0, description="clients that may be missing from a sum")
    colluders: int = Field(1, ge=1, description="clients that may reveal their noise; at least 1")
    chosen_on_data: tuple[str, ...] = Field(
        (), description="what else was chosen by looking at private data, in words; copied to the certificate"
    )
    spare_rounds: int = Field(
        0, ge=0, le=100, description="rounds that may be repeated after a crash within the budget; 0: then refused"
    )


class Attacks(Section):
    """The audit after training."""

    enabled: bool = Field(True, description="play the attacks after training")
    row: GradientName = Field("replay", description="the row that is attacked")
    targets: int = Field(8, ge=2, le=200, description="examples that gradient inversion tries to rebuild")
    shadows: int = Field(
        0,
        ge=0,
        le=1000,
        description="shadow models for the strongest attacks, e.g. 24 (minutes); 0: none; else 4 or more",
    )
    inversion_steps: int = Field(250, ge=1, le=10_000, description="optimiser steps of gradient inversion")
    one_client_view: bool = Field(
        True, description="let one worker write one clear update of `client` to a file marked simulation"
    )
    client: int = Field(0, ge=0, description="whose clear update the one-client view shows")

    @field_validator("shadows")
    @classmethod
    def _enough_to_compare(cls, shadows: int) -> int:
        if 0 < shadows < 4:
            raise ValueError("too few to compare with: use 0 for none, or at least 4")
        return shadows


class Config(Section):
    """A whole run."""

    seed: int = Field(1, ge=0, lt=2**31, description="public seed: order, partition, initial model, games")
    rows: tuple[RowName, ...] = Field(
        ("replay", "finetune", "class_sums"),
        min_length=1,
        description="strategies to run, each a run of its own on the same streams",
    )
    server: Literal["semi-honest", "active"] = Field(
        "active",
        description="secagg, secagg+: semi-honest: the server follows the protocol, two exchanges a sum; active: it "
        "may do anything, three",
    )
    identities: str = Field(
        "", description="folder that `secure-fcl keys` made for all clients and helpers; empty: fresh keys for each row"
    )
    protection: Literal["plain", "bfv", "mpc", "secagg", "secagg+"] = Field(
        "bfv", description="the secure sum: BFV, two CrypTen servers, or pairwise masks; plain hides nothing"
    )
    side_channels: tuple[ChannelName, ...] = Field(
        (), description="what clients may send beside the sums although the run is protected; NON-PRIVATE"
    )
    replay_noise: bool = Field(False, description="derive noise from a secret file, for tests; on the certificate")
    transcript: Literal["full", "latest"] = Field(
        "full", description="full: model and sum of every round, as attacks need them; latest: only what --resume needs"
    )
    workers: int = Field(0, ge=0, le=256, description="worker processes; 0: one per core")
    threads: int = Field(1, ge=1, le=256, description="torch threads per process")
    device: str = Field("cpu", description="torch device of the workers")
    data: Data = Data()
    scenario: Scenario = Scenario()
    online: Online = Online()
    drift: Drift = Drift()
    storage: Storage = Storage()
    memory: Memory = Memory()
    training: Training = Training()
    compression: Compression = Compression()
    privacy: Privacy = Privacy()
    replay: GradientRow = GradientRow()
    finetune: GradientRow = GradientRow()
    fedavg: WeightedRow = WeightedRow()
    fedprox: ProxRow = ProxRow()
    fedewc: ElasticRow = ElasticRow()
    fedcurv: CurvatureRow = CurvatureRow()
    fedsi: SynapticRow = SynapticRow()
    fedssi: SurrogateRow = SurrogateRow()
    fedlwf: DistillationRow = DistillationRow()
    flwf2t: TwoTeachersRow = TwoTeachersRow()
    derpp: DarkRow = DarkRow()
    fedagem: GradientMemoryRow = GradientMemoryRow()
    glfc: GlfcProxyRow = GlfcProxyRow()
    glfc_safe: GlfcRow = GlfcRow()
    joint: GradientRow = GradientRow()
    local_only: AloneRow = AloneRow()
    class_sums: ClassSumsRow = ClassSumsRow()
    analytic: AnalyticRow = AnalyticRow()
    slda: MomentsRow = MomentsRow()
    calm: CalmRow = CalmRow()
    attacks: Attacks = Attacks()

    @model_validator(mode="after")
    def _adam_has_no_momentum(self) -> Self:
        if self.training.optimizer == "adam" and self.training.momentum:
            raise ValueError("training.optimizer = 'adam' needs training.momentum = 0")
        return self

    @model_validator(mode="after")
    def _moments_are_there(self) -> Self:
        t = self.training
        if t.keep_moments and t.optimizer == "sgd" and not t.momentum:
            raise ValueError("training.keep_moments = true: plain SGD has none; set optimizer = 'adam' or a momentum")
        if t.keep_moments and self.compression.trained != "all":
            raise ValueError(
                "training.keep_moments = true is for training all layers: set compression.trained = 'all' beside it"
            )
        return self

    @model_validator(mode="after")
    def _rows_once(self) -> Self:
        if len(set(self.rows)) != len(self.rows):
            raise ValueError(f"rows={list(self.rows)} names a strategy twice; use a study to vary its settings")
        return self

    @model_validator(mode="after")
    def _silos_keep_everything(self) -> Self:
        if self.scenario.setting == "cross-silo" and self.memory.policy != "threshold":
            raise ValueError("scenario.setting = 'cross-silo' keeps everything: leave memory.policy at 'threshold'")
        return self

    @model_validator(mode="after")
    def _attacks_need_the_transcript(self) -> Self:
        if self.attacks.enabled and self.transcript != "full":
            raise ValueError(
                "transcript = 'latest' records too little for attacks: set attacks.enabled = false beside it"
            )
        return self


def load_config(path: Path | None = None, settings: Sequence[str] = ()) -> Config:
    """Return the configuration of a TOML file (None: all defaults) with `a.b=c` settings applied over it.

    Raises:
        ConfigInvalid: the file does not parse, a key is unknown, or a value is out of range; names the key.
    """
    tree = load_tree(path) if path is not None else {}
    for setting in settings:
        _apply(tree, setting)
    return validate(tree)


def load_tree(path: Path) -> dict[str, Any]:
    """Return a TOML file as nested dictionaries.

    Raises:
        ConfigInvalid: the file is missing, unreadable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigInvalid(f"configuration file {path} does not exist; check the path") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"configuration file {path} cannot be read: {error}") from error


def validate(tree: dict[str, Any]) -> Config:
    """Return the configuration of a parsed tree.

    Raises:
        ConfigInvalid: names the first offending key, its value and what is allowed.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigInvalid(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown configuration key {where!r}{more}; `secure-fcl config` lists all keys"
    shown = "" if isinstance(first["input"], dict | BaseModel) else f" = {first['input']!r}"
    return f"configuration {where or 'error'}{shown}: {first['msg'].removeprefix('Value error, ')}{more}"


def _apply(tree: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigInvalid(f"--set {setting!r} is not of the form a.b=c")
    node = tree
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigInvalid(f"--set {setting!r}: {parent!r} is a value, not a section")
    node[leaf] = _value(text.strip())


def _value(text: str) -> Any:
    # A bare word (hapt, bfv) is a string; anything that TOML can read (8, true, [1, 2], inf) is what TOML says.
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def dump_config(config: Config) -> str:
    """Return the resolved configuration as TOML; `load_config` reads it back to an equal one."""
    return tomli_w.dumps(config.model_dump(mode="python"))
