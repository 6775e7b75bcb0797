"""`dromos registrator`: wires the sources, the loop and the status endpoint together."""

import asyncio
import base64
import gc
import sys
from collections.abc import Iterator

import click
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemonkit import lifecycle, logs
from daemonkit.errors import OperatorError, SettingsError
from daemonkit.goflags import GoFlagsCommand
from daemonkit.health import Health
from daemonkit.http import Json, bind, serving, status_app
from registrator.apply import Applier
from registrator.checks import CheckPolicy
from registrator.cleanup import Cleanup
from registrator.consul import Consul
from registrator.diff import Limits
from registrator.errors import ConsulError
from registrator.host_address import HostAddress
from registrator.merge import Patience
from registrator.metrics import Metrics
from registrator.naming import Naming
from registrator.observe import Observer
from registrator.settings import RegistratorSettings, consul_of_registry
from registrator.sources.base import Source
from registrator.sources.framework import FrameworkSource
from registrator.sources.mesos import MesosSource
from registrator.sources.mesos_agent import MesosAgentSource
from registrator.sync import Sync

log = logs.get_logger(__name__)


@click.command(cls=GoFlagsCommand)
@RegistratorSettings.options()
@click.argument("registry", required=False)
def command(registry: str | None, **flags: object) -> None:
    """Containers and tasks, registered in Consul.

    REGISTRY, as in registrator, is consul://HOST:PORT: Docker's containers are then registered there.
    """
    # Large answers are made of many small objects that no cycle binds; looking for cycles in them costs more than reading them.
    gc.set_threshold(100_000, 50, 50)
    try:
        if registry is not None:
            flags = {**flags, "consul": consul_of_registry(registry), "sources": flags["sources"] or ("docker",)}
        settings = RegistratorSettings.load(flags)
    except SettingsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    logs.configure(daemon="registrator", level=settings.log_level, format=settings.log_format)
    lifecycle.run(lambda stop: run(settings, stop))


async def run(settings: RegistratorSettings, stop: asyncio.Event) -> None:
    """Until `stop`. What is registered stays: a registrator that is stopped takes no traffic away."""
    health = Health(required=("consul", *settings.used_sources))
    metrics = Metrics()
    consul = Consul(
        settings.consul,
        token=settings.consul_token.get_secret_value() if settings.consul_token else None,
        timeout=settings.timeout,
        concurrency=settings.write_concurrency,
    )
    observer = Observer(list(sources_of(settings, consul)), resync=settings.resync, metrics=metrics, health=health)
    sync = Sync(
        observer,
        Applier(consul, verify=settings.verify, metrics=metrics),
        naming=naming_of(settings),
        limits=Limits(
            settings.confirm_after,
            settings.empty_hold,
            float(settings.removal_burst),
            settings.removal_rate,
            settings.cleanup,
        ),
        patience=Patience(settings.framework_grace, settings.unreachable_hold),
        debounce=settings.debounce,
        metrics=metrics,
        health=health,
    )

    async def status(_request: Request) -> Response:
        return Json(sync.status())

    sock = bind(settings.host, settings.port, what="the registrator", mend="choose another port with --port")
    try:
        await _reach(consul, settings, stop)
        async with (
            serving(status_app(health, Route("/status", status), registry=metrics.registry), sock),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(sync.run(stop), name="sync")
            if settings.cleanup and settings.cleanup_after:
                cleanup = Cleanup(consul, settings.owner, after=settings.cleanup_after, metrics=metrics)
                tasks.create_task(cleanup.run(stop), name="cleanup")
    finally:
        await observer.close()
        await consul.close()


async def _reach(consul: Consul, settings: RegistratorSettings, stop: asyncio.Event) -> None:
    """Waits for Consul as often as `retry_attempts` says; without a bound the loop itself will. Raises OperatorError."""
    for attempt in range(settings.retry_attempts + 1):
        if attempt and await lifecycle.sleep_or_stop(settings.retry_interval, stop):
            return
        try:
            await consul.leader()
            return
        except ConsulError as error:
            log.warning("Consul does not answer at the start", attempt=attempt + 1, error=str(error))
            why = str(error)
    if settings.retry_attempts >= 0:
        raise OperatorError(f"{why}; given up after {settings.retry_attempts + 1} attempts (--retry-attempts)")


def sources_of(settings: RegistratorSettings, consul: Consul) -> Iterator[Source]:
    if "mesos" in settings.used_sources and settings.mesos_agent:
        yield MesosAgentSource(
            settings.mesos_agent,
            timeout=settings.timeout,
            poll=settings.poll,
            most_ended=settings.remembered,
            max_bytes=settings.max_answer_bytes,
            headers=_authorization(settings.mesos_credentials),
        )
    elif "mesos" in settings.used_sources:
        yield MesosSource(
            settings.mesos,
            timeout=settings.timeout,
            resubscribe=settings.resync,
            poll=settings.poll,
            most_ended=settings.remembered,
            max_bytes=settings.max_answer_bytes,
            headers=_authorization(settings.mesos_credentials),
        )
    if "framework" in settings.used_sources:
        yield FrameworkSource(
            settings.marathon,
            timeout=settings.timeout,
            silence=max(60.0, settings.resync),
            most_ended=settings.remembered,
            most_versions=settings.remembered,
            max_bytes=settings.max_answer_bytes,
            headers=_authorization(settings.marathon_credentials),
        )

    if "docker" in settings.used_sources:
        # Its library costs time and memory that only those who use it are to pay.
        from registrator.sources.docker import DockerSource

        yield DockerSource(
            settings.docker_host,
            all_containers=settings.all_containers,
            host_address=HostAddress(consul, settings.ip).find,
            networks=settings.network,
            ipv6=settings.ip_version == "6",
            timeout=settings.timeout,
            reinspect=settings.resync,
            stopping_hold=settings.stopping_hold,
            most_ended=settings.remembered,
            keep_failed=settings.deregister == "on-success",
        )


def naming_of(settings: RegistratorSettings) -> Naming:
    return Naming(
        owner=settings.owner,
        separator=settings.separator,
        explicit=settings.explicit,
        internal=settings.internal,
        ip=settings.ip,
        tags=settings.tags,
        checks=CheckPolicy(settings.tcp_check_interval, settings.tcp_check_timeout, settings.ttl, settings.ttl_refresh),
    )


def _authorization(credentials: SecretStr | None) -> dict[str, str]:
    """The header of `name:secret`; none without credentials."""
    if credentials is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(credentials.get_secret_value().encode()).decode()}"}


if __name__ == "__main__":
    command()
