"""`ca_roots("@dc")`: the certificates that Consul Connect trusts."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from consul_template_py.errors import QuerySyntaxError
from consul_template_py.query.base import HERE, At, ConsulQuery, parse_parts


@dataclass(frozen=True, slots=True)
class CaRoot:
    id: str
    name: str
    root_cert_pem: str
    active: bool


@dataclass(frozen=True, slots=True)
class CaRootsQuery(ConsulQuery[tuple[CaRoot, ...]]):
    at: At = HERE

    @staticmethod
    def parse(text: str = "") -> "CaRootsQuery":
        parts = parse_parts(text, "ca_roots")
        if parts.name or parts.near or parts.filters:
            raise QuerySyntaxError(f"ca_roots({text!r}) takes only @datacenter")
        return CaRootsQuery(parts.at)

    @property
    def path(self) -> str:
        return "/connect/ca/roots"

    @property
    def params(self) -> Mapping[str, str]:
        return self.at.params

    def decode(self, body: bytes) -> tuple[CaRoot, ...]:
        return tuple(
            CaRoot(entry["ID"], entry.get("Name") or "", entry["RootCert"], bool(entry.get("Active")))
            for entry in orjson.loads(body).get("Roots") or ()
        )

    def absent(self) -> tuple[CaRoot, ...]:
        return ()

    def __str__(self) -> str:
        return f"ca_roots({self.at})"
