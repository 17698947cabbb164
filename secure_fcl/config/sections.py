"""The configuration sections that hold for every row: data, memory, training, compression, privacy, attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from secure_fcl.config.names import AttackedName, OwnName, PolicyName
from secure_fcl.config.outside import names_code
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.gradient.models import check_kind
from secure_fcl.strategies.section import Positive, Probability, Section


class Data(Section):
    """Which data set, and where files are looked for."""

    source: str = Field(
        "catalogue",
        description="catalogue: `name` says which; folder: files of your own in `data_dir`, declared by its data.toml; "
        "module:function: code of your own that returns a Dataset, arrays or a torch data set",
        json_schema_extra={"enum": ["catalogue", "folder", "module:function"]},
    )
    name: str = Field(
        "hapt",
        description="data set of the catalogue: see `secure-fcl data list`; or module:name of one of your own; empty "
        "with another source",
    )
    data_dir: str = Field("", description="folder of data files; empty: $SECURE_FCL_DATA, then the cache folder")
    unseen_persons: int = Field(
        0,
        ge=0,
        description="so many persons, drawn by the seed, never train; accuracy on their test examples is reported "
        "beside that on the persons who train",
    )

    @property
    def label(self) -> str:
        """What to call the data set before it is read."""
        return self.name or (Path(self.data_dir).name if self.source == "folder" else self.source)

    @model_validator(mode="before")
    @classmethod
    def _one_data_set(cls, tree: Any) -> Any:
        """Leave the name empty where the source is another one, so that a written configuration reads back."""
        if not isinstance(tree, dict) or tree.get("source", "catalogue") == "catalogue":
            return tree
        if tree.get("name"):
            raise ValueError(
                f"source = {tree['source']!r} and name = {tree['name']!r} are two data sets; leave out one"
            )
        return {**tree, "name": ""}

    @model_validator(mode="after")
    def _source_is_one(self) -> Self:
        if self.source == "catalogue":
            if not self.name:
                raise ValueError("name = '' names no data set; see `secure-fcl data list`")
        elif self.source == "folder":
            if not self.data_dir:
                raise ValueError("source = 'folder' needs data_dir: name the folder that holds data.toml")
        elif not names_code(self.source):
            raise ValueError(f"source = {self.source!r} is none of catalogue, folder and module:function; use one")
        elif self.data_dir:
            raise ValueError(f"data_dir = {self.data_dir!r} means nothing to source = {self.source!r}; leave it out")
        return self


class Memory(Section):
    """The replay memory."""

    policy: PolicyName = Field(
        "threshold",
        description="threshold: independent coins; herding: class-balanced, NON-PRIVATE; or module:name of one of your "
        "own",
    )
    keep: Probability = Field(0.2, description="probability of keeping an item; falls when the budget demands it")
    capacity: int = Field(136, ge=0, description="most examples in memory")


class Training(Section):
    """DP-SGD. Rates, steps and the denominator are public constants."""

    schedule: Literal["given", "planned", "written"] = Field(
        "given",
        description="given: rounds, steps, rates, step sizes, denominator and bounds are those below; planned: they "
        "follow by a rule from public numbers (examples, clients, budget, place of noise) and are left at their "
        "defaults; a model that is not chosen is then shown refined features; written: as a run's folder has what was "
        "planned",
    )
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
        "of tanh or relu units; or module:name of a function or class of your own",
    )
    replace_layers: bool = Field(
        False,
        description="whether layers of your own network that DP-SGD forbids are replaced, with their trained weights: "
        "BatchNorm by GroupNorm; false: they are refused by name",
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
    sends: Literal["gradient", "difference"] = Field(
        "gradient",
        description="what a client sends where the noise is shared: gradient: its clipped gradient sum, with which the "
        "server steps; difference: its whole model after `steps` steps of its own less the round's model, clipped as a "
        "whole (DP-FedAvg), for privacy.unit = 'person' alone; a step reads all of its current examples, and "
        "`momentum` is the server's",
    )
    keep_moments: bool = Field(
        False,
        description="a client's optimizer goes on where its last visit ended (not a surrogate's, and not with shared "
        "noise, where no client steps); its moments count as storage",
    )
    clipping_norm: Positive = Field(
        1.0,
        description="Euclidean norm to which an example's gradient is clipped; where the unit is a person, also its "
        "whole vector",
    )
    clipping: Literal["given", "learnt"] = Field(
        "given",
        description="learnt: the norm of a person's vector starts at clipping_norm and follows a private quantile of "
        "all persons' norms, which is charged (privacy.unit = 'person' alone); given: it stays",
    )
    clipping_target: float = Field(
        0.5, gt=0.0, lt=1.0, description="share of the persons whose norm a learnt one is to be above"
    )
    clipping_rate: Positive = Field(0.2, description="a learnt norm moves by a factor of at most exp of it in a round")
    clipping_share: float = Field(
        0.02, gt=0.0, lt=1.0, description="of a round's budget (of 1 / multiplier^2) for the count a norm is learnt by"
    )
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
            raise ValueError(str(error).removeprefix(f"training.model = {model!r}: ")) from None


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

    unit: Literal["example", "person"] = Field(
        "example",
        description="what a guarantee is about: example: one example; person: one client's whole stream over all "
        "tasks, with shared noise, for rows of sums and for gradients without a memory",
    )
    mechanism: Literal["independent", "tree"] = Field(
        "independent",
        description="how noise inside the sums of gradients is correlated: independent: every round has its own; tree: "
        "the rounds of a stream seen once share a binary tree's, so that the noise of their running total grows with "
        "the logarithm of the rounds (DP-FTRL); for rows with shared noise and training.q_current = 1",
    )
    delta: float = Field(
        1e-5, gt=0.0, lt=1.0, description="of every row's guarantee; overflow of the memory is taken out of it"
    )
    accountant: str = Field(
        "", description="whose epsilon is the guarantee: empty: PLD and RDP of secure-fcl; module:name: one of your own"
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
    row: AttackedName = Field("replay", description="the row that is attacked")
    own: tuple[OwnName, ...] = Field(
        (), description="attacks of your own, each as module:name, played beside ours where they pass their controls"
    )
    targets: int = Field(8, ge=2, le=200, description="examples that gradient inversion tries to rebuild")
    shadows: int = Field(
        0,
        ge=0,
        le=1000,
        description="shadow models for the strongest attacks, e.g. 24 (minutes); 0: none; else 4 or more",
    )
    canaries: int = Field(
        0,
        ge=0,
        le=10_000,
        description="declared canaries that go through the run itself, each in or out by a coin of its device",
    )
    over_rounds: int = Field(
        0,
        ge=0,
        le=5000,
        description="examples that membership over rounds asks about, from every released sum, e.g. 400; 0: not played",
    )
    inversion_steps: int = Field(250, ge=1, le=10_000, description="optimiser steps of gradient inversion")
    one_client_view: bool = Field(
        True, description="have one clear update of `client` written to a file marked simulation"
    )
    client: int = Field(0, ge=0, description="whose clear update the one-client view shows")

    @field_validator("shadows")
    @classmethod
    def _enough_to_compare(cls, shadows: int) -> int:
        if 0 < shadows < 4:
            raise ValueError("too few to compare with: use 0 for none, or at least 4")
        return shadows

    @field_validator("over_rounds")
    @classmethod
    def _enough_to_judge(cls, over_rounds: int) -> int:
        if 0 < over_rounds < 40:
            raise ValueError("too few to judge: use 0 for none, or at least 40")
        return over_rounds


class Flower(Section):
    """How engine = "flower" plays a run on one machine."""

    nodes: Literal["simulation", "own", "stock"] = Field(
        "simulation",
        description="simulation: Flower's, on Ray; own: SuperNodes, each beside a client process with code of its own; "
        "stock: SuperNodes that run the code that the server ships",
    )
    deadline: float = Field(
        120.0, gt=0.0, le=86_400.0, description="seconds after which a silent client is missing, training included"
    )
