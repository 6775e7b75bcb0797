"""Delivers an environment's values, now and whenever they change: as files, as variables of a program, or by a command.

A version is delivered when it is complete: the heads are watched, not the values. When Consul is away at the start, the copy on this
machine serves.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from consul_template_py.apply import Applier
from consul_template_py.child import Child, parse_signal
from consul_template_py.commands import Command
from consul_template_py.config_centre import formats, model
from consul_template_py.config_centre.cache import Cache
from consul_template_py.config_centre.model import Effective
from consul_template_py.errors import SourceError
from consul_template_py.files import Ownership, WantedFile
from consul_template_py.query import KeyQuery, TreeQuery
from consul_template_py.sources.consul import ConsulSettings
from consul_template_py.targets.command import Commands, CommandTarget, Files
from consul_template_py.watch import Subscription, Watcher
from daemonkit.backoff import Backoff
from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Delivery:
    """`files`: where, and in which format. `command` runs after files have changed. `program` runs with the values as variables.
    `patience`: seconds that Consul may be away at the start until the copy on this machine serves."""

    files: tuple[tuple[Path, str], ...] = ()
    command: Command | None = None
    program: Command | None = None
    reload_signal: str = ""
    kill_timeout: float = 30.0
    patience: float = 3.0


class Deliverer:
    def __init__(
        self, settings: ConsulSettings, environment: str, delivery: Delivery, *, prefix: str, cache: Cache
    ) -> None:
        self._settings, self._environment, self._delivery = settings, environment, delivery
        self._prefix = prefix.strip("/") + "/"
        self._cache = cache
        self._values: dict[str, Effective] | None = None
        self._variables: dict[str, str] = {}
        self._news = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or the program ends by itself (ChildEndedError)."""
        delivery = self._delivery
        target = CommandTarget("config", [path for path, _ in delivery.files], Commands(reload=delivery.command))
        applier: Applier[Files] = Applier(target)
        async with Watcher(self._settings, most_retry=10.0) as watcher:
            values = asyncio.create_task(self._follow(watcher, applier))
            applying = asyncio.create_task(applier.run())
            program = asyncio.create_task(self._run_program()) if delivery.program else None
            stopping = asyncio.create_task(stop.wait())
            tasks = [task for task in (values, applying, program, stopping) if task]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, watcher: Watcher, applier: Applier[Files]) -> None:
        backoff = Backoff(0.5, 10.0)
        watched: dict[str, list[Subscription[str | None]]] = {}
        patience = asyncio.create_task(self._serve_the_copy(applier))
        try:
            while True:
                try:
                    parents = await self._parents(watcher)
                    names = model.chain(self._environment, parents)
                    self._watch(watcher, watched, names)
                    layers = [(name, await self._own_values(watcher, name)) for name in names]
                except (SourceError, OperatorError) as error:
                    log.warning("the configuration cannot be read", error=str(error))
                    await asyncio.sleep(backoff.next())
                    continue
                backoff.reset()
                patience.cancel()
                self._deliver(model.resolve(layers), applier, fresh=True)
                await self._until_a_head_changes(watched)
        finally:
            patience.cancel()

    async def _serve_the_copy(self, applier: Applier[Files]) -> None:
        await asyncio.sleep(self._delivery.patience)
        copy = self._cache.load(self._environment)
        if copy is None:
            log.error("Consul is away and there is no copy of this environment on this machine; waiting for Consul")
            return
        log.warning("Consul is away, the copy on this machine serves", age_seconds=round(copy.age))
        self._deliver(copy.values, applier, fresh=False)

    async def _parents(self, watcher: Watcher) -> dict[str, str | None]:
        """As far as the chain of this environment goes."""
        found: dict[str, str | None] = {}
        at: str | None = self._environment
        while at is not None and at not in found:
            said = await watcher.read(KeyQuery(f"{self._prefix}{at}/inherits"))
            parent = model.chain_step(at, said)
            found[at] = parent
            at = parent
        return found

    async def _own_values(self, watcher: Watcher, name: str) -> Mapping[str, str]:
        pairs = await watcher.read(TreeQuery(f"{self._prefix}{name}/values"))
        return {pair.key: pair.value for pair in pairs}

    def _watch(
        self, watcher: Watcher, watched: dict[str, list[Subscription[str | None]]], names: Sequence[str]
    ) -> None:
        for gone in set(watched) - set(names):
            for subscription in watched.pop(gone):
                subscription.close()
        for name in names:
            if name not in watched:
                keys = (KeyQuery(f"{self._prefix}{name}/{key}") for key in ("head", "inherits"))
                watched[name] = [watcher.watch(key) for key in keys]

    @staticmethod
    async def _until_a_head_changes(watched: dict[str, list[Subscription[str | None]]]) -> None:
        waits = [asyncio.create_task(subscription.changed()) for found in watched.values() for subscription in found]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _deliver(self, values: dict[str, Effective], applier: Applier[Files], *, fresh: bool) -> None:
        if values == self._values:
            return
        plain = {path: value.value for path, value in values.items()}
        try:
            files = tuple(
                WantedFile.of(path, formats.write(plain, format).encode("utf-8", "surrogateescape"), Ownership(0o600))
                for path, format in self._delivery.files
            )
            self._variables = formats.variables(plain) if self._delivery.program else {}
        except OperatorError as error:
            log.error("the configuration cannot be delivered, the last one stays", error=str(error))
            return
        self._values = values
        if fresh:
            try:
                self._cache.save(self._environment, values)
            except OSError as error:
                log.warning("the copy on this machine could not be written", error=str(error))
        if files:
            applier.want(files)
        self._news.set()

    async def _run_program(self) -> None:
        """Starts it with the first values; a change tells it by the signal, or starts it anew with the new variables."""
        program, signal = self._delivery.program, self._delivery.reload_signal
        assert program is not None
        await self._news.wait()
        self._news.clear()
        child = Child(
            self._with_variables(program),
            reload_signal=parse_signal(signal, where="--reload-signal") if signal else None,
            kill_signal=parse_signal("TERM", where=""),
            kill_timeout=self._delivery.kill_timeout,
        )

        async def tell() -> None:
            while True:
                await self._news.wait()
                self._news.clear()
                child.changed(self._with_variables(program))

        telling = asyncio.create_task(tell())
        try:
            await child.run()
        finally:
            telling.cancel()

    def _with_variables(self, program: Command) -> Command:
        custom = (*program.environment.custom, *self._variables.items())
        return replace(program, environment=replace(program.environment, custom=custom))
