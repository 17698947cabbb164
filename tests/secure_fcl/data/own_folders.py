"""Folders of a user's own, made on the spot: one of every kind, small and whole, for tests to spoil."""

import io
import wave
from pathlib import Path

import numpy as np

from secure_fcl.data.idx import write_idx

TABLE = """
kind = "table"
classes = ["walk", "rest"]
units = "g"
channels = ["ax", "ay"]
time = "t"
label = "what"
rate = 10.0
window = 8
stride = 4
test_clients = ["cleo"]
"""
IDX = 'kind = "idx"\nclasses = ["3", "7", "40"]\n'
NPZ = 'kind = "npz"\nclasses = ["cat", "dog"]\nunits = "volts"\ntest_share = 0.4\n'
IMAGES = 'kind = "images"\nclasses = ["cat", "dog"]\nsize = [6, 5]\ncolour = "rgb"\nlayout = "split/label"\n'
WAV = 'kind = "wav"\nclasses = ["hum", "hiss"]\nchannels = ["mono"]\nrate = 100\nwindow = 16\nstride = 16\n'
WAV += 'layout = "client/label"\ntest_clients = ["cleo"]\n'


def rows(labels: str = "w" * 20 + "r" * 20, start: float = 0.0, step: float = 0.1) -> list[str]:
    """Lines of a CSV file: one letter of `labels` a row, w for walk and r for rest."""
    names = {"w": "walk", "r": "rest"}
    lines = ["t,ax,ay,what,note"]
    for i, letter in enumerate(labels):
        lines.append(f"{start + i * step:.3f},{0.1 * i:.3f},{-0.2 * i:.3f},{names.get(letter, letter)},x")
    return lines


def table(folder: Path) -> Path:
    """Three devices of 40 rows each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.toml").write_text(TABLE)
    for name in ("anna", "ben", "cleo"):
        (folder / f"{name}.csv").write_text("\n".join(rows()) + "\n")
    return folder


def idx(folder: Path) -> Path:
    """Six training and three test images of 4 by 5 pixels, labels 3, 7 and 40 (once)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.toml").write_text(IDX)
    for start, labels in (("train", [3, 7, 3, 7, 3, 40]), ("t10k", [3, 7, 3])):
        pixels = np.arange(20 * len(labels), dtype=np.uint8).reshape(-1, 4, 5)
        write_idx(pixels, folder / f"{start}-images-idx3-ubyte")
        write_idx(np.array(labels, dtype=np.uint8), folder / f"{start}-labels-idx1-ubyte.gz", compress=True)
    return folder


def npz(folder: Path, **changed: object) -> Path:
    """Twenty windows of 2 channels and 8 samples with labels in text, of four people."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.toml").write_text(NPZ)
    n = 20
    arrays: dict[str, object] = {
        "x": np.random.default_rng(0).standard_normal((n, 2, 8)).astype(np.float32),
        "y": np.array(["cat", "dog"] * 10),
        "client": np.array(["a", "b", "c", "d"] * 5),
    }
    np.savez(folder / "data.npz", **{k: v for k, v in (arrays | changed).items() if v is not None})  # type: ignore[arg-type]
    return folder


def images(folder: Path) -> Path:
    """Two cats and two dogs for training, one of each for testing, of 6 by 5 pixels in colour."""
    from PIL import Image

    for half, count in (("train", 2), ("test", 1)):
        for label in ("cat", "dog"):
            (folder / half / label).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = np.full((6, 5, 3), 40 * i + (100 if label == "dog" else 0), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / half / label / f"{i}.png")
    (folder / "data.toml").write_text(IMAGES)
    return folder


def sound(samples: int = 40, rate: int = 100, channels: int = 1) -> bytes:
    """A WAV file of 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.arange(samples * channels) * 300 % 30000).astype("<i2").tobytes())
    return content.getvalue()


def wav(folder: Path) -> Path:
    """Two people with a hum and a hiss each, of 40 readings."""
    for client in ("anna", "cleo"):
        for label in ("hum", "hiss"):
            (folder / client / label).mkdir(parents=True, exist_ok=True)
            (folder / client / label / "1.wav").write_bytes(sound())
    (folder / "data.toml").write_text(WAV)
    return folder
