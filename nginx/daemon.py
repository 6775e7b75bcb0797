"""`dromos edge`: wires Consul, the loop, the proxy and the status endpoint together."""

import asyncio
from dataclasses import asdict

import click
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from consul_template_py.sources.consul import ConsulSettings
from consul_template_py.watch import Watcher
from daemonkit import lifecycle, logs
from daemonkit.health import Health
from daemonkit.http import Json, bind, serving, status_app
from nginx import names, process
from nginx.catalog import Catalog
from nginx.edge import Edge, TokenBucket
from nginx.errors import EdgeError, RefusedError
from nginx.layout import Layout, Listen, Tuning, listen_address
from nginx.metrics import collect
from nginx.model import Model
from nginx.nginx_conf import Surroundings
from nginx.routes import Policy
from nginx.settings import EdgeSettings
from nginx.targets.nginx_lua import NginxLua


@click.group(invoke_without_command=True)
@EdgeSettings.options()
@click.pass_context
def command(context: click.Context, /, **flags: object) -> None:
    """Nginx or HAProxy, pointed at the services that Consul knows."""
    settings = EdgeSettings.load(flags)
    context.obj = settings
    if context.invoked_subcommand is None:
        logs.configure(daemon="edge", level=settings.log_level, format=settings.log_format)
        lifecycle.run(lambda stop: run(settings, stop))


async def run(settings: EdgeSettings, stop: asyncio.Event) -> None:
    """Until `stop`. The proxy stays and carries traffic on: `nginx.process.stop` ends it."""
    health = Health(required=("consul", "proxy"))
    edge = Edge(
        target_of(settings), policy_of(settings), TokenBucket(settings.reload_interval, settings.reload_burst), health
    )
    consul = ConsulSettings.model_validate(
        {
            "address": settings.consul,
            "token": settings.consul_token or SecretStr(""),
            "max_connections": settings.consul_connections,
        }
    )

    async def status(_request: Request) -> Response:
        return Json(report(edge))

    app = status_app(health, HttpRoute("/status", status), registry=collect(edge))
    sock = bind(
        settings.daemon_host or settings.host,
        settings.daemon_port,
        what="the edge daemon",
        mend="choose another port with --daemon-port",
    )
    async with serving(app, sock), Watcher(consul) as watcher:
        await edge.run(Catalog(watcher, forget_after=settings.forget_after, on_change=edge.dirty.set), stop)


def target_of(settings: EdgeSettings) -> NginxLua:
    directory = settings.directory
    directory.mkdir(parents=True, exist_ok=True)
    status_host = settings.status_host or settings.host
    surroundings = Surroundings(
        Layout(directory, process.worker_user(directory), settings.access_log),
        Listen(
            http=listen_address(settings.host, settings.port),
            status=listen_address(status_host, settings.status_port),
            tls=listen_address(settings.host, settings.tls_port) if settings.tls_port else "",
            grpc=listen_address(settings.host, settings.grpc_port) if settings.grpc_port else "",
            stream_host=settings.host,
            trusted=tuple(_network(value) for value in settings.trusted_proxies),
        ),
        Tuning(
            workers=settings.workers,
            connections=settings.worker_connections,
            shutdown_timeout=round(settings.shutdown_timeout),
            table_memory=settings.table_memory,
            metrics_memory=settings.metrics_memory,
        ),
        modules=process.modules_directory(),
    )
    program = process.find_program(settings.nginx_program)
    return NginxLua(surroundings, program, soft_close=settings.soft_close)


def policy_of(settings: EdgeSettings) -> Policy:
    authorities = settings.directory / "authorities"
    found = [path.name for path in authorities.iterdir()] if authorities.is_dir() else []
    return Policy(
        groups=frozenset(settings.groups),
        expose_all=settings.expose_all,
        stream_ports=settings.stream_range,
        authorities=frozenset(found),
    )


def report(edge: Edge) -> dict[str, object]:
    """What the edge makes of Consul's services, and what it refused and why."""
    model: Model = edge.model
    return {
        "routes": [
            {"name": route.name, "hosts": route.hosts, "path": route.path, "service": route.service}
            for route in model.routes
        ],
        "streams": [
            {"protocol": stream.protocol, "port": stream.port, "service": stream.service} for stream in model.streams
        ],
        "services": {
            name: {"app": service.app, "endpoints": [asdict(endpoint) for endpoint in service.endpoints]}
            for name, service in model.services.items()
        },
        "refused": [asdict(refusal) for refusal in model.refusals],
        "applied_at": edge.applied_at,
        "reloads": edge.reloads,
    }


def _network(value: str) -> str:
    try:
        return names.network(value)
    except RefusedError as refused:
        raise EdgeError(f"--trusted-proxies: {refused}") from None


if __name__ == "__main__":
    command()
