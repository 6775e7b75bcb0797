"""`dromos autoscale`: runs the rounds, and serves /health, /metrics and /journal."""

import asyncio
from dataclasses import asdict

import click
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from autoscale.api import Api
from autoscale.autoscaler import Autoscaler
from autoscale.commands import explain, replay
from autoscale.settings import AutoscaleSettings
from daemonkit import lifecycle, logs
from daemonkit.health import Health
from daemonkit.http import Json, bind, serving, status_app

JOURNAL_PAGE = 200


@click.group(invoke_without_command=True)
@AutoscaleSettings.options()
@click.pass_context
def command(context: click.Context, /, **flags: object) -> None:
    """Instance counts that follow the traffic. Without a command: run the daemon."""
    if context.invoked_subcommand:
        return
    logs.configure(daemon="autoscale")
    settings = AutoscaleSettings.load(flags)
    lifecycle.run(lambda stop: run(settings, stop))


command.add_command(explain)
command.add_command(replay)


async def run(settings: AutoscaleSettings, stop: asyncio.Event) -> None:
    health = Health(required=("metrics", "api", "state"))
    autoscaler = Autoscaler(settings, Api(settings.marathon, timeout=settings.timeout), health)

    async def journal(request: Request) -> Response:
        most = request.query_params.get("most", "")
        entries = autoscaler.journal.of(
            request.query_params.get("app"), most=int(most) if most.isdecimal() else JOURNAL_PAGE
        )
        return Json({"journal": [asdict(entry) for entry in entries]})

    async def step() -> None:
        await asyncio.to_thread(autoscaler.round)
        await lifecycle.sleep_or_stop(settings.interval, stop)

    sock = bind(settings.host, settings.port, what="the autoscaler", mend="choose another port with --port")
    async with serving(status_app(health, Route("/journal", journal)), sock):
        await lifecycle.keep_running("round", step, stop=stop)
