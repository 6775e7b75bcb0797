"""Service ports: a port 0 becomes a number of the operator's range that no other app has, and keeps it over updates."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from framework.api.errors import ForbiddenError
from framework.model.app import App
from framework.model.change import Change
from framework.model.network import PortDefinition, PortMapping

Port = TypeVar("Port", PortDefinition, PortMapping)


class ServicePorts:
    """Knows the service ports of all apps, and keeps up with them by looking only at those that have changed."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers
        self._apps: Mapping[str, App] = {}
        self._in_use: Counter[int] = Counter()

    def assigned(self, change: Change, apps: Mapping[str, App]) -> Change:
        """`change` to `apps` with numbers for its zeros; those that an app had before and does not name now come first.

        Raises ForbiddenError where the range is used up.
        """
        wanted = [app for app in change.apps.values() if app is not None]
        if not any(0 in app.service_ports for app in wanted):
            return change
        self._keep_up(apps)
        taken = Counter(self._in_use)
        for app_id in change.apps:
            if app_id in apps:
                taken.subtract(apps[app_id].service_ports)
        for app in wanted:
            taken.update(app.service_ports)
        free = self._free(taken)
        numbered = {app.id: self._numbered(app, apps.get(app.id), taken, free) for app in wanted}
        return replace(change, apps={**change.apps, **numbered})

    def _keep_up(self, apps: Mapping[str, App]) -> None:
        if apps is self._apps:
            return
        for app_id, app in self._apps.items():
            if apps.get(app_id) is not app:
                self._in_use.subtract(app.service_ports)
        for app_id, app in apps.items():
            if self._apps.get(app_id) is not app:
                self._in_use.update(app.service_ports)
        self._apps = apps

    def _numbered(self, app: App, before: App | None, taken: Counter[int], free: Iterator[int]) -> App:
        named = app.service_ports
        if 0 not in named:
            return app
        kept = [p for p in before.service_ports if p in self._numbers and not taken[p]] if before else []
        if app.host_networking:
            return replace(app, port_definitions=_filled(app.port_definitions, kept, taken, free))
        assert app.container is not None  # only containers have port mappings
        mappings = _filled(app.container.port_mappings, kept, taken, free)
        return replace(app, container=replace(app.container, port_mappings=mappings))

    def _free(self, taken: Counter[int]) -> Iterator[int]:
        for number in self._numbers:
            if not taken[number]:
                yield number
        raise ForbiddenError(
            f"no service port is free in {self._numbers.start}-{self._numbers.stop - 1};"
            " name one in the definition, or widen the range"
        )


def _filled(items: tuple[Port, ...], kept: list[int], taken: Counter[int], free: Iterator[int]) -> tuple[Port, ...]:
    filled = []
    for item in items:
        if item.service_port == 0:
            number = kept.pop(0) if kept else next(free)
            taken[number] += 1
            item = (  # noqa: PLW2901
                replace(item, port=number) if isinstance(item, PortDefinition) else replace(item, service_port=number)
            )
        filled.append(item)
    return tuple(filled)
