import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fcl.config import Config, dump_config, load_config, load_tree, validate
from secure_fcl.errors import ConfigInvalid


def test_defaults_are_the_main_job() -> None:
    config = load_config()
    assert (config.data.name, config.scenario.clients, config.scenario.tasks) == ("hapt", 30, 6)
    assert config.rows == ("replay", "finetune", "class_sums")
    assert (config.replay.epsilon, config.finetune.epsilon, config.class_sums.epsilon) == (8.0, 8.0, 2.0)
    assert (config.protection, config.replay_noise, config.privacy.delta) == ("bfv", False, 1e-5)
    assert (config.training.q_current, config.training.q_memory, config.memory.keep) == (0.25, 0.05, 0.2)
    assert config == validate({})


def test_toml_round_trip(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    config = make_config("replay.noise=none", "replay.epsilon=inf", "scenario.class_order=[3, 1, 2]", "threads=2")
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert math.isinf(load_config(path).replay.epsilon)


@given(
    st.integers(0, 2**31 - 1),
    st.floats(1e-12, 0.999),
    st.sampled_from(["plain", "bfv", "mpc"]),
    st.lists(st.sampled_from(["replay", "finetune", "class_sums"]), min_size=1, unique=True),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_every_valid_configuration_survives_toml(
    seed: int, delta: float, protection: str, rows: list[str], folder: str
) -> None:
    tree = {
        "seed": seed,
        "protection": protection,
        "rows": rows,
        "privacy": {"delta": delta},
        "data": {"data_dir": folder},
    }
    config = validate(tree)
    import tomllib

    assert validate(tomllib.loads(dump_config(config))) == config


def test_settings_go_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('seed = 5\nprotection = "plain"\n[training]\nrounds = 7\n')
    config = load_config(path, ["training.rounds=9", "data.name=digits", 'scenario.partition = "iid"'])
    assert (config.seed, config.protection, config.training.rounds) == (5, "plain", 9)
    assert (config.data.name, config.scenario.partition) == ("digits", "iid")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed=8", 8),
        ("seed = 0x10", 16),
        ("class_sums.epsilon=0.5", 0.5),
        ("attacks.enabled=false", False),
        ("rows=[\"class_sums\", 'replay']", ("class_sums", "replay")),
        ("data.data_dir=/a b/c=d", "/a b/c=d"),
        ("data.data_dir=", ""),
        ("protection=mpc", "mpc"),
    ],
)
def test_setting_values(text: str, value: object) -> None:
    found: object = load_config(None, [text])
    for name in text.partition("=")[0].strip().split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("epsilon=8", "epsilon"),
        ("replay.epsilom=8", "replay.epsilom"),
        ("training.q_current=1.5", "training.q_current = 1.5"),
        ("training.q_current=0", "training.q_current = 0"),
        ("seed=-1", "seed = -1"),
        ("seed=1.5", "seed = 1.5"),
        ("privacy.delta=0", "privacy.delta = 0"),
        ("privacy.colluders=0", "privacy.colluders = 0"),
        ("protection=none", "protection = 'none'"),
        ("rows=[]", "rows"),
        ('rows=["replay","replay"]', "twice"),
        ('rows=["naive"]', "rows.0 = 'naive'"),
        ("replay.noise=central", "replay.noise = 'central'"),
        ("replay.noise=none", "epsilon = inf"),
        ("class_sums.noise=none", "class_sums"),
        ("replay.epsilon=inf", "noise = 'none'"),
        ("replay.epsilon=nan", "replay.epsilon"),
        ("replay.epsilon=0", "replay.epsilon = 0"),
        ("training.learning_rate=inf", "training.learning_rate = inf"),
        ("training.clipping_norm=inf", "training.clipping_norm = inf"),
        ("training.denominator=inf", "training.denominator = inf"),
        ("training.upload_clip=inf", "training.upload_clip = inf"),
        ("training.learning_rate=nan", "training.learning_rate"),
        ("scenario.alpha=inf", "scenario.alpha = inf"),
        ("scenario.holdout=1", "scenario.holdout = 1"),
        ("data=3", "data = 3"),
        ("data.name.x=3", "data.name.x=3"),
        ("training", "form a.b=c"),
        ("=3", "form a.b=c"),
        ("rows.x=1", "rows"),
    ],
)
def test_wrong_values_are_named(setting: str, named: str) -> None:
    settings = ["data.name=hapt", setting]
    with pytest.raises(ConfigInvalid) as caught:
        load_config(None, settings)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_moments_are_kept_only_where_there_are_some_and_all_layers_train() -> None:
    with pytest.raises(ConfigInvalid, match="plain SGD has none"):
        load_config(None, ["training.keep_moments=true"])
    adam = ["training.keep_moments=true", "training.optimizer=adam"]
    with pytest.raises(ConfigInvalid, match=r"compression\.trained = 'all'"):
        load_config(None, [*adam, "compression.trained=last"])
    assert load_config(None, adam).training.keep_moments


def test_no_noise_and_no_budget_belong_together() -> None:
    config = load_config(None, ["replay.epsilon=inf", "replay.noise=none"])
    assert math.isinf(config.replay.epsilon)


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe", b"seed = 1\nseed = 2"])
def test_files_that_are_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid, match=r"config\.toml cannot be read"):
        load_tree(path)


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"none\.toml does not exist"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(("count", "fits"), [(0, True), (1, False), (3, False), (4, True), (1000, True), (1001, False)])
def test_shadow_models_are_none_or_enough(count: int, fits: bool) -> None:
    if fits:
        assert validate({"attacks": {"shadows": count}}).attacks.shadows == count
    else:
        with pytest.raises(ConfigInvalid, match=rf"attacks\.shadows = {count}"):
            validate({"attacks": {"shadows": count}})


@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ("trainig.rounds=1", "training"),
        ("training.round=1", "training.rounds"),
        ("data.nam=hapt", "data.name"),
        ("finetune.epsilonn=1", "finetune.epsilon"),
    ],
)
def test_an_unknown_key_is_told_the_known_one_that_is_most_like_it(setting: str, near: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"did you mean '{near}'"):
        load_config(None, [setting])


def test_a_key_like_no_other_is_told_none() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(None, ["zzz=1"])
    assert "did you mean" not in str(caught.value)
