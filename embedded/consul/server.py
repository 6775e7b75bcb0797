"""The embedded Consul put together: the state from disk, the agent with its checks, the HTTP server, and what runs by the clock."""

import asyncio
import contextlib
import ipaddress
import socket
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import prometheus_client

from daemonkit import http
from daemonkit.health import Health, tell_log
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from embedded.consul.agent.definition import CheckDefinition
from embedded.consul.agent.local import AGENT_CHECKS, AGENT_SERVICES, Limits, LocalAgent
from embedded.consul.agent.runner import CheckRunner
from embedded.consul.events import Events
from embedded.consul.http.app import ConsulApp
from embedded.consul.http.context import VERSION, Context, HttpLimits, Identity, utc_now
from embedded.consul.http.endpoints.agent import node_meta
from embedded.consul.model import Node, Service
from embedded.consul.settings import ConsulSettings
from embedded.consul.state.ledger import Ledger
from embedded.consul.state.state import ROW_TYPES, State, new_state, restore
from embedded.consul.store import Store, StoreError

log = get_logger(__name__)

INDEX = prometheus_client.Gauge("dromos_consul_index", "The index of the last write")
WAITING = prometheus_client.Gauge("dromos_consul_waiting", "Blocking queries under way, each once per topic")
INSTANCES = prometheus_client.Gauge("dromos_consul_agent_services", "Services registered with the agent")

_HOUSEKEEPING = 5.0  # seconds between looks at tombstones, checkpoints and gauges
_RETRY = 1.0  # seconds after which a write that failed is tried again
_KEEP_ALIVE = 600  # seconds that an idle connection may stay: Consul closes none, and clients count on theirs
_NODE_ID = "node-id"
_SERVER_META = {"version": VERSION, "raft_version": "3", "non_voter": "false"}
_ROW_TYPES = {**ROW_TYPES, AGENT_SERVICES: Service, AGENT_CHECKS: CheckDefinition}


@dataclass(frozen=True)
class EmbeddedConsul:
    """A running server. `url` is where it listens."""

    host: str
    port: int
    context: Context
    health: Health

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@contextlib.asynccontextmanager
async def embedded_consul(*, state_dir: Path, port: int = 0, **settings: object) -> AsyncIterator[EmbeddedConsul]:
    """A server inside the block, in this event loop; `settings` are those of ConsulSettings. Raises OperatorError."""
    values = {"state_dir": state_dir, "port": port, **settings}
    async with serving(ConsulSettings.model_validate(values)) as server:
        yield server


@contextlib.asynccontextmanager
async def serving(settings: ConsulSettings) -> AsyncIterator[EmbeddedConsul]:
    """As `embedded_consul`, from settings."""
    sock = http.bind(settings.host, settings.port, what="consul", mend="give another port with --port")
    store: Store | None = None
    try:
        store = Store(settings.state_dir.expanduser(), _ROW_TYPES)
        async with _running(settings, store, sock) as server:
            yield server
    finally:
        sock.close()
        if store:
            store.close()


@contextlib.asynccontextmanager
async def _running(settings: ConsulSettings, store: Store, sock: socket.socket) -> AsyncIterator[EmbeddedConsul]:
    index, rows = store.load()
    health = Health(required=("state",), told=tell_log)
    writer = Writer(store, health)
    state = _state(settings, Ledger(index + 1 if index else 0, writer.save))
    writer.ledger = state.ledger
    deadlines = SessionDeadlines(state)
    runner = CheckRunner(state, concurrency=settings.check_concurrency)
    tasks: list[asyncio.Task[None]] = []
    try:
        context = _context(settings, store, state, runner, sock.getsockname()[1])
        runner.agent = context.agent
        restore(state, rows)
        context.agent.restore(rows.get(AGENT_SERVICES, []), rows.get(AGENT_CHECKS, []))
        context.agent.begin(context.identity.server_port, _SERVER_META)
        management = settings.management_token
        state.acl.begin(management.get_secret_value() if management else None, utc_now())
        writer.settle()
        app = ConsulApp(
            context,
            http.status_app(health),
            settle=writer.settle,
            most_per_client=settings.http_max_conns_per_client,
            most_bytes=settings.max_body_size,
        )
        stop = asyncio.Event()
        async with http.serving(app, sock, grace=settings.shutdown_grace, keep_alive=_KEEP_ALIVE):
            tasks += [
                asyncio.create_task(_reap(context.agent, settings.check_reap_interval, stop), name="consul-reap"),
                asyncio.create_task(_keep_house(context, store, health, stop), name="consul-housekeeping"),
            ]
            try:
                yield EmbeddedConsul(settings.host, sock.getsockname()[1], context, health)
            finally:
                stop.set()
                state.ledger.watches.close()
                await asyncio.gather(*tasks)
    finally:
        deadlines.close()
        await runner.close()
        with contextlib.suppress(StoreError):
            writer.settle()


