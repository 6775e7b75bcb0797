"""Where secrets are kept: files, Consul's KV, Vault's KV version 2. Each `read` gives the value or raises SecretError.

What a server answers is never repeated in an error: it might be a value.
"""

import asyncio
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import orjson

from framework.decide.secret_source import DEFAULT_FIELD, SecretError, Source


class Store(Protocol):
    async def read(self, source: Source) -> bytes:
        """Raises SecretError."""


class Files:
    """One file for each secret, as Kubernetes and Docker mount them. One line break at the end is not part of the value."""

    def __init__(self, root: Path, most: int) -> None:
        self._root, self._most = root.expanduser(), most

    async def read(self, source: Source) -> bytes:
        return await asyncio.to_thread(self._read, source.path)

    def _read(self, path: str) -> bytes:
        try:
            root = self._root.resolve()
            # Links may lead from one place of the folder to another (as Kubernetes makes them), not out of it.
            found = (root / path).resolve(strict=True)
            if not found.is_relative_to(root):
                raise SecretError(f"file {path} leads out of {self._root}")
            with found.open("rb") as file:
                data = file.read(self._most + 1)
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it cannot be read"
            raise SecretError(f"file {path} in {self._root}: {why}") from None
        return _bounded(data.removesuffix(b"\n").removesuffix(b"\r"), self._most)


class ConsulKv:
    def __init__(
        self, http: aiohttp.ClientSession, address: str, prefix: str, token_file: Path | None, most: int
    ) -> None:
        self._http, self._address, self._prefix = http, address.rstrip("/"), prefix.strip("/")
        self._token_file, self._most = token_file, most

    async def read(self, source: Source) -> bytes:
        key = "/".join(part for part in (self._prefix, source.path) if part)
        token = await read_token(self._token_file)
        headers = {"X-Consul-Token": token} if token else {}
        status, body = await _get(self._http, f"{self._address}/v1/kv/{quote(key)}?raw", headers, "Consul", self._most)
        if status != 200:
            raise SecretError(f"Consul's key {key}: {_meaning(status)}")
        return body


class VaultKv:
    def __init__(
        self,
        http: aiohttp.ClientSession,
        address: str,
        mount: str,
        namespace: str | None,
        token_file: Path | None,
        most: int,
    ) -> None:
        self._http, self._address, self._mount = http, address.rstrip("/"), mount.strip("/")
        self._namespace, self._token_file, self._most = namespace, token_file, most

    async def read(self, source: Source) -> bytes:
        where = f"Vault's secret {self._mount}/{source.path}"
        headers = {"X-Vault-Request": "true"}
        token = await read_token(self._token_file)
        if token:
            headers["X-Vault-Token"] = token
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        url = f"{self._address}/v1/{quote(self._mount)}/data/{quote(source.path)}"
        status, body = await _get(self._http, url, headers, "Vault", 16 * self._most)
        if status != 200:
            raise SecretError(f"{where}: {_meaning(status)}")
        fields = _fields(body)
        if fields is None:
            raise SecretError(f"{where}: the answer is not one of KV version 2; look at --secrets-vault-mount")
        field = source.field or DEFAULT_FIELD
        if field not in fields:
            raise SecretError(f"{where} has no field {field}")
        value = fields[field]
        data = value.encode() if isinstance(value, str) else orjson.dumps(value)
        return _bounded(data, self._most)


def _fields(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)["data"]["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


async def read_token(path: Path | None) -> str | None:
    """Read each time: agents of Vault and Consul renew their tokens in place."""
    if path is None:
        return None
    try:
        text = await asyncio.to_thread(path.expanduser().read_text)
    except (OSError, UnicodeDecodeError):
        raise SecretError(f"the token file {path} cannot be read") from None
    token = text.strip()
    if not token.isprintable() or not token.isascii():
        raise SecretError(f"the token file {path} does not hold a token")
    return token


async def _get(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], whom: str, most: int
) -> tuple[int, bytes]:
    try:
        async with http.get(url, headers=headers, allow_redirects=False) as response:
            body = b""
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > most:
                    raise SecretError(f"{whom} answers with more than {most} bytes")
            return response.status, body
    except TimeoutError:
        raise SecretError(f"{whom} does not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise SecretError(f"{whom} cannot be reached: {type(error).__name__}") from None


def _meaning(status: int) -> str:
    match status:
        case 404:
            return "there is no such secret"
        case 400 | 401 | 403:
            return f"access is denied ({status}); look at the token and its policy"
        case _:
            return f"the server answers {status}"


def _bounded(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise SecretError(f"it is larger than {most} bytes")
    return data
