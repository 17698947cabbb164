"""Folders of images: one example a file, labelled by the folder that it lies in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secure_fcl.data.dataset import Floats
from secure_fcl.data.errors import DataRefused
from secure_fcl.data.folder.layouts import left_out, place_of
from secure_fcl.data.folder.section import FolderSection
from secure_fcl.data.folder.stretches import Stretch
from secure_fcl.data.folder.tables import files_of

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
UNITS = "brightness, 0 to 1 (byte 255)"


def read_images(folder: Path, section: FolderSection, notes: list[str]) -> tuple[list[Stretch], list[str]]:
    """Return an image a stretch, and the clients where the layout names them.

    Raises:
        DataRefused: a file that is no image, or not of the declared size; names it.
    """
    found: list[Stretch] = []
    clients: set[str] = set()
    for path in files_of(folder, ENDINGS, notes):
        place = place_of(path, folder, section)
        clients |= {place.client} - {""}
        if not left_out(place):
            x = _pixels(path, section)
            found.append(
                Stretch(client=place.client, recording=place.recording, x=x[None], label=place.label, test=place.test)
            )
    return found, sorted(clients)


def _pixels(path: Path, section: FolderSection) -> Floats:
    """float32 (colours, height, width), 0 to 1."""
    from PIL import Image

    height, width = section.size
    try:
        with Image.open(path) as image:
            shown = image.convert("L" if section.colour == "grey" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow reports broken files as any of these.
        raise DataRefused(f"{path} is no readable image: {error}; replace it, or move it out") from error
    if shown.size != (width, height):
        if not section.resize:
            raise DataRefused(
                f"{path} has {shown.height} x {shown.width} pixels, not size = {list(section.size)}; declare "
                "resize = true, or another size"
            )
        shown = shown.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(shown, dtype=np.float32) / np.float32(255)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
