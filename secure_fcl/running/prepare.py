"""A run checked before anything is written: scenario, rows with calibrated noise."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass

from crypto.keys.randomness import derive_key
from crypto.protocols.catalogue import require_protocol
from secure_fcl.config import Config
from secure_fcl.config.attacks import own_attacks
from secure_fcl.config.names import entry_of
from secure_fcl.config.outside import described, names_code
from secure_fcl.data import Dataset, load_chosen
from secure_fcl.engines.identities import check
from secure_fcl.errors import ConfigInvalid
from secure_fcl.features.own import own_features
from secure_fcl.rows.audited import viewed
from secure_fcl.rows.build import calibrated_row
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.rows.schedule import with_schedule
from secure_fcl.strategies import GradientStrategy
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.gradient.public_inputs import refuse_overlap
from secure_fcl.streams import Scenario, build_scenario

#: Keys that are younger than recorded runs, whose noise must stay what it was: left out of its key at their defaults.
_YOUNGER = (
    ("training", "replace_layers"), ("attacks", "own"), ("data", "source"), ("class_sums", "features"),
    ("scenario", "dropout"), ("scenario", "dropout_step"), ("privacy", "unit"),
    ("privacy", "accountant"), ("data", "unseen_persons"), ("training", "sends"), ("training", "clipping"),
    ("training", "clipping_target"), ("training", "clipping_rate"), ("training", "clipping_share"),
    ("attacks", "canaries"), ("attacks", "over_rounds"), ("privacy", "mechanism"),
)  # fmt: skip
_YOUNGER_STRATEGIES = ("cfed", "fedmas", "fedntd", "fedweit", "fedweit_safe", "scaffold")
_YOUNGER_OF_STRATEGIES = ("norm_bound", "close_norm_bound")
#: What a default was when runs were recorded: said in its place in the key of runs without that row, where it is idle.
_DEFAULTS_BEFORE = {"calm": {"features": "refined", "scatter_share": 0.1}}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run checked before anything is written: scenario, rows with calibrated noise."""

    config: Config
    scenario: Scenario
    rows: tuple[tuple[RowPlan, float], ...]

    @property
    def rounds(self) -> int:
        """Rounds of all rows."""
        return sum(plan.rounds for plan, _ in self.rows)

    def noise_key(self, secret: bytes) -> bytes:
        """Return the key of this run's repeatable noise.

        Runs that may differ in what they release get unrelated noise: with the same noise under two data sets or
        two settings, who sees both runs could subtract it. Protocol and workers change nothing that is released.
        """
        local = dict.fromkeys(("protection", "engine", "flower", "workers"), True)
        # The numbers of training are what is released from, not who wrote them.
        written = {"data": {"data_dir": True}, "training": {"schedule": True}}
        settings = self.config.model_dump(mode="json", exclude={**local, **written})
        for name, key in _YOUNGER:
            held = getattr(self.config, name)
            if getattr(held, key) == type(held).model_fields[key].default:
                del settings[name][key]
        for name in _YOUNGER_STRATEGIES:
            if self.config.section(name) == ENTRIES[name].section:
                del settings[name]
        for section in settings.values():
            for key in _YOUNGER_OF_STRATEGIES if isinstance(section, dict) else ():
                if section.get(key) == 0.0:
                    del section[key]
        for row, before in _DEFAULTS_BEFORE.items():
            fields = type(self.config.section(row)).model_fields
            for key, value in before.items():
                if row not in self.config.rows and settings[row][key] == fields[key].default:
                    settings[row][key] = value
        # Other code under the same name may release something else.
        code = [f"{one.reference} {one.digest}" for one in described(settings)]
        return derive_key(secret, "run", self.scenario.digest, json.dumps(settings, sort_keys=True), *code)


def prepare(config: Config, data: Dataset | None = None) -> Prepared:
    """Check everything that can be checked before a run: data, scenario, budgets, storage, overflow, backend.

    `data`: what the configuration names, where it is at hand already; else it is loaded.

    Raises:
        SecureFclError, privacy.PrivacyError, crypto.CryptoError: the first thing that cannot work, in one sentence.
    """
    require_protocol(config.protection)
    return prepare_scenario(config, build_scenario(data or load_chosen(config.data), config))


