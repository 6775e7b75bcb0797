"""`dromos edge`: wires Consul, the loop, the proxy and the status endpoint together."""

import asyncio
import gc
import sys
from functools import partial
from typing import Any

import click
import requests
from pydantic import SecretStr

from consul_template_py.guard import Guard
from consul_template_py.sources.consul import ConsulSettings
from consul_template_py.token_bucket import Rate
from consul_template_py.watch import Watcher
from daemonkit import lifecycle, logs
from daemonkit.errors import OperatorError
from daemonkit.health import Health
from daemonkit.http import bind, serving, status_app
from nginx import haproxy_process, keepalived, names, process, status
from nginx.catalog import Catalog
from nginx.certificates import Watch
from nginx.edge import Edge
from nginx.errors import EdgeError, RefusedError
from nginx.haproxy_conf import STAND_INS, UNSUPPORTED, HaproxySurroundings
from nginx.kept import Kept
from nginx.layout import Layout, Listen, Tuning, listen_address
from nginx.logfiles import Rotation
from nginx.metrics import collect
from nginx.nginx_conf import PLAIN_STAND_INS, Surroundings
from nginx.ports import Ports
from nginx.routes import Policy
from nginx.settings import EdgeSettings
from nginx.standby import Switchboard
from nginx.targets.base import Proxy
from nginx.targets.haproxy import Haproxy
from nginx.targets.nginx import Nginx
from nginx.targets.with_udp import WithUdp, beside, can_be_beside
from nginx.traffic import Traffic


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
    # Thousands of services are many objects that live long: collected as often as by default they would cost more than the changes.
    gc.set_threshold(100_000, 50, 100)
    sock = bind(
        settings.daemon_host or settings.host,
        settings.daemon_port,
        what="the edge daemon",
        mend="choose another port with --daemon-port",
    )
    health = Health(required=("consul", "proxy"))
    layout = layout_of(settings)
    proxy = proxy_of(settings, layout)
    switchboard = Switchboard(layout.switches)
    switchboard.load()
    log_files = (*layout.log_files, Layout(process.beside(layout.root)).error_log)
    edge = Edge(
        proxy,
        policy_of(settings, layout),
        switchboard,
        health,
        reloads=Rate(1 / settings.reload_interval, settings.reload_burst),
        reload_due=layout.reload_due,
        guard=Guard(max_drop_percent=settings.guard_drop, hold_down=settings.guard_hold),
        guard_from=settings.guard_from,
        ports=Ports(settings.host, proxy.pids),
        chores=[Rotation(log_files, settings.log_bytes, settings.log_files, proxy.reopen_logs)],
    )
    if settings.tls_port:
        edge.chores.append(Watch(layout.certificates, edge.take))
    edge.chores.append(OutOfCollections(edge))
    routes = status.routes(edge, switchboard, layout.token)
    if settings.target == "nginx" and layout.access_log:
        traffic = Traffic(layout.access_log)
        edge.chores.append(partial(status.look_at, traffic, edge))
        routes += status.traffic_routes(traffic)
    app = status_app(health, *routes, registry=collect(edge))
    kept = Kept(layout.kept)
    kept.load()
    async with serving(app, sock), Watcher(consul_of(settings)) as watcher:
        catalog = Catalog(watcher, forget_after=settings.forget_after, kept=kept, on_change=edge.dirty.set)
        await edge.run(catalog, stop)


