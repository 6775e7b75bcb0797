"""`dromos autoscale`: runs the rounds, and serves the page, /health, /metrics and what the page is made of."""

import asyncio
import contextlib
import time

import click

from autoscale.api import Api
from autoscale.autoscaler import Autoscaler
from autoscale.commands import explain, policy, replay
from autoscale.errors import AutoscaleError, LockError, PolicyError
from autoscale.leader import Lock
from autoscale.page import routes
from autoscale.settings import AutoscaleSettings
from daemonkit import lifecycle, logs
from daemonkit.addresses import without_credentials
from daemonkit.errors import OperatorError
from daemonkit.health import Health, tell_log
from daemonkit.http import bind, serving, status_app
from daemonkit.logs import get_logger

log = get_logger(__name__)


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
command.add_command(policy)


async def run(settings: AutoscaleSettings, stop: asyncio.Event) -> None:
    health = Health(required=("metrics", "api", "state", *(["lock"] if settings.consul else [])), told=tell_log)
    api = Api(settings.marathon, timeout=settings.timeout, credentials=settings.credentials.get_secret_value())
    lock = _lock(settings) if settings.consul else None
    try:
        autoscaler = Autoscaler(settings, api, health, lock=lock)
    except (PolicyError, ValueError) as error:
        raise OperatorError(str(error)) from None
    for note in autoscaler.policies.notes:
        log.warning("policy file", note=note)

    async def step() -> None:
        began = time.monotonic()
        await asyncio.to_thread(autoscaler.round)
        # What a round takes is part of the interval; after a long one neighbours get a rest all the same.
        rest = settings.interval - (time.monotonic() - began)
        await lifecycle.sleep_or_stop(max(rest, settings.interval / 2), stop)

    sock = bind(settings.host, settings.port, what="the autoscaler", mend="choose another port with --port")
    async with serving(status_app(health, *routes(autoscaler)), sock):
        log.info(
            "serving",
            url=f"http://{settings.host}:{sock.getsockname()[1]}/",
            api=without_credentials(settings.marathon),
            edges=[without_credentials(edge) for edge in settings.edge],
            acts=not (settings.dry_run or settings.shadow),
        )
        holding = asyncio.create_task(_hold(lock, health, stop)) if lock else None
        try:
            await lifecycle.keep_running("round", step, stop=stop)
        finally:
            await asyncio.to_thread(autoscaler.save, autoscaler.clock())
            await asyncio.to_thread(autoscaler.save_charts, autoscaler.clock())
            autoscaler.inputs.close()
            autoscaler.journal.close()
            if holding:
                await holding


def _lock(settings: AutoscaleSettings) -> Lock:
    url = settings.consul if "://" in settings.consul else f"http://{settings.consul}"
    token = settings.consul_token.get_secret_value()
    return Lock(url, key=settings.lock, ttl=settings.lock_ttl, timeout=settings.timeout, token=token)


async def _hold(lock: Lock, health: Health, stop: asyncio.Event) -> None:
    """Takes and renews the lock until the end, and gives it back then."""
    led = False
    while not stop.is_set():
        try:
            await asyncio.to_thread(lock.hold)
            health.ok("lock", "leads" if lock.held else "another one leads")
        except LockError as error:
            health.failing("lock", str(error))
        if lock.held != led:
            led = lock.held
            log.info("leads" if led else "does not lead any more")
        await lifecycle.sleep_or_stop(lock.renew_every, stop)
    with contextlib.suppress(AutoscaleError):
        await asyncio.to_thread(lock.release)


if __name__ == "__main__":
    command()
