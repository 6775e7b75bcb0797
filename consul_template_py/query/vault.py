"""`secret("path", key=value…)` and `secrets("path")`: a secret of Vault, and the names below a path."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import orjson

from consul_template_py.query.base import Source


@dataclass(frozen=True, slots=True)
class Secret:
    """`data` is the secret itself (with KV version 2: its data and metadata). Its repr shows no values. Durations in seconds."""

    lease_id: str
    lease_duration: int
    renewable: bool
    data: Mapping[str, Any]
    request_id: str = ""

    def __repr__(self) -> str:
        return f"Secret({', '.join(self.data)})"


@dataclass(frozen=True, slots=True)
class SecretQuery:
    """Read, or written where there are `fields`: how dynamic secrets such as certificates are asked for."""

    source: ClassVar[Source] = "vault"
    path: str
    fields: tuple[tuple[str, str], ...] = ()

    def decode(self, body: bytes) -> Secret:
        found = orjson.loads(body)
        data = found.get("data") or {}
        return Secret(
            lease_id=found.get("lease_id") or "",
            lease_duration=found.get("lease_duration") or 0,
            renewable=bool(found.get("renewable")),
            data=MappingProxyType(data),
            request_id="",
        )

    def absent(self) -> Secret:
        return Secret("", 0, False, {})

    def __str__(self) -> str:
        return f"secret({self.path}{''.join(f', {name}=…' for name, _ in self.fields)})"


@dataclass(frozen=True, slots=True)
class SecretsQuery:
    """The names below a path, sorted."""

    source: ClassVar[Source] = "vault"
    path: str

    def decode(self, body: bytes) -> tuple[str, ...]:
        return tuple(sorted((orjson.loads(body).get("data") or {}).get("keys") or ()))

    def absent(self) -> tuple[str, ...]:
        return ()

    def __str__(self) -> str:
        return f"secrets({self.path})"
