"""Service ports: a port 0 becomes a number of the operator's range that no other app has, and keeps it over updates."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from framework.api.errors import ForbiddenError
from framework.model.app import App
from framework.model.network import PortDefinition, PortMapping

Port = TypeVar("Port", PortDefinition, PortMapping)


def assigned(app: App, before: App | None, taken: set[int], ports: range) -> App:
    """`app` with numbers for its zeros; those that `before` had and `app` does not name come first. Adds them to `taken`.

    Raises ForbiddenError where the range is used up.
    """
    if 0 not in app.service_ports:
        taken.update(app.service_ports)
        return app
    kept = [p for p in before.service_ports if p in ports and p not in app.service_ports] if before else []
    if app.host_networking:
        return replace(app, port_definitions=_filled(app.port_definitions, kept, taken, ports))
    assert app.container is not None  # only containers have port mappings
    mappings = _filled(app.container.port_mappings, kept, taken, ports)
    return replace(app, container=replace(app.container, port_mappings=mappings))


def in_use(apps: Mapping[str, App], *, but: Iterable[str] = ()) -> set[int]:
    """The service ports of all apps except some."""
    others = set(but)
    return {port for app in apps.values() if app.id not in others for port in app.service_ports if port}


def _filled(items: tuple[Port, ...], kept: list[int], taken: set[int], ports: range) -> tuple[Port, ...]:
    taken.update(item.service_port for item in items)
    filled = []
    for item in items:
        if item.service_port == 0:
            number = kept.pop(0) if kept else _free(taken, ports)
            taken.add(number)
            item = (  # noqa: PLW2901
                replace(item, port=number) if isinstance(item, PortDefinition) else replace(item, service_port=number)
            )
        filled.append(item)
    return tuple(filled)


def _free(taken: set[int], ports: range) -> int:
    for number in ports:
        if number not in taken:
            return number
    raise ForbiddenError(
        f"no service port is free in {ports.start}-{ports.stop - 1}; name one in the definition, or widen the range"
    )