class Writer:
    """Brings changes to disk: before the answer to who made them, or, for those that the clock makes, at once after."""

    ledger: Ledger

    def __init__(self, store: Store, health: Health) -> None:
        self._store = store
        self._health = health
        self._loop = asyncio.get_running_loop()
        self._planned = False

    def save(self, kind: str, key: str, row: object) -> None:
        self._store.save(kind, key, row)
        self._plan(0.0)

    def settle(self) -> None:
        """Raises StoreError; what could not be written is tried again."""
        try:
            self._store.flush(self.ledger.index)
        except StoreError as error:
            self._health.failing("state", str(error))
            self._plan(_RETRY)
            raise
        self._health.ok("state")

    def _plan(self, delay: float) -> None:
        if not self._planned:
            self._planned = True
            self._loop.call_later(delay, self._write)

    def _write(self) -> None:
        self._planned = False
        with contextlib.suppress(StoreError):  # health tells of it, and it is planned again
            self.settle()


class SessionDeadlines:
    """Ends sessions that nobody renews."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        state.sessions.deadline_changed = self._change

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _change(self, id: str, seconds: float | None) -> None:
        if timer := self._timers.pop(id, None):
            timer.cancel()
        if seconds is not None:
            self._timers[id] = self._loop.call_later(seconds, self._end, id)

    def _end(self, id: str) -> None:
        self._state.ledger.next()
        self._state.sessions.destroy(id)


def _state(settings: ConsulSettings, ledger: Ledger) -> State:
    return new_state(
        ledger,
        clock=time.monotonic,
        acl=settings.acl or settings.management_token is not None,
        default_allow=settings.acl_default_policy == "allow",
        tombstone_ttl=settings.tombstone_ttl,
    )


def _context(settings: ConsulSettings, store: Store, state: State, runner: CheckRunner, port: int) -> Context:
    name, address = settings.node or socket.gethostname(), settings.advertise
    identity = Identity(name, _node_id(store), settings.datacenter, address, port)
    node = Node(name, address, identity.node_id, _tagged(address), node_meta())
    limits = Limits(
        settings.check_output_max_size, settings.check_update_interval, settings.check_deregister_interval_min
    )
    agent = LocalAgent(node, state, runner, limits, state.ledger.save)
    return Context(
        state=state,
        agent=agent,
        identity=identity,
        events=Events(state.ledger.watches, name, agent.services.values, most=settings.event_history),
        limits=HttpLimits(settings.kv_max_value_size, cached_answers=settings.cached_answers),
        session_ttl_least=settings.session_ttl_min,
    )


def _tagged(address: str) -> dict[str, str]:
    tagged = {"lan": address, "wan": address}
    with contextlib.suppress(ValueError):
        version = ipaddress.ip_address(address).version
        tagged |= {f"lan_ipv{version}": address, f"wan_ipv{version}": address}
    return tagged


def _node_id(store: Store) -> str:
    known = store.fact(_NODE_ID)
    if known is None:
        known = str(uuid.uuid4())
        store.set_fact(_NODE_ID, known)
    return known


async def _reap(agent: LocalAgent, interval: float, stop: asyncio.Event) -> None:
    while not await sleep_or_stop(interval, stop):
        for id in agent.reap():
            log.warning("service removed, it was critical for too long", service=id)


async def _keep_house(context: Context, store: Store, health: Health, stop: asyncio.Event) -> None:
    while not await sleep_or_stop(_HOUSEKEEPING, stop):
        context.state.keys.forget_old()
        INDEX.set(context.state.ledger.index)
        WAITING.set(context.state.ledger.watches.waiting)
        INSTANCES.set(len(context.agent.services))
        try:
            await asyncio.to_thread(store.checkpoint)
            health.ok("checkpoints")
        except Exception as error:
            health.failing("checkpoints", str(error))
