"""What one sum of many clients costs under every protocol, as a terminal table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from secure_fcl.forecast.populations import Population


def show_populations(file: Path | None, settings: Sequence[str], clients: int, as_json: bool) -> None:
    """Print bytes, CPU and dropouts of a sum of the first row's upload under every protocol.

    Raises:
        SecureFclError, PrivacyError, CryptoError: the configuration itself cannot run.
    """
    from rich.console import Console

    from crypto.protocols.catalogue import ENTRIES
    from evaluation.strict_json import to_json
    from secure_fcl.cli.tables import print_table
    from secure_fcl.config import load_config
    from secure_fcl.data import load_chosen
    from secure_fcl.forecast.populations import population
    from secure_fcl.rows.build import calibrated_row
    from secure_fcl.rows.schedule import with_schedule
    from secure_fcl.streams import build_scenario

    config = load_config(file, settings)
    scenario = build_scenario(load_chosen(config.data), config)
    row, _ = calibrated_row(with_schedule(config, scenario), scenario, config.rows[0])
    upload = row.secure_plan().uploads[0]
    found = [population(name, clients, upload, row.rounds) for name in ENTRIES]
    if as_json:
        protocols = [asdict(one) for one in found]
        typer.echo(to_json({"row": row.name, "length": upload.length, "protocols": protocols}, indent=2))
        return
    console = Console()
    print_table(
        console, f"One sum of {clients:,} clients, {upload.length:,} entries each ({row.name})",
        ("protection", "dropouts", "client sends", "client CPU", "others CPU", "model's error", "takes at least"),
        [(one.protocol, *_cells(one)) for one in found],
        text_columns=1,
    )  # fmt: skip
    for one in found:
        if one.refused is not None:
            console.print(f"refused, {one.protocol}: {one.refused}", style="dim", highlight=False, markup=False)


def _cells(one: Population) -> tuple[str, ...]:
    if one.client_bytes is None or one.client_s is None or one.others_s is None or one.error is None:
        return ("refused", "-", "-", "-", "-", f"{one.most:,}")
    seconds = [f"{value:.3g} s" for value in (one.client_s, one.others_s)]
    return (f"{one.dropouts:,}", f"{one.client_bytes / 1e3:,.1f} kB", *seconds, f"{100 * one.error:.0f} %", "-")
