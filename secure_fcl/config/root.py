"""The configuration of a run: one validated tree, from TOML and `--set a.b=c`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import InitErrorDetails

from secure_fcl.config.explain import explain
from secure_fcl.config.names import ChannelName, ProtocolName, RowName, entry_of
from secure_fcl.config.outside import names_code
from secure_fcl.config.sections import Attacks, Compression, Data, Flower, Memory, Privacy, Training
from secure_fcl.config.streams import Drift, Online, Scenario, Storage
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.catalogue import CHANNELS, ENTRIES
from secure_fcl.strategies.section import Section, StrategySection


class _Run(Section):
    """A whole run, without the sections of the strategies, which `Config` adds from their list."""

    # What is not a key of ours may be the section of a strategy of the user's own; anything else is refused below.
    model_config = ConfigDict(extra="allow")

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
    engine: Literal["local", "tls", "flower"] = Field(
        "local",
        description="who plays the clients: local: worker processes of this machine, a simulation; tls, flower: "
        "deployed devices, over mutual TLS or over Flower",
    )
    identities: str = Field(
        "", description="folder that `secure-fcl keys` made for all clients and helpers; empty: fresh keys for each row"
    )
    protection: ProtocolName = Field(
        "bfv", description="the secure sum: BFV, CrypTen servers, pairwise masks, pads of helpers; plain hides nothing"
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
    attacks: Attacks = Attacks()
    flower: Flower = Flower()

    def section(self, name: str) -> StrategySection:
        """Return the section of a strategy: of the list, or of the user's own by `module:name`, which is imported.

        Raises:
            ConfigInvalid: `module:name` cannot be imported or is no entry, or its table does not fit its section.
        """
        if not names_code(name):
            found: StrategySection = vars(self)[name]
            return found
        default: StrategySection = entry_of(name).section
        try:
            return type(default).model_validate(default.model_dump() | (self.model_extra or {}).get(name, {}))
        except ValidationError as error:
            raise ConfigInvalid(explain(error, name, type(default))) from None

    @model_validator(mode="after")
    def _other_tables_are_of_own_strategies(self) -> Self:
        unknown = [
            InitErrorDetails(type="extra_forbidden", loc=(key,), input=value)
            for key, value in (self.model_extra or {}).items()
            if not (names_code(key) and isinstance(value, dict))
        ]
        if unknown:
            raise ValidationError.from_exception_data("Config", unknown)
        return self

    @model_validator(mode="after")
    def _channels_exist(self) -> Self:
        unknown = [name for name in self.side_channels if name not in CHANNELS]
        # A strategy of the user's own may have channels that only its code knows; rows refuse what they do not send.
        if unknown and not any(names_code(name) for name in self.rows):
            raise ValueError(f"side_channels = {unknown}: no strategy has such a channel; there are {list(CHANNELS)}")
        return self

    @model_validator(mode="after")
    def _adam_has_no_momentum(self) -> Self:
        if self.training.optimizer == "adam" and self.training.momentum:
            raise ValueError("training.optimizer = 'adam' needs training.momentum = 0")
        return self

    @model_validator(mode="after")
    def _whole_vectors_are_of_persons(self) -> Self:
        t = self.training
        for key, value, usual in (("sends", t.sends, "gradient"), ("clipping", t.clipping, "given")):
            if value != usual and self.privacy.unit != "person":
                raise ValueError(
                    f"training.{key} = {value!r} is about one vector of each person: set privacy.unit = 'person', or "
                    f"training.{key} = {usual!r}"
                )
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
    def _canaries_are_of_simulations(self) -> Self:
        if not self.attacks.canaries:
            return self
        for key, value, needed, why in (
            ("engine", self.engine, "local", "made-up examples are put into the streams of a simulation alone"),
            ("privacy.unit", self.privacy.unit, "example", "a canary is one example, and the unit is a whole person"),
            ("transcript", self.transcript, "full", "the audit of canaries reads all sums"),
        ):
            if value != needed:
                raise ValueError(
                    f"attacks.canaries = {self.attacks.canaries} beside {key} = {value!r}: {why}; set {key} = "
                    f"{needed!r}, or attacks.canaries = 0"
                )
        return self

    @model_validator(mode="after")
    def _attacks_need_the_transcript(self) -> Self:
        if self.attacks.enabled and self.transcript != "full":
            raise ValueError(
                "transcript = 'latest' records too little for attacks: set attacks.enabled = false beside it"
            )
        return self


if TYPE_CHECKING:
    Config = _Run
else:
    Config = create_model(
        "Config",
        __base__=_Run,
        __doc__="A whole run: `_Run` with the section of every strategy of the list under its name.",
        __module__=__name__,
        **{name: (type(entry.section), entry.section) for name, entry in ENTRIES.items()},
    )
