"""The framework's daemon: wires store, engine, Mesos, health probes and API together; nothing else does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import click
from prometheus_client import REGISTRY

from daemonkit import lifecycle, logs
from daemonkit.errors import OperatorError
from daemonkit.garbage import SWEEP_SECONDS, Garbage
from daemonkit.health import Health
from daemonkit.http import bind, serving
from daemonkit.stalls import StallWatch
from framework.api.server import make_app
from framework.engine.bus import Bus
from framework.engine.loop import Engine
from framework.health.drain_watch import DrainWatch
from framework.health.prober import HealthProber
from framework.leader.single import SingleNode
from framework.leader.zookeeper import ElectedNode
from framework.mesos.scheduler import MesosScheduler
from framework.metrics import EngineMetrics
from framework.secrets.keeper import Keeper
from framework.settings import FrameworkSettings
from framework.store.base import Store
from framework.store.opening import open_store
from framework.store.zookeeper import ZooKeeperStore

log = logs.get_logger(__name__)

WATCH_INTERVAL = 0.5  # seconds between two looks at the loop's lag and the daemon's health


@click.command("framework", help="Marathon's REST API; keeps apps running on Mesos.")
@FrameworkSettings.options()
def command(**flags: Any) -> None:
    lifecycle.run(lambda stop: serve(FrameworkSettings.load(flags), stop))


async def serve(settings: FrameworkSettings, stop: asyncio.Event) -> None:
    """Runs until `stop`, or until it cannot go on (OperatorError). The tasks go on either way."""
    logs.configure(daemon="framework", level=settings.log_level)
    sock = bind(settings.http_address, settings.http_port, what="framework", mend="give another --http-port")
    port = sock.getsockname()[1]
    address = f"{settings.hostname or settings.http_address}:{port}"
    health = Health(required=("store", "engine", "mesos"))
    failure: list[OperatorError] = []

    def give_up(error: OperatorError) -> None:
        failure.append(error)
        stop.set()

    async with _engine(settings, address, health, give_up) as engine:
        app = make_app(engine, settings, health, address=address)
        async with serving(app, sock, certificate=settings.tls_certificate, key=settings.tls_key):
            log.info("serving", api=f"http://{address}/v2", master=settings.master)
            await stop.wait()
            engine.bus.close()  # listeners' streams end, or the server would wait for them
    if failure:
        raise failure[0]


@contextlib.asynccontextmanager
async def _engine(
    settings: FrameworkSettings,
    address: str,
    health: Health,
    give_up: Callable[[OperatorError], None],
) -> AsyncIterator[Engine]:
    store = open_store(settings)
    await store.open()
    bus = Bus(history=settings.event_history, buffer=settings.event_stream_max_outstanding_messages)
    engine = Engine(
        store, settings.engine(), framework_name=settings.framework_name, bus=bus, loop_settings=settings.loop()
    )
    secrets = Keeper(settings.secrets(), engine.post)
    mesos = MesosScheduler(
        framework_info(settings, address),
        settings.master,
        engine.post,
        credentials=settings.credentials,
        gpus=settings.gpu_scheduling,
        secrets=secrets,
        tls=settings.master_tls(),
        on_removed=lambda message: give_up(OperatorError(_removed(message, settings))),
        on_failed_over=engine.doubt,
    )
    prober = HealthProber(engine.post, concurrency=settings.health_check_concurrency)
    watch = _Watch(engine, health)
    metrics = EngineMetrics(engine, REGISTRY, waiting_calls=lambda: mesos.waiting_calls, lag=lambda: watch.lag)
    drains = DrainWatch(settings.edges(), engine.post, timeout=settings.neighbour_timeout)
    engine.connect(mesos, prober, metrics.measure, drains)
    node = _node(settings, engine, store, address)
    ended = asyncio.Event()
    stalls = StallWatch("dromos_framework", REGISTRY)
    garbage = Garbage(idle=lambda: not engine.view.deployments() and not engine.waiting)
    tasks = [asyncio.create_task(job) for job in (engine.run(ended), watch.run(), stalls.run(), _sweep(garbage))]
    try:
        await node.start()
        tasks.append(asyncio.create_task(_run(node, give_up)))
        yield engine
    finally:
        ended.set()
        await tasks[0]
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        await mesos.close()
        await secrets.close()
        await prober.close()
        await drains.close()
        await node.stop()
        await store.close()
        stalls.close()
        REGISTRY.unregister(metrics)
        REGISTRY.unregister(metrics.launch_seconds)


def _node(settings: FrameworkSettings, engine: Engine, store: Store, address: str) -> SingleNode | ElectedNode:
    if isinstance(store, ZooKeeperStore):
        return ElectedNode(
            engine, store.client, store.path, address,
            patience=settings.zk_timeout, new_framework_id=settings.new_framework_id,
        )  # fmt: skip
    return SingleNode(engine, address, new_framework_id=settings.new_framework_id)


async def _run(node: SingleNode | ElectedNode, give_up: Callable[[OperatorError], None]) -> None:
    try:
        await node.run()
    except OperatorError as error:
        give_up(error)


def framework_info(settings: FrameworkSettings, address: str) -> dict[str, Any]:
    info: dict[str, Any] = {
        "name": settings.framework_name,
        "user": settings.mesos_user,
        "failover_timeout": settings.failover_timeout,
        "checkpoint": settings.checkpoint,
        "hostname": address.rpartition(":")[0],
        "webui_url": settings.webui_url or f"http://{address}/ui/",
    }
    if settings.mesos_authentication_principal:
        info["principal"] = settings.mesos_authentication_principal
    return info


def _removed(message: str, settings: FrameworkSettings) -> str:
    return (
        f"the master at {settings.master} says: {message}. The framework was torn down, or was away for longer than its"
        f" failover_timeout ({settings.failover_timeout:.0f} s), and its tasks are gone; all apps are kept."
        " Start once with --new-framework-id to register afresh and start them again"
    )


async def _sweep(garbage: Garbage) -> None:
    garbage.start()
    try:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            garbage.sweep()
    finally:
        garbage.stop()


class _Watch:
    """Looks at the engine from outside: how late the loop runs, and what to report as health."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self._engine, self._health = engine, health
        self.lag = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._report()
            expected = loop.time() + WATCH_INTERVAL
            await asyncio.sleep(WATCH_INTERVAL)
            self.lag = max(0.0, loop.time() - expected)

    def _report(self) -> None:
        engine, health = self._engine, self._health
        if engine.store_problem is None:
            health.ok("store")
        else:
            health.failing("store", engine.store_problem)
        view = engine.view
        if view.leader is None:
            health.failing("engine", "no leader is known")
        else:
            health.ok("engine", "leads" if view.is_leader else f"stands by, {view.leader} leads")
        if view.framework.connected:
            health.ok("mesos", f"subscribed to {view.framework.master}")
        elif view.leader is None or view.is_leader:
            health.failing("mesos", "not subscribed to a master")
        else:
            health.ok("mesos", "stands by")


if __name__ == "__main__":
    command()
