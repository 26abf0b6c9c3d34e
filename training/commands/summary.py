"""``cifar10net-train summary``."""

from __future__ import annotations

from dataclasses import asdict

import click

from training.commands.options import table as make_table
from training.commands.presentation import console, echo_object, examples, json_option
from training.evaluation.layer_table import layer_rows
from training.networks import NETWORKS


@click.command(epilog=examples("cifar10net-train summary", "cifar10net-train summary --network lenet --json"))
@click.option("--network", type=click.Choice(list(NETWORKS)), default="cifar10net", help="Architecture.")
@json_option
def summary(*, network: str, as_json: bool) -> None:
    """Print a network's layers.

    The table has shapes, parameters, multiply-adds and receptive fields.
    """
    rows = layer_rows(NETWORKS[network]())
    if as_json:
        echo_object({"network": network, "layers": [asdict(row) for row in rows]})
        return
    table = make_table(f"{network}: input 32x32x3")
    for title in ("layer", "output", "kernel", "stride", "padding"):
        table.add_column(title)
    for title in ("parameters", "multiply-\nadds", "receptive\nfield"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            "x".join(map(str, row.output)),
            *("" if value is None else str(value) for value in (row.kernel, row.stride, row.padding)),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            "all" if row.receptive_field is None else str(row.receptive_field),
        )
    table.add_section()
    totals = (sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows))
    table.add_row("total", "", "", "", "", f"{totals[0]:,}", f"{totals[1]:,}", "")
    console().print(table)
