"""The services of a model -> the table that Nginx' workers read: what may change without a reload. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nginx.model import Model, Service

Table = dict[str, dict[str, Any]]
Entries = dict[str, tuple[Service, tuple[bool, bool], dict[str, Any]]]


def table_of(model: Model, switched: Collection[str] = (), before: Entries | None = None) -> Table:
    """Service name -> its entry. `switched` are the services whose standby is to answer. `before` keeps entries for the next call."""
    kept: Entries = before if before is not None else {}
    streams = {stream.service for stream in model.streams}
    table = {}
    for name, service in model.services.items():
        is_switched, is_stream = flags = (name in switched, name in streams)
        known = kept.get(name)
        if known is None or known[0] is not service or known[1] != flags:
            known = kept[name] = (service, flags, _entry(service, is_switched, is_stream))
        table[name] = known[2]
    for name in kept.keys() - table.keys():
        del kept[name]
    return table


@dataclass(frozen=True)
class Change:
    """What turns one table into another."""

    services: Table
    remove: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.services or self.remove)


def difference(before: Mapping[str, Any], after: Table) -> Change:
    return Change(
        services={
            name: entry for name, entry in after.items() if (was := before.get(name)) is not entry and was != entry
        },
        remove=tuple(sorted(name for name in before if name not in after)),
    )


def _entry(service: Service, switched: bool, is_stream: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "app": service.app,
        "endpoints": [[endpoint.address, endpoint.port, endpoint.weight] for endpoint in service.endpoints],
        "method": service.balancing.method,
        "hash": [service.balancing.hash_key.kind, service.balancing.hash_key.name],
        "sticky": service.balancing.sticky,
        "tries": service.retries.tries,
        "max_fails": service.retries.max_fails,
        "fail_timeout": service.retries.fail_timeout,
        "connect": service.timeouts.connect,
        "send": service.timeouts.send,
        "read": service.timeouts.read,
        "upgraded": service.timeouts.upgraded,
        "maintenance": service.maintenance,
    }
    if is_stream:
        entry["is_stream"] = True
    if service.canaries:
        entry["canaries"] = [
            {
                "service": name,
                "header": canary.header,
                "value": canary.header_value,
                "cookie": canary.cookie,
                "weight": canary.weight,
            }
            for name, canary in service.canaries
        ]
    if service.standby:
        entry["standby"] = service.standby.service
        entry["switched"] = switched
    return entry
