"""What Consul knows of services, kept current: instances of each, healthy or not."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from consul_template_py.query.service import ServiceInstance, ServiceQuery
from consul_template_py.query.services import ServicesQuery, ServiceSummary
from consul_template_py.watch import Subscription, Watched, Watcher
from nginx.kept import Kept
from nginx.model import Instance
from nginx.routes import kept_seconds


def instances_of(found: Sequence[ServiceInstance]) -> tuple[Instance, ...]:
    """Healthy is passing; a warning, a critical check, and maintenance of service or node are not."""
    return tuple(
        Instance(
            id=one.id,
            service=one.name,
            address=one.address,
            port=one.port,
            tags=one.tags,
            meta=one.meta,
            weight=one.weights[0],
            healthy=one.status == "passing",
            leaving=one.status == "maintenance",
        )
        for one in found
    )


def _without_health(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    return tuple(replace(one, healthy=False) for one in instances)


class Catalog:
    """Watches the list of services, and each service. `on_change` is called (in the loop) after each change.

    A service that Consul no longer lists stays with no healthy instance for `forget_after` seconds: one that is being replaced
    costs no reload. Where its label KEEP asks for more it stays for that long, over restarts too. While Consul does not answer,
    everything stays as it is.
    """

    def __init__(self, watcher: Watcher, *, forget_after: float, kept: Kept, on_change: Callable[[], None]) -> None:
        self._watcher = watcher
        self._forget_after = forget_after
        self._kept = kept
        self._on_change = on_change
        self._known: dict[str, tuple[Instance, ...]] = {}
        self._watched: dict[str, Subscription[tuple[ServiceInstance, ...]]] = {}
        self._gone: dict[str, float] = {}  # until when each of them is kept, epoch seconds
        self._behind: set[str] = set()  # services, "" for their list, of which a server that may know less has answered
        for name, gone in kept.services.items():
            self._known[name], self._gone[name] = gone.instances, gone.until
        self._list = watcher.watch(ServicesQuery(), self._listed)

    @property
    def complete(self) -> bool:
        """Whether every service that Consul lists has been read at least once."""
        return self._list.state.received and all(name in self._known for name in self._watched)

    @property
    def problem(self) -> str:
        """Why Consul does not answer, "" while it does."""
        if not self._list.state.received:
            return self._list.state.error or "Consul has not answered yet"
        return self._list.state.error

    @property
    def behind(self) -> bool:
        """Whether what is missing may be missing only because Consul has started again, and has yet to read its log."""
        return bool(self._behind)

    @property
    def services(self) -> Mapping[str, Sequence[Instance]]:
        """As they are now: a picture that does not change any more."""
        return dict(self._known)

    def forget(self) -> None:
        """Drops the services that have been gone for long enough."""
        now = time.time()
        for name in [name for name, until in self._gone.items() if now >= until]:
            del self._gone[name]
            self._kept.drop(name)
            if self._known.pop(name, None) is not None:
                self._on_change()
        self._kept.save()

    async def read(self, names: Sequence[str]) -> Mapping[str, Sequence[Instance]]:
        """Those services as Consul's leader has them now. Raises SourceError."""
        queries = [ServiceQuery(name, filters=("any",)) for name in names]
        found: list[tuple[ServiceInstance, ...]] = await asyncio.gather(
            *(self._watcher.read(query) for query in queries)
        )
        return {name: instances_of(instances) for name, instances in zip(names, found, strict=True)}

    def _heard(self, name: str, state: Watched[Any]) -> None:
        if state.behind:
            self._behind.add(name)
        else:
            self._behind.discard(name)

    def _listed(self, state: Watched[tuple[ServiceSummary, ...]]) -> None:
        self._heard("", state)
        if state.received:
            listed = {str(summary.name) for summary in state.value}
            for name in listed - self._watched.keys():
                self._gone.pop(name, None)
                self._kept.drop(name)
                query = ServiceQuery(name, filters=("any",))
                self._watched[name] = self._watcher.watch(query, partial(self._received, name))
            for name in self._watched.keys() - listed:
                self._watched.pop(name).close()
                self._behind.discard(name)
                self._left(name)
            self._kept.save()
        self._on_change()

    def _left(self, name: str) -> None:
        last = self._known[name] = _without_health(self._known.get(name, ()))
        kept = kept_seconds(last)
        self._gone[name] = time.time() + max(self._forget_after, kept)
        if kept > self._forget_after:
            self._kept.keep(name, last, self._gone[name])

    def _received(self, name: str, state: Watched[tuple[ServiceInstance, ...]]) -> None:
        if state.received and name in self._watched:
            self._heard(name, state)
            # An empty answer comes before the list that lacks the service; the labels are needed beyond that.
            instances = instances_of(state.value) or _without_health(self._known.get(name, ()))
            if self._known.get(name) != instances:
                self._known[name] = instances
                self._on_change()
