"""Data sets from a folder of one's own: IDX, CSV, Parquet, npz, images and WAV files, declared in data.toml."""

from __future__ import annotations
