"""`dromos consul`: the embedded Consul as a daemon."""

import asyncio

import click

from daemonkit import lifecycle, logs
from embedded.consul.server import serving
from embedded.consul.settings import ConsulSettings

log = logs.get_logger(__name__)


@click.command("consul")
@ConsulSettings.options()
def command(**flags: object) -> None:
    """A Consul for one machine: it speaks the HTTP API of Consul 1.8."""

    async def main(stop: asyncio.Event) -> None:
        settings = ConsulSettings.load(flags)
        logs.configure(daemon="consul", level=settings.log_level, format=settings.log_format)
        async with serving(settings) as server:
            log.info("ready", url=server.url, state_dir=str(settings.state_dir))
            await stop.wait()

    lifecycle.run(main)


if __name__ == "__main__":
    command()
