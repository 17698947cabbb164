"""WAV files, cut into windows, labelled by the folder that they lie in."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from secure_fcl.data.dataset import Floats
from secure_fcl.data.errors import DataRefused
from secure_fcl.data.folder.layouts import left_out, place_of
from secure_fcl.data.folder.section import FolderSection
from secure_fcl.data.folder.stretches import Stretch, windows
from secure_fcl.data.folder.tables import files_of

ENDINGS = (".wav",)
UNITS = "amplitude, -1 to 1 (full scale)"


def read_wav(folder: Path, section: FolderSection, notes: list[str]) -> tuple[list[Stretch], list[str]]:
    """Return a file a stretch, and the clients where the layout names them.

    Raises:
        DataRefused: a file that is no WAV file, or has another rate or number of channels; names it.
    """
    found: list[Stretch] = []
    clients: set[str] = set()
    for path in files_of(folder, ENDINGS, notes):
        place = place_of(path, folder, section)
        clients |= {place.client} - {""}
        if left_out(place):
            continue
        signal = _amplitudes(path, section)
        x = windows(signal, section.window, section.step)
        if not len(x):
            notes.append(f"{path}: its {len(signal)} readings are fewer than a window; left out")
            continue
        found.append(Stretch(client=place.client, recording=place.recording, x=x, label=place.label, test=place.test))
    return found, sorted(clients)


def _amplitudes(path: Path, section: FolderSection) -> Floats:
    """float32 (readings, channels), whole numbers divided by full scale, which follows from their type alone."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # Chunks that it does not know (names of artists) are no fault of the sound.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, values = wavfile.read(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataRefused(f"{path} is no readable WAV file: {error}; replace it, or move it out") from error
    except Exception as error:
        # scipy reports some broken headers as struct.error, TypeError or UnboundLocalError.
        raise DataRefused(f"{path} is no readable WAV file ({type(error).__name__}); replace it") from error
    if rate != section.rate:
        raise DataRefused(f"{path} has {rate} readings a second, not rate = {section.rate:g}; resample it")
    signal = values[:, None] if values.ndim == 1 else values
    if signal.shape[1] != len(section.channels):
        raise DataRefused(
            f"{path} has {signal.shape[1]} channels, and {len(section.channels)} are declared; mix it, or declare them"
        )
    if signal.dtype == np.uint8:
        return np.asarray((signal.astype(np.float32) - 128) / 128, dtype=np.float32)
    if signal.dtype.kind == "i":
        return np.asarray(signal / -float(np.iinfo(signal.dtype).min), dtype=np.float32)
    out: Floats = signal.astype(np.float32)
    if not np.isfinite(out).all():
        row = int((~np.isfinite(out)).any(axis=1).argmax())
        raise DataRefused(f"{path} reading {row + 1} is no finite number; mend the file, or move it out")
    return out
