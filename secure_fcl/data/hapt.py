"""HAPT: thirty people, twelve activities, one phone at the waist; shipped with the package.

Smartphone-Based Recognition of Human Activities and Postural Transitions (Reyes-Ortiz, Anguita, Oneto and
Parra, UCI Machine Learning Repository, 2015, CC BY 4.0), averaged to 25 Hz and cut into runs of one label;
see HAPT_LICENSE.md beside the file. Every volunteer performed the protocol twice: the first session is for
training, the later ones for testing, so a test window is always later than everything that was trained on.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secure_fcl.data.dataset import Dataset
from secure_fcl.data.errors import DataDamaged, DataMissing

PATH = Path(__file__).with_name("hapt.npz")
SHA256 = "d35f771a3d32846d6f123155d57e4025d483540516c810565d6601af63cfd69f"
SIZE = 3_565_222

RATE_HZ = 25.0
WINDOW = 64
STRIDE = 32
GYRO_UNIT = 2.0
"""rad/s per unit of the gyroscope channels: the order of a trunk's peak rotation when its owner sits down."""

CLASSES = (
    "walking", "upstairs", "downstairs", "sitting", "standing", "laying",
    "stand-to-sit", "sit-to-stand", "sit-to-lie", "lie-to-sit", "stand-to-lie", "lie-to-stand",
)  # fmt: skip
SOURCE = (
    "Reyes-Ortiz, Anguita, Oneto, Parra: Smartphone-Based Recognition of Human Activities and Postural "
    "Transitions, UCI Machine Learning Repository, 2015, https://doi.org/10.24432/C54G7M, CC BY 4.0"
)
_ACC_STEPS_PER_G = 8192.0
_GYRO_STEPS_PER_RAD_S = 4096.0


def load_hapt(path: Path | None = None) -> Dataset:
    """Read HAPT and cut it into windows of 64 samples (2.56 s) with stride 32 inside each run.

    Args:
        path: Another copy of the shipped file.

    Returns:
        10,929 windows: x float32 (n, 6, 64), channels acc x y z in g and gyro x y z in `GYRO_UNIT` rad/s;
        client 0..29 is volunteer 1..30; session 1 (5,569 windows) is `train`, sessions 2 and 3 (5,360) are
        `test`. Neighbouring windows share half their samples, so one reading lies in up to two of them.

    Raises:
        DataMissing: the file is not there.
        DataDamaged: its sha256 is not the shipped one's.
    """
    source = PATH if path is None else path
    arrays = _read(source)
    starts = arrays["segment_start"].astype(np.int64)
    stops = np.append(starts[1:], len(arrays["signal"]))
    counts = np.maximum(0, (stops - starts - WINDOW) // STRIDE + 1)
    run = np.repeat(np.arange(len(starts)), counts)
    position = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = (starts[run] + position * STRIDE)[:, None] + np.arange(WINDOW)
    gyro = _GYRO_STEPS_PER_RAD_S * GYRO_UNIT
    scale = np.array([_ACC_STEPS_PER_G] * 3 + [gyro] * 3, dtype=np.float32)
    signal = arrays["signal"].astype(np.float32) / scale
    session = arrays["segment_session"].astype(np.int64)[run]
    return Dataset(
        name="hapt",
        x=np.ascontiguousarray(signal[rows].transpose(0, 2, 1)),
        y=arrays["segment_label"].astype(np.int64)[run] - 1,
        client=arrays["segment_subject"].astype(np.int64)[run] - 1,
        session=session,
        run=run,
        position=position,
        train=session == 1,
        test=session > 1,
        classes=CLASSES,
        units=f"acceleration in g, rotation in {GYRO_UNIT:g} rad/s",
        windows_per_reading=-(-WINDOW // STRIDE),
        source=SOURCE,
    )


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataMissing(
            f"HAPT is shipped with the package but {path} is not there (sha256 {SHA256}); install the package again"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise DataDamaged(f"{path} is damaged: sha256 {found} instead of {SHA256}; install the package again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataDamaged(f"{path} cannot be read: {error}") from error
