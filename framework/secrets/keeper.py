"""Fetches secrets when the engine asks for them, and keeps the values, in memory alone, for as long as a launch may need them."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from framework.decide.secret_source import SecretError, Source, StoreName, parse_source
from framework.engine.events import Event, SecretsResolved
from framework.secrets.stores import ConsulKv, Files, Store, VaultKv


@dataclass(frozen=True, slots=True)
class Places:
    """Where secrets are. `keep_seconds`: how long a value is kept after it was fetched. A store whose place is None is not used."""

    default: StoreName | None = None
    directory: Path | None = None
    consul_address: str | None = None
    consul_prefix: str = "secrets"
    consul_token_file: Path | None = None
    vault_address: str | None = None
    vault_mount: str = "secret"
    vault_namespace: str | None = None
    vault_token_file: Path | None = None
    ca: Path | None = None
    timeout: float = 5.0
    most_bytes: int = 65536
    keep_seconds: float = 120.0
    concurrency: int = 16


class Keeper:
    """`post` is the engine's. Lives in the engine's event loop."""

    def __init__(
        self, settings: Places, post: Callable[[Event], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._post, self._clock = settings, post, clock
        self._values: dict[str, tuple[float, bytes]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(settings.concurrency)

    def __repr__(self) -> str:
        return f"Keeper({len(self._values)} values)"

    # --- engine's side

    def fetch(self, sources: Iterable[str]) -> None:
        """SecretsResolved tells how it went."""
        task = asyncio.get_running_loop().create_task(self._fetch(list(sources)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def value(self, text: str) -> bytes:
        """Of a source that was fetched a short while ago. Raises SecretError."""
        kept = self._values.get(text)
        if kept is None or kept[0] < self._clock():
            raise SecretError(f"secret '{text[:100]}' has not been fetched")
        return kept[1]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._values.clear()
        if self._http is not None:
            await self._http.close()

    # --- fetching

    async def _fetch(self, sources: list[str]) -> None:
        outcomes = await asyncio.gather(*(self._fetch_one(text) for text in sources))
        now = self._clock()
        for text in [text for text, (until, _) in self._values.items() if until < now]:
            del self._values[text]
        self._post(SecretsResolved(dict(zip(sources, outcomes, strict=True))))

    async def _fetch_one(self, text: str) -> str | None:
        """None if it worked, else why not."""
        try:
            source = parse_source(text, self._settings.default)
            async with self._places:
                data = await self._store(source).read(source)
        except SecretError as error:
            return str(error)
        except Exception as error:  # whatever a store does, it ends here, and its text may hold a value
            return f"'{text[:100]}' cannot be read: {type(error).__name__}"
        self._values[text] = (self._clock() + self._settings.keep_seconds, data)
        return None

    def _store(self, source: Source) -> Store:
        given = self._settings
        match source.store:
            case "file":
                if given.directory is not None:
                    return Files(given.directory, given.most_bytes)
                raise SecretError("no secrets are read from files: --secrets-dir is not set")
            case "consul":
                if given.consul_address is not None:
                    return ConsulKv(
                        self._session(),
                        given.consul_address,
                        given.consul_prefix,
                        given.consul_token_file,
                        given.most_bytes,
                    )
                raise SecretError("no secrets are read from Consul: --secrets-consul-address is not set")
            case "vault":
                if given.vault_address is not None:
                    return VaultKv(
                        self._session(),
                        given.vault_address,
                        given.vault_mount,
                        given.vault_namespace,
                        given.vault_token_file,
                        given.most_bytes,
                    )
                raise SecretError("no secrets are read from Vault: --secrets-vault-address is not set")

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            context = ssl.create_default_context(cafile=str(self._settings.ca)) if self._settings.ca else True
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
                connector=aiohttp.TCPConnector(ssl=context),
            )
        return self._http
