"""Vault's secrets over its HTTP API: read, or written where a secret is made by asking for it; renewed before its lease ends.

A secret with a lease is renewed at `renewal_threshold` of it, and read anew where it cannot be. One without a lease is read again every
`default_lease`. With version 2 of the KV engine the path gets its `data/` by itself. The token is renewed, too, if it can be.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from consul_template_py.errors import SourceError, SourceRefusedError, SourceUnavailableError
from consul_template_py.http import Client, Endpoint, Response, quote_path
from consul_template_py.query import Query
from consul_template_py.query.vault import Secret, SecretQuery, SecretsQuery
from consul_template_py.sources.base import Answer
from daemonkit.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class VaultSettings:
    """Durations in seconds. `token_file` is where a Vault agent keeps a token that it renews: read for each request.

    `unwrap_token`: the token given, or in the file, is a wrapping token; the one in it is used."""

    endpoint: Endpoint
    token: SecretStr
    token_file: Path | None = None
    namespace: str = ""
    unwrap_token: bool = False
    renew_token: bool = True
    default_lease: float = 300.0
    renewal_threshold: float = 0.9
    timeout: float = 60.0
    connect_timeout: float = 5.0
    tls_handshake_timeout: float = 10.0
    tcp_keep_alive: float = 30.0
    max_idle_connections: int = 100


@dataclass(frozen=True, slots=True)
class _Lease:
    """The cursor: when the secret is to be seen to, by the monotonic clock."""

    id: str
    renewable: bool
    at: float


# What was in wrapping tokens: each can be opened once, and a configuration that is read again names the same one.
_unwrapped: dict[str, str] = {}


class VaultSource:
    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings
        self._client = Client(
            settings.endpoint,
            max_connections=8,
            max_body_bytes=4 * 1024 * 1024,
            connect_timeout=settings.connect_timeout,
            tls_handshake_timeout=settings.tls_handshake_timeout,
            tcp_keep_alive=settings.tcp_keep_alive,
            max_idle=settings.max_idle_connections,
        )
        self._mounts: dict[str, str] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._unwrapping = asyncio.Lock()

    async def poll(self, query: Query[Any], cursor: object | None, last: Any = None) -> Answer[Any]:
        if self._renewing is None and self._settings.renew_token and self._settings.token_file is None:
            self._renewing = asyncio.create_task(self._renew_token())
        if isinstance(cursor, _Lease):
            await asyncio.sleep(max(0.0, cursor.at - time.monotonic()))
            if cursor.renewable and isinstance(last, Secret):
                renewed = await self._renew(cursor)
                if renewed is not None:
                    return Answer(last, renewed)
        value = await self.read(query)
        return Answer(value, self._lease(value))

    async def read(self, query: Query[Any]) -> Any:
        if isinstance(query, SecretsQuery):
            path = await self._full_path(query.path, "metadata")
            response = await self._request("GET", f"/v1/{quote_path(path)}", query="list=true", empty=True)
            return query.decode(response.body) if response.status == 200 else ()
        assert isinstance(query, SecretQuery)
        path = f"/v1/{quote_path(await self._full_path(query.path, 'data'))}"
        if query.fields:
            response = await self._request("PUT", path, body=dict(query.fields))
        else:
            response = await self._request("GET", path)
        try:
            return query.decode(response.body)
        except (ValueError, AttributeError) as error:
            raise SourceUnavailableError(f"Vault's answer cannot be read: {error}") from None

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._client.close()

    def _lease(self, value: Any) -> _Lease:
        duration = value.lease_duration if isinstance(value, Secret) else 0
        settings = self._settings
        # A KV secret has a duration that means nothing: it has no lease.
        wait = duration * settings.renewal_threshold if duration and value.lease_id else settings.default_lease
        id = value.lease_id if isinstance(value, Secret) else ""
        renewable = bool(id) and value.renewable
        return _Lease(id, renewable, time.monotonic() + max(1.0, wait))

    async def _renew(self, lease: _Lease) -> _Lease | None:
        """None where it cannot be renewed any further."""
        try:
            response = await self._request("PUT", "/v1/sys/leases/renew", body={"lease_id": lease.id})
            found = orjson.loads(response.body)
            duration = float(found.get("lease_duration") or 0)
        except (SourceRefusedError, ValueError):
            return None
        if duration <= 1:
            return None
        return _Lease(
            lease.id,
            bool(found.get("renewable")),
            time.monotonic() + max(1.0, duration * self._settings.renewal_threshold),
        )

    async def _renew_token(self) -> None:
        """For ever: half-way through the token's time, more is asked for. A token that cannot be renewed is left alone."""
        while True:
            try:
                response = await self._request("GET", "/v1/auth/token/lookup-self")
                found = orjson.loads(response.body)["data"]
                if not found.get("renewable") or not found.get("ttl"):
                    return
                await asyncio.sleep(max(1.0, found["ttl"] / 2))
                await self._request("PUT", "/v1/auth/token/renew-self", body={})
            except (SourceError, ValueError, KeyError) as error:
                log.warning("Vault's token could not be renewed, will try again", error=str(error))
                await asyncio.sleep(min(30.0, self._settings.default_lease))

    async def _full_path(self, path: str, folder: str) -> str:
        """With version 2 of the KV engine: `mount/data/…` for `mount/…`."""
        mount = next((known for known in self._mounts if path.startswith(known)), None)
        if mount is None:
            found = await self._mount(path)
            if found is None:
                return path
            mount, self._mounts[found[0]] = found
        rest = path.removeprefix(mount.rstrip("/")).lstrip("/")
        if self._mounts[mount] != "2" or rest.split("/")[0] in ("data", "metadata"):
            return path
        return f"{mount}{folder}/{rest}".rstrip("/")

    async def _mount(self, path: str) -> tuple[str, str] | None:
        """The mount that a path is below, and the KV engine's version there; None where Vault will not say."""
        try:
            response = await self._request("GET", f"/v1/sys/internal/ui/mounts/{quote_path(path)}")
            found = orjson.loads(response.body)["data"]
            version = (found.get("options") or {}).get("version") or "1"
            return str(found["path"]), str(version) if found.get("type") == "kv" else "1"
        except (SourceRefusedError, ValueError, KeyError):
            return None

    async def _request(
        self, method: str, path: str, *, query: str = "", body: dict[str, Any] | None = None, empty: bool = False
    ) -> Response:
        """`empty`: a 404 is an answer."""
        token = self._token()
        if self._settings.unwrap_token and token:
            token = await self._unwrap(token)
        response = await self._send(method, path, token, query=query, body=body)
        if response.status in (200, 204) or (empty and response.status == 404):
            return response
        said = f"Vault answered {response.status}: {response.text()}"
        if response.status == 404:
            raise SourceRefusedError(f"Vault has nothing at {path.removeprefix('/v1/')}")
        if response.status == 403:
            raise SourceRefusedError(f"{said}; give a token that may read this")
        if response.status < 500 and response.status != 429:
            raise SourceRefusedError(said)
        raise SourceUnavailableError(said)

    async def _send(
        self, method: str, path: str, token: str, *, query: str = "", body: dict[str, Any] | None = None
    ) -> Response:
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        payload = None if body is None else orjson.dumps(body)
        return await self._client.request(
            method, path, query=query, body=payload, headers=headers, timeout=self._settings.timeout
        )

    async def _unwrap(self, wrapping: str) -> str:
        async with self._unwrapping:
            if wrapping not in _unwrapped:
                response = await self._send("PUT", "/v1/sys/wrapping/unwrap", wrapping)
                if response.status >= 500 or response.status == 429:
                    raise SourceUnavailableError(f"Vault answered {response.status}: {response.text()}")
                try:
                    _unwrapped[wrapping] = str(orjson.loads(response.body)["auth"]["client_token"])
                except (ValueError, KeyError, TypeError):
                    raise SourceRefusedError(
                        f"vault.unwrap_token: Vault answered {response.status}, and no token is in the wrapping token; "
                        "it can be opened once, in its time: give another"
                    ) from None
        return _unwrapped[wrapping]

    def _token(self) -> str:
        if self._settings.token_file is None:
            return self._settings.token.get_secret_value()
        try:
            return self._settings.token_file.read_text().strip()
        except OSError as error:
            raise SourceUnavailableError(f"vault: {self._settings.token_file}: {error.strerror}") from None
