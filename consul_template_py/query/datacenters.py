"""`datacenters()`: the names of the federated data centres, sorted."""

from dataclasses import dataclass

import orjson

from consul_template_py.query.base import ConsulQuery


@dataclass(frozen=True, slots=True)
class DatacentersQuery(ConsulQuery[tuple[str, ...]]):
    @property
    def path(self) -> str:
        return "/catalog/datacenters"

    def decode(self, body: bytes) -> tuple[str, ...]:
        return tuple(sorted(orjson.loads(body)))

    def absent(self) -> tuple[str, ...]:
        return ()

    def __str__(self) -> str:
        return "datacenters()"