def prepare_deployed(config: Config, scenario: Scenario) -> Prepared:
    """Check what a deployment's server can check before a run: it has the calendar and the test set, no more.

    Raises:
        ConfigInvalid: the attacks, which read training data, are on, canaries are declared, or `identities` names no
            roster.
        SecureFclError, privacy.PrivacyError, crypto.CryptoError: as `prepare`.
    """
    if config.attacks.enabled:
        raise ConfigInvalid("attacks.enabled = true reads training data, which a server has not; set it to false")
    if config.attacks.canaries:
        raise ConfigInvalid(
            f"attacks.canaries = {config.attacks.canaries} puts made-up examples into the streams of a simulation, and "
            "these are people's devices; set it to 0"
        )
    if not config.identities:
        raise ConfigInvalid("identities = '' makes keys in a simulation alone; name the folder of a roster")
    return prepare_scenario(config, scenario)


def prepare_scenario(config: Config, scenario: Scenario) -> Prepared:
    """Check what follows from a scenario, whole or in part.

    Raises:
        SecureFclError, privacy.PrivacyError, crypto.CryptoError: as `prepare`.
    """
    require_protocol(config.protection)
    _check_device(config.device)
    config = with_schedule(config, scenario)
    wanted = config.attacks
    if wanted.enabled and wanted.one_client_view and wanted.client >= scenario.clients:
        raise ConfigInvalid(f"attacks.client = {wanted.client}: the clients are 0..{scenario.clients - 1}; choose one")
    if wanted.enabled and wanted.row in config.rows and not entry_of(wanted.row).attackable:
        raise ConfigInvalid(
            f"attacks.row = {wanted.row!r} cannot be attacked: it has no stream, or no model that all clients share; "
            "choose another, or set attacks.enabled = false"
        )
    if wanted.enabled and wanted.row in config.rows:
        own_attacks(wanted.own)
    rows = tuple(calibrated_row(config, scenario, name) for name in config.rows)
    _check_view(config, rows)
    for plan, _ in rows:
        _warn_of_features(plan)
        _refuse_known_inputs(plan, scenario)
        for slot in range(plan.scenario.slots):
            if slot == 0 or plan.clients_in(slot) != plan.clients_in(slot - 1):
                check(plan.secure_plan(slot), config.identities, config.server, everybody=config.engine == "local")
    return Prepared(config, scenario, rows)


def _check_view(config: Config, rows: tuple[tuple[RowPlan, float], ...]) -> None:
    """Refuse a one-client view of a client that is away when the view is taken."""
    wanted = config.attacks
    for plan, _ in rows:
        if viewed(plan) and plan.away(0, 0).get(wanted.client) == "upload":
            there = next(k for k in range(plan.scenario.clients) if plan.away(0, 0).get(k) != "upload")
            raise ConfigInvalid(
                f"attacks.client = {wanted.client} is away from the first round by scenario.dropout = "
                f"{config.scenario.dropout:g}, so there is no update to view; set attacks.client = {there}"
            )


def _refuse_known_inputs(plan: RowPlan, scenario: Scenario) -> None:
    """Hold public inputs to be no examples, of those at hand: all in a simulation, the test set at a server."""
    public = plan.strategy.public if isinstance(plan.strategy, GradientStrategy) else None
    if public is not None and public.held:
        refuse_overlap(f"{plan.name}.public", public, scenario.data.x, scenario.data.windows_per_reading)


def _warn_of_features(plan: RowPlan) -> None:
    """Warn of what features of the user's own make of made-up inputs; what they make of data, devices check."""
    named = "" if names_code(plan.name) else getattr(plan.config.section(plan.name), "features", "")
    if names_code(named):
        for doubt in dict.fromkeys(own_features(named).doubts(plan.scenario.data.shape)):
            warnings.warn(doubt, stacklevel=2)


def _check_device(name: str) -> None:
    import torch

    try:
        torch.zeros(1, device=name).cpu()
    # torch reports an absent device as RuntimeError, a build without it as AssertionError.
    except (RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigInvalid(f"device = {name!r} cannot be used ({reason}); set device = 'cpu'") from error
