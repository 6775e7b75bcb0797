"""Drives everything: hears of changes, evaluates the templates that read what has changed, hands the results to their targets.

The loop is level-triggered. It wakes when something has changed or a burst is over, and evaluates each template that is due once, with
all that has arrived by then.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from consul_template_py import metrics
from consul_template_py.apply import Applier
from consul_template_py.commands import ChildEnvironment, Command
from consul_template_py.config import (
    AuthConfig,
    Config,
    EnvConfig,
    RetryConfig,
    SslConfig,
    TargetConfig,
    TemplateConfig,
)
from consul_template_py.deduplicate import Deduplicator, Follower
from consul_template_py.errors import ConfigError, GivenUpError, SourceError, TargetError, TemplateError
from consul_template_py.http import Endpoint, tls_context
from consul_template_py.memory import Guards, Memory
from consul_template_py.order import line
from consul_template_py.query import Query
from consul_template_py.quiescence import changed, due
from consul_template_py.sources.base import DataSource
from consul_template_py.sources.consul import ConsulSettings, make_client
from consul_template_py.sources.files import FileSource
from consul_template_py.sources.vault import VaultSettings, VaultSource
from consul_template_py.targets.base import ApplyResult
from consul_template_py.targets.command import Commands, CommandTarget, Files
from consul_template_py.token_bucket import Rate
from consul_template_py.unit import Engines, Unit, make_units
from consul_template_py.watch import Retry, Watcher
from daemonkit.logs import get_logger

log = get_logger(__name__)


Role = Literal["undecided", "leader", "follower", "own"]


class Group:
    """A target, the units that it writes, and what keeps it at what they want."""

    def __init__(self, name: str, units: list[Unit], applier: Applier[Files]) -> None:
        self.name = name
        self.units = units
        self.applier = applier

    @property
    def wanted(self) -> Files:
        return tuple(unit.wanted for unit in self.units)

    @property
    def rendered(self) -> bool:
        return any(unit.rendered for unit in self.units)


class Runner:
    """`once`: until every template has been rendered and applied. `dry`: nothing is written and no command runs.

    `on_text` is called when a template has given another text; `on_applied` when files have changed and their target has taken them.
    """

    def __init__(
        self,
        config: Config,
        *,
        once: bool = False,
        dry: bool = False,
        on_text: Callable[[Unit], None] = lambda unit: None,
        on_applied: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._on_text, self._on_applied = on_text, on_applied
        self._once, self._dry = once, dry
        self._watcher = Watcher(
            consul_settings(config),
            sources=_sources(config),
            retries={"consul": _retry(config.consul.retry), "vault": _retry(config.vault.retry)},
            on_error=lambda source: metrics.WATCH_ERRORS.labels(source).inc(),
            on_given_up=self._give_up,
        )
        self.memory = Memory(self._watcher, self._heard, guards=_guards(config))
        metrics.HELD_BACK.set_function(lambda: len(self.memory.holds))
        engines = Engines(os.environ, folders=config.template_folders)
        self.units = make_units(config, engines, self.memory)
        self.groups = self._make_groups()
        self._readers: dict[Query[Any], set[Unit]] = {}
        self._wake = asyncio.Event()
        self._group_of = {unit: group for group in self.groups for unit in group.units}
        self._dirty: set[Unit] = set(self.units)
        self.roles: dict[Unit, Role] = {}
        self._to_publish: dict[Unit, asyncio.Event] = {}
        self._sharing: list[asyncio.Task[None]] = []
        self._became_ready = asyncio.Event()
        self._given_up = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or with `once` until all is done. Raises TemplateError or TargetError with `once` if something failed, and
        GivenUpError when a source failed more often in a row than it may."""
        if self.config.deduplicate.enabled:
            self._share()
        appliers = [asyncio.create_task(group.applier.run(), name=group.name) for group in self.groups]
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        try:
            while not stop.is_set():
                if self._given_up:
                    raise GivenUpError(self._given_up)
                self._pass()
                if self.ready and self._once:
                    await self._finish(stopping)
                    return
                await self._sleep()
        finally:
            stopping.cancel()
            tasks = [*appliers, *self._sharing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._watcher.close()

    @property
    def ready(self) -> bool:
        """Every template that can be has been rendered once."""
        return self._became_ready.is_set()

    async def settled(self) -> None:
        """Waits until it is ready, and each target has been tried with what that gave."""
        await self._became_ready.wait()
        for group in self.groups:
            if group.rendered:
                await group.applier.settled()

    def _give_up(self, why: str) -> None:
        self._given_up = self._given_up or why
        self._wake.set()

    # changes

    def _heard(self, query: Query[Any]) -> None:
        now = time.monotonic()
        for unit in self._readers.get(query, ()):
            incremental = unit.evaluation.incremental
            was_missing = query in incremental.missing
            incremental.invalidate(query)
            if was_missing and incremental.missing:
                continue  # still lacks others: evaluated when the last of them is there
            unit.burst = changed(unit.burst, now)
            self._dirty.add(unit)
            self._wake.set()

    async def _sleep(self) -> None:
        """Until something has changed, a burst is over, or `stop`."""
        dues = [due(unit.burst, unit.wait) for unit in self._dirty if unit.burst is not None]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()

    def _pass(self) -> None:
        """Evaluates the units that are due, and says to their targets what is wanted now."""
        again: set[Group] = set()
        evaluated = [unit for unit in self.units if unit in self._dirty and self._is_due(unit)]
        for unit in evaluated:
            self._dirty.discard(unit)
            unit.burst = None
            if unit.evaluate():
                self._on_text(unit)
                again.add(self._group_of[unit])
                if unit in self._to_publish:
                    self._to_publish[unit].set()
            self._follow(unit)
        changed_now = [group for group in self.groups if group in again]
        for group, place in zip(changed_now, line(len(changed_now)), strict=True):
            group.applier.want(group.wanted, place)
        for unit in evaluated:
            self._note(unit)
        self._check_ready()

    def _check_ready(self) -> None:
        if not self.ready and all(unit.rendered or unit.state.error for unit in self.units):
            self._became_ready.set()
            log.info("all templates are rendered", templates=len(self.units))

    @staticmethod
    def _is_due(unit: Unit) -> bool:
        # Waiting begins after the first complete rendering, so that a start is quick.
        return unit.burst is None or not unit.rendered or due(unit.burst, unit.wait) <= time.monotonic() + 1e-4

    def _follow(self, unit: Unit) -> None:
        """Starts the watches of queries that the unit began to read; stops those that nobody reads any more."""
        for query, began in unit.evaluation.incremental.take_news().items():
            readers = self._readers.setdefault(query, set())
            if began:
                if not readers:
                    self.memory.begin(query)
                readers.add(unit)
            else:
                readers.discard(unit)
                if not readers:
                    del self._readers[query]
                    self.memory.end(query)
        metrics.WATCHES.set(len(self._readers))

    @staticmethod
    def _note(unit: Unit) -> None:
        metrics.EVALUATIONS.labels(unit.name).inc()
        metrics.EVALUATION_SECONDS.observe(unit.state.seconds)
        metrics.BROKEN.labels(unit.name).set(bool(unit.state.error))
        metrics.REFUSED.labels(unit.name).set(len(unit.evaluation.incremental.refused))
        metrics.WAITING.labels(unit.name).set(len(unit.waiting_for))

    # one renders for many

    def _share(self) -> None:
        """Nothing is evaluated until it is known who leads."""
        settings = self.config.deduplicate
        deduplicator = Deduplicator(
            make_client(consul_settings(self.config)), self._watcher, prefix=settings.prefix, ttl=settings.ttl
        )
        self._sharing.append(asyncio.create_task(deduplicator.run()))
        for unit in self.units:
            self._dirty.discard(unit)
            self.roles[unit] = "undecided"
            self._to_publish[unit] = asyncio.Event()
            self._sharing.append(asyncio.create_task(self._share_unit(unit, deduplicator)))

    async def _share_unit(self, unit: Unit, deduplicator: Deduplicator) -> None:
        publishing = asyncio.create_task(self._publish(unit, deduplicator))
        follower = Follower(lambda text: self._adopt(unit, text), lambda: self._become(unit, "own"))
        try:
            await deduplicator.join(unit.key, lambda: self._become(unit, "leader"), follower)
        finally:
            publishing.cancel()

    def _become(self, unit: Unit, role: Role) -> None:
        if self.roles[unit] == role:
            return
        before, self.roles[unit] = self.roles[unit], role
        self._to_publish[unit].set()
        if role == "follower":
            self._dirty.discard(unit)
            unit.evaluation.incremental.forget()
            self._follow(unit)
        elif before not in ("leader", "own"):
            self._dirty.add(unit)
        self._wake.set()

    def _adopt(self, unit: Unit, text: str) -> None:
        self._become(unit, "follower")
        if unit.adopt(text):
            self._on_text(unit)
            group = self._group_of[unit]
            group.applier.want(group.wanted)
        self._check_ready()
        self._wake.set()

    async def _publish(self, unit: Unit, deduplicator: Deduplicator) -> None:
        """While this process leads, what it has rendered is published."""
        while True:
            await self._to_publish[unit].wait()
            self._to_publish[unit].clear()
            if self.roles[unit] == "leader" and unit.rendered:
                try:
                    await deduplicator.publish(unit.key, None if unit.evaluation.local else unit.text)
                except SourceError as error:
                    log.warning("deduplicate: not published", template=unit.name, error=str(error))
                    await asyncio.sleep(1.0)
                    self._to_publish[unit].set()

    # the end, with `once`

    async def _finish(self, stopping: "asyncio.Task[bool]") -> None:
        problems: list[str] = [unit.state.error for unit in self.units if unit.state.error]
        if problems:
            await self._settle(stopping)
            raise TemplateError("; ".join(problems))
        failed = await self._settle(stopping)
        if failed:
            raise TargetError("; ".join(failed))

    async def _settle(self, stopping: "asyncio.Task[bool]") -> list[str]:
        failed = []
        for group in self.groups:
            if group.rendered:
                settling = asyncio.create_task(group.applier.settled())
                await asyncio.wait({settling, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if settling.done() and not settling.result().ok:
                    failed.append(f"{group.name}: {settling.result().error}")
                settling.cancel()
        return failed

    # what the configuration describes

    def _make_groups(self) -> list[Group]:
        """A group for each named target, one for each distinct command, and one for each file without either, in that file's order."""
        members: dict[str, list[Unit]] = {}
        todo: dict[str, tuple[Commands, Rate]] = {}
        named = {target.name: target for target in self.config.target}
        for unit in self.units:
            template = unit.config
            command = _template_command(template)
            if template.target:
                name = template.target
                todo[name] = _target_commands(named[name])
            elif command is not None:
                name = f"command {command.shown}"
                todo[name] = (Commands(reload=command), Rate())
            else:
                name = f"file {unit.destination}"
                todo[name] = (Commands(), Rate())
            members.setdefault(name, []).append(unit)
        return [self._make_group(name, units, *todo[name]) for name, units in members.items()]

    def _make_group(self, name: str, units: list[Unit], todo: Commands, rate: Rate) -> Group:
        target = CommandTarget(name, [unit.destination for unit in units], todo)
        applier = Applier(
            target,
            note=self._note_path(name, todo),
            rate=rate,
            first_retry=self.config.first_retry,
            most_retry=self.config.most_retry,
            dry=self._dry,
            on_result=lambda result: self._noted(name, result),
        )
        return Group(name, units, applier)

    def _note_path(self, name: str, todo: Commands) -> Path | None:
        if self.config.state_dir is None or todo.reload is None:
            return None
        return self.config.state_dir / f"reload-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def _noted(self, name: str, result: ApplyResult) -> None:
        _count(name, result)
        if result.did_write and result.ok:
            self._on_applied()


def _count(name: str, result: ApplyResult) -> None:
    metrics.APPLIED.labels(name, result.outcome.value).inc()
    metrics.TARGET_FAILING.labels(name).set(not result.ok)
    if result.did_write or result.did_reload:
        metrics.LAST_APPLIED.labels(name).set_to_current_time()


def _guards(config: Config) -> Guards:
    return Guards(config.guard.guard(), {pattern: rule.guard() for pattern, rule in config.guard.rules.items()})


def _sources(config: Config) -> dict[str, DataSource]:
    """Raises ConfigError."""
    files, vault, zookeeper = config.files, config.vault, config.zookeeper
    sources: dict[str, DataSource] = {
        "file": FileSource(interval=files.interval, max_bytes=files.max_bytes, folder=files.folder)
    }
    if vault.enabled and vault.address:
        sources["vault"] = VaultSource(vault_settings(config))
    if zookeeper.hosts:
        # Its library costs megabytes that only those who use it are to pay.
        from consul_template_py.sources.zookeeper import ZookeeperSource

        auth = zookeeper.auth if zookeeper.auth.get_secret_value() else None
        sources["zookeeper"] = ZookeeperSource(zookeeper.hosts, auth=auth, timeout=zookeeper.timeout)
    return sources


def _retry(config: RetryConfig) -> Retry:
    return Retry(config.backoff, config.max_backoff, config.attempts if config.enabled else 1)


def vault_settings(config: Config) -> VaultSettings:
    """Raises ConfigError."""
    vault, ssl = config.vault, config.vault.ssl
    try:
        context = tls_context(ssl.ca_cert, ssl.cert, ssl.key, verify=ssl.verify, ca_path=ssl.ca_path)
        endpoint = Endpoint.parse(_url(vault.address, ssl), tls=context, server_name=ssl.server_name)
    except (ValueError, OSError) as error:
        raise ConfigError(f"vault: {error}") from None
    return VaultSettings(
        endpoint,
        token=vault.token,
        token_file=vault.vault_agent_token_file,
        namespace=vault.namespace,
        unwrap_token=vault.unwrap_token,
        renew_token=vault.renew_token,
        default_lease=vault.default_lease_duration,
        renewal_threshold=vault.lease_renewal_threshold,
        connect_timeout=vault.transport.dial_timeout,
        tls_handshake_timeout=vault.transport.tls_handshake_timeout,
        tcp_keep_alive=vault.transport.dial_keep_alive,
        max_idle_connections=0 if vault.transport.disable_keep_alives else vault.transport.max_idle_conns_per_host,
    )


def consul_settings(config: Config) -> ConsulSettings:
    consul, ssl, transport = config.consul, config.consul.ssl, config.consul.transport
    auth = consul.auth if consul.auth.enabled else AuthConfig()
    return ConsulSettings(
        address=_url(consul.address, ssl),
        token=consul.token,
        token_file=consul.token_file,
        username=auth.username,
        password=auth.password,
        namespace=consul.namespace,
        ca_file=ssl.ca_cert,
        ca_path=ssl.ca_path,
        cert_file=ssl.cert,
        key_file=ssl.key,
        verify=ssl.verify,
        server_name=ssl.server_name,
        max_stale=config.max_stale,
        wait=config.block_query_wait,
        max_connections=consul.max_connections,
        connect_timeout=transport.dial_timeout,
        tls_handshake_timeout=transport.tls_handshake_timeout,
        tcp_keep_alive=transport.dial_keep_alive,
        max_idle_connections=0 if transport.disable_keep_alives else transport.max_idle_conns_per_host,
    )


def _url(address: str, ssl: SslConfig) -> str:
    return address if "://" in address else f"{'https' if ssl.enabled else 'http'}://{address}"


def child_environment(config: EnvConfig, *, where: str) -> ChildEnvironment:
    """Raises ConfigError."""
    custom = [pair.partition("=") for pair in config.custom]
    wrong = [pair for pair, (_, equals, _) in zip(config.custom, custom, strict=True) if not equals]
    if wrong:
        raise ConfigError(f"{where}: env.custom {wrong[0]!r} is not NAME=value")
    return ChildEnvironment(
        config.pristine,
        tuple((name, value) for name, _, value in custom),
        tuple(config.allowlist),
        tuple(config.denylist),
    )


def _template_command(template: TemplateConfig) -> Command | None:
    words = template.command or template.exec.command
    if not words or not template.exec.enabled:
        return None
    return Command.parse(
        words,
        timeout=template.command_timeout or template.exec.timeout,
        splay=template.exec.splay,
        environment=child_environment(template.exec.env, where=f"template {template.destination}"),
    )


def _target_commands(target: TargetConfig) -> tuple[Commands, Rate]:
    environment = child_environment(target.env, where=f"target {target.name}")

    def command(words: str | Iterable[str], splay: float = 0.0) -> Command | None:
        given = words if isinstance(words, str) else list(words)
        return Command.parse(given, timeout=target.timeout, splay=splay, environment=environment) if given else None

    todo = Commands(
        check=command(target.check),
        reload=command(target.reload, target.splay),
        verify=command(target.verify),
        roll_back=target.roll_back,
    )
    return todo, Rate(target.reloads_per_second, target.reload_burst)
