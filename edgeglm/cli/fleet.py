"""The verbs of the fleet: ``edgeglm fleet ...``. One file a part; this is their table."""

from __future__ import annotations

import typer

from edgeglm.cli import (
    fleet_asking,
    fleet_broker,
    fleet_collect,
    fleet_seeing,
    fleet_serve,
    fleet_simulate,
    fleet_top,
    fleet_twin,
    fleet_up,
)

fleet_app = typer.Typer(
    help="What boards in the field say: collect it, look at it, ask them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

fleet_app.command("up")(fleet_up.up)
fleet_app.command("broker")(fleet_broker.broker)
fleet_app.command("certificate")(fleet_broker.certificate)
fleet_app.command("revoke")(fleet_broker.revoke)
fleet_app.command("simulate")(fleet_simulate.simulate)
fleet_app.command("collect")(fleet_collect.collect)
fleet_app.command("compact")(fleet_collect.compact)
fleet_app.command("ls")(fleet_seeing.list_boards)
fleet_app.command("show")(fleet_seeing.show)
fleet_app.command("top")(fleet_top.top)
fleet_app.command("logs")(fleet_seeing.logs)
fleet_app.command("twin")(fleet_twin.twin)
fleet_app.command("export")(fleet_seeing.export)
fleet_app.command("poison")(fleet_seeing.poison)
fleet_app.command("serve")(fleet_serve.serve)
fleet_app.command("cmd")(fleet_asking.command)
fleet_app.command("forget")(fleet_seeing.forget)
