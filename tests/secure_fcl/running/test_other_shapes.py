"""A data set of another shape, 3 channels and 128 samples of 9 people with labels in text, runs every strategy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import load_chosen
from secure_fcl.features.choice import feature_map
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare
from secure_fcl.strategies.catalogue import ENTRIES

SECRET = b"secret" * 6
#: Of the digits run below, as it was before there was a choice of source or features.
NOISE_KEY = "713e8faf4825341d1bbaeadad78aa7bc7d01ae4576817736500d287bb280ec5c"

RATE, WINDOW = 50, 128
WORDS = ("cycling", "on foot", "bus/tram", "résting")
PEOPLE = tuple(f"person {letter}" for letter in "abcdefghi")

FEATURES = """
import numpy as np

def levels(x):
    return np.concatenate([x.mean(axis=2), 100.0 * x.std(axis=2)], axis=1)

def breaks(x):
    # Real recordings have windows like these; no made-up input does.
    return np.full((1, 2), np.nan) if x.std() > 0.5 and x[0, 2].mean() > 0.15 else np.ones((1, 2))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One CSV file a person; the last class has one window in all, and one person has no row."""
    path = tmp_path_factory.mktemp("phones")
    rng = np.random.default_rng(3)
    for number, person in enumerate(PEOPLE):
        lines = ["t;x;y;z;doing"]
        clock = 0.0
        for turn, word in enumerate(WORDS[: 4 if number == 0 else 3]):
            if number == 8:
                continue
            for _ in range(1 if turn == 3 else 4):
                length = WINDOW if turn == 3 else 3 * WINDOW
                t = np.arange(length) / RATE
                wave = np.sin(2 * np.pi * (0.5 + 1.5 * turn) * t)[:, None] * (0.4 + 0.3 * turn)
                xyz = np.array([0.2, 0.9 - 0.3 * turn, 0.1 * turn]) + wave + 0.1 * rng.standard_normal((length, 3))
                lines += [
                    f"{clock + s:.3f};{a:.4f};{b:.4f};{c:.4f};{word}" for s, (a, b, c) in zip(t, xyz, strict=True)
                ]
                clock += length / RATE + 2.0
        (path / f"{person}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path / "data.toml").write_text(
        f'kind = "table"\nclasses = {list(WORDS)!r}\nunits = "g"\nchannels = ["x", "y", "z"]\ntime = "t"\n'
        f'label = "doing"\nrate = {RATE}\nwindow = {WINDOW}\nstride = 64\ndelimiter = ";"\n'
        'test_share = 0.4\ntest_by = "stretch"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def settings(folder: Path) -> tuple[str, ...]:
    return (
        "data.source=folder", f"data.data_dir={folder}", "scenario.partition=natural", "scenario.clients=9",
        "scenario.tasks=2", "training.rounds=1", "training.steps=1", "memory.keep=0.5",
    )  # fmt: skip


@pytest.fixture
def own_config(make_config: Callable[..., Config]) -> Callable[..., Config]:
    def made(*settings: str) -> Config:
        from secure_fcl.config import load_config

        common = ("privacy.max_dropouts=1", "attacks.enabled=false", "protection=plain", "workers=1")
        return load_config(None, [*common, *settings])

    return made


def run(config: Config, parent: Path) -> RunFolder:
    prepared = prepare(config)
    folder = RunFolder.create(parent, config, "run")
    with folder.locked():
        train(prepared, folder)
    return folder


def test_the_data_is_as_the_issue_has_it(own_config: Callable[..., Config], settings: tuple[str, ...]) -> None:
    data = load_chosen(own_config(*settings).data)
    assert (data.shape, len(data.clients), data.classes) == ((3, WINDOW), 9, WORDS)
    assert data.windows_per_reading == 2
    assert int((data.y == 3).sum()) == 1
    assert not (data.client == 8).any()


def finished(folder: RunFolder, rows: list[str]) -> None:
    certificate = (folder.path / "certificate.txt").read_text()
    assert all(name in certificate for name in rows)
    assert "a raw reading lies in up to 2 windows" in certificate
    assert (folder.path / "metrics.jsonl").read_text().count('"row"') > 0


def test_three_strategies_run_on_another_shape(
    own_config: Callable[..., Config], settings: tuple[str, ...], tmp_path: Path
) -> None:
    rows = ["replay", "class_sums", "calm"]
    finished(run(own_config(*settings, f"rows={rows}", "training.model=cnn"), tmp_path), rows)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["auto", "mlp"])
def test_every_strategy_runs_on_another_shape(
    model: str, own_config: Callable[..., Config], settings: tuple[str, ...], tmp_path: Path
) -> None:
    rows = list(ENTRIES)
    assert len(rows) == 26
    channels = sorted({channel for entry in ENTRIES.values() for channel in entry.channels})
    config = own_config(*settings, f"rows={rows}", f"training.model={model}", f"side_channels={channels}")
    finished(run(config, tmp_path), rows)


def test_features_of_ones_own_are_clipped_in_a_run_and_refused_on_a_device(
    own_config: Callable[..., Config], settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phone_features.py").write_text(FEATURES)
    rows = ("rows=[class_sums, calm]".replace("class_sums, calm", '"class_sums", "calm"'), "calm.variations=false")
    wide = (*settings, *rows, "class_sums.features=phone_features:levels", "calm.features=phone_features:levels")
    with pytest.warns(UserWarning, match="which is clipped to 1"):
        folder = run(own_config(*wide), tmp_path)
    assert "phone_features.py" in (folder.path / "certificate.txt").read_text()
    assert feature_map("phone_features:levels")(np.ones((2, 3, WINDOW))).shape == (2, 6)
    broken = own_config(*settings, 'rows=["class_sums"]', "class_sums.features=phone_features:breaks")
    prepared = prepare(broken)
    folder = RunFolder.create(tmp_path, broken, "broken")
    with folder.locked(), pytest.raises(Exception, match="gives an example NaN or an infinity, which no clipping"):
        train(prepared, folder)


def test_repeatable_noise_does_not_move_by_the_new_keys(make_config: Callable[..., Config]) -> None:
    prepared = prepare(make_config('rows=["class_sums"]'))
    other = prepare(make_config('rows=["class_sums"]', "class_sums.features=general"))
    assert prepared.noise_key(SECRET).hex() == NOISE_KEY
    assert other.noise_key(SECRET) != prepared.noise_key(SECRET)
