"""The configuration of a run: one validated tree, from TOML and `--set a.b=c`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from secure_fcl.config.rows import (
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
    GradientRow,
    MomentsRow,
    ProxRow,
    RowName,
    SurrogateRow,
    SynapticRow,
    TwoTeachersRow,
    WeightedRow,
)
from secure_fcl.config.sections import Attacks, Compression, Data, Memory, Privacy, Training
from secure_fcl.config.streams import Drift, Online, Scenario, Section, Storage


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