class OutOfCollections:
    """What was there at the beginning is there to the end, or goes by its count: half a million objects that no collection need look at."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._done = False  # to ask the collector takes as long as a collection

    async def __call__(self) -> None:
        if self._edge.model.services and not self._done:
            gc.freeze()
            self._done = True


def consul_of(settings: EdgeSettings) -> ConsulSettings:
    return ConsulSettings.model_validate(
        {
            "address": settings.consul,
            "token": settings.consul_token or SecretStr(""),
            "max_connections": settings.consul_connections,
        }
    )


def layout_of(settings: EdgeSettings) -> Layout:
    directory = settings.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"{directory} cannot be made: {error.strerror}; choose another with --state-dir") from None
    return Layout(directory, process.worker_user(directory), settings.access_log)


def proxy_of(settings: EdgeSettings, layout: Layout) -> Proxy:
    listen = Listen(
        http=listen_address(settings.host, settings.port),
        status=listen_address(settings.status_host or settings.host, settings.status_port),
        tls=listen_address(settings.host, settings.tls_port) if settings.tls_port else "",
        grpc=listen_address(settings.host, settings.grpc_port) if settings.grpc_port else "",
        stream_host=settings.host,
        trusted=tuple(_network(value) for value in settings.trusted_proxies),
        numbers=listen_address(_local(settings.daemon_host or settings.host), settings.daemon_port)
        if settings.access_log
        else "",
    )
    tuning = Tuning(
        workers=settings.workers,
        connections=settings.worker_connections,
        shutdown_timeout=round(settings.shutdown_timeout),
        table_memory=settings.table_memory,
        metrics_memory=settings.metrics_memory,
    )
    if settings.target == "haproxy":
        program = haproxy_process.find_program(settings.haproxy_program)
        haproxy = Haproxy(HaproxySurroundings(layout, listen, tuning), program)
        if not can_be_beside(settings.nginx_program):
            return haproxy
        udp = beside(layout, listen, tuning, settings.nginx_program)
        return WithUdp(haproxy, udp, process.beside(layout.root))
    lua = settings.target == "nginx-lua"
    surroundings = Surroundings(layout, listen, tuning, lua, modules=process.modules_directory())
    program = process.find_program(settings.nginx_program, lua=lua)
    return Nginx(surroundings, program, soft_close=settings.soft_close)


def policy_of(settings: EdgeSettings, layout: Layout) -> Policy:
    haproxy_alone = settings.target == "haproxy" and not can_be_beside(settings.nginx_program)
    found = [path.name for path in layout.authorities.iterdir()] if layout.authorities.is_dir() else []
    return Policy(
        groups=frozenset(settings.groups),
        expose_all=settings.expose_all,
        stream_ports=settings.stream_range,
        authorities=frozenset(found),
        one_authority=settings.target == "haproxy",
        unsupported=UNSUPPORTED if haproxy_alone else {},
        stand_ins={"haproxy": STAND_INS, "nginx": PLAIN_STAND_INS}.get(settings.target, {}),
    )


@command.command()
@click.argument("route")
@click.argument("position", type=click.Choice(["standby", "own", "auto"]), default="standby")
@click.pass_obj
def switch(settings: EdgeSettings, route: str, position: str) -> None:
    """Lets the standby of ROUTE answer (standby), the service itself (own), or whoever has instances (auto).

    ROUTE is a service, a host, or a host and path. The standby is named by the label DROMOS_EDGE_STANDBY.
    """
    answer = _ask(settings, "POST", "/switch", {"route": route, "position": position})
    said = {"standby": "is answered by its standby", "own": "answers itself", "auto": "is watched again"}
    print(f"{answer['service']} {said[position]}")


@command.command()
@click.pass_obj
def routes(settings: EdgeSettings) -> None:
    """Lists the routes of the running edge, and what it refused."""
    report = _ask(settings, "GET", "/status")
    for route in report["routes"]:
        for host in route["hosts"] or ["*"]:
            print(f"{host}{route['path']}  ->  {route['service']}")
    for stream in report["streams"]:
        print(f"{stream['protocol']} {stream['port']}  ->  {stream['service']}")
    for refusal in report["refused"]:
        print(f"refused: {refusal['service']}: {refusal['what']}: {refusal['why']}")


@command.command("keepalived")
@click.option("--interface", required=True, help="the network interface that carries the shared address")
@click.option("--address", "addresses", multiple=True, required=True, help="a shared address, such as 10.0.0.10/24")
@click.option(
    "--priority", type=int, default=100, show_default=True, help="who begins with the address: the higher one"
)
@click.option("--router", type=int, default=51, show_default=True, help="the pair's number in its network, 1 to 255")
@click.option("--interval", type=float, default=1.0, show_default=True, help="seconds between advertisements")
@click.option("--source", default="", help="this edge's own address, where there are peers")
@click.option("--peer", "peers", multiple=True, help="the other edge's address; without any, multicast is used")
@click.pass_obj
def print_keepalived(settings: EdgeSettings, /, **pair: Any) -> None:
    """Prints keepalived.conf for one of two edges that share an address."""
    local = _local(settings.status_host or settings.host)
    try:
        print(keepalived.render(keepalived.Pair(**pair, status_host=local, status_port=settings.status_port)), end="")
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _ask(settings: EdgeSettings, method: str, path: str, body: object = None) -> dict[str, list[dict[str, str]]]:
    """The running daemon's answer. Ends the process with one line where there is none."""
    try:
        url = f"http://{listen_address(settings.daemon_host or settings.host, settings.daemon_port)}{path}"
        token = Layout(settings.directory).token
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
        answer = requests.request(method, url, json=body, headers=headers, timeout=10)
        found: dict[str, list[dict[str, str]]] = answer.json()
        if answer.status_code != 200:
            raise EdgeError(str(found.get("message", f"{url} answered {answer.status_code}")))
        return found
    except requests.RequestException:
        failure: OperatorError = EdgeError(f"the edge daemon does not answer at {url}; is `dromos edge` running?")
    except (OperatorError, OSError) as error:
        failure = EdgeError(str(error))
    print(f"error: {failure}", file=sys.stderr)
    sys.exit(failure.exit_code)


def _local(host: str) -> str:
    """Where this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _network(value: str) -> str:
    try:
        return names.network(value)
    except RefusedError as refused:
        raise EdgeError(f"--trusted-proxies: {refused}") from None


if __name__ == "__main__":
    command()
