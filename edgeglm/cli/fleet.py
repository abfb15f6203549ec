"""The verbs of the fleet: ``edgeglm fleet ...``. One file a part; this is their table."""

from __future__ import annotations

import typer

from edgeglm.cli import fleet_broker, fleet_collect, fleet_simulate

fleet_app = typer.Typer(
    help="What boards in the field say: collect it, look at it, ask them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

fleet_app.command("broker")(fleet_broker.broker)
fleet_app.command("certificate")(fleet_broker.certificate)
fleet_app.command("revoke")(fleet_broker.revoke)
fleet_app.command("simulate")(fleet_simulate.simulate)
fleet_app.command("collect")(fleet_collect.collect)
