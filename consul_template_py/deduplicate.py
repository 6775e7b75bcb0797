"""Of many processes with the same templates one renders, and all write: so many fewer watches on Consul.

For each template there is a lock in Consul's KV, by a hash of the template. Who holds it is its leader: it evaluates the template and
publishes the text, under the same lock, so that only the leader can. The others follow the published text. When the leader's session
ends, Consul frees the lock and another takes it.

A template that reads what is not Consul's (a file, a secret, the environment, this machine's addresses) gives another text on each
machine, or one that must not be in Consul: its leader says so, and everybody evaluates it. So do they when the text is too long for KV.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from consul_template_py.errors import SourceError, SourceUnavailableError
from consul_template_py.http import Client, Response, quote_path
from consul_template_py.query import KeyQuery
from consul_template_py.watch import Subscription, Watched, Watcher
from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger

log = get_logger(__name__)

MOST_BYTES = 500 * 1024  # of a KV value: Consul allows 512 KB
_TEXT, _OWN = b"text\n", b"own\n"


@dataclass(frozen=True)
class Follower:
    """What a follower hears. `on_text`: the leader's text. `on_own`: the template is to be evaluated here."""

    on_text: Callable[[str], None]
    on_own: Callable[[], None]


class Deduplicator:
    """One session for this process; `join` enters the election of one template and stays until cancelled.

    `prefix` ends with a slash; `ttl` in seconds is how long a dead leader keeps its lock.
    """

    def __init__(self, client: Client, watcher: Watcher, *, prefix: str, ttl: float) -> None:
        self._client, self._watcher = client, watcher
        self._prefix, self._ttl = prefix.rstrip("/") + "/", ttl
        self._session = ""
        self._renewed = asyncio.Event()  # there is a session
        self._published: dict[str, str | None] = {}

    async def run(self) -> None:
        """Keeps the session alive; when it is lost, makes another. Until cancelled, when the session is given up."""
        backoff = Backoff(0.5, self._ttl / 2)
        try:
            while True:
                try:
                    await self._keep_session()
                    backoff.reset()
                    await asyncio.sleep(self._ttl / 2)
                except SourceError as error:
                    log.warning("deduplicate: no session", error=str(error))
                    await asyncio.sleep(backoff.next())
        finally:
            if self._session:
                # Without this the others would wait for the session's time to pass.
                with_session = self._put(f"/v1/session/destroy/{self._session}")
                await asyncio.wait({asyncio.ensure_future(with_session)}, timeout=2.0)

    async def join(self, template: str, lead: Callable[[], None], follower: Follower) -> None:
        """`lead` is called when this process becomes the leader of `template` (a hash); `follower` hears while it is not."""
        lock, data = KeyQuery(f"{self._prefix}{template}/lock"), KeyQuery(f"{self._prefix}{template}/data")
        while True:
            await self._renewed.wait()
            session = self._session
            try:
                if await self._acquire(lock.key, session):
                    log.info("deduplicate: leading", template=template)
                    lead()
                    await self._until_lock(lock, leaves=session)
                    log.info("deduplicate: no longer leading", template=template)
                    continue
                listening = self._listen(data, follower)
                try:
                    await self._until_lock(lock, leaves=None)
                finally:
                    listening.close()
            except SourceError as error:
                log.warning("deduplicate: the lock cannot be asked for", template=template, error=str(error))
            await asyncio.sleep(0.2)  # Consul may keep a lock that has just been freed for a moment

    async def publish(self, template: str, text: str | None) -> None:
        """The leader's text; None says that everybody is to evaluate the template. Raises SourceError."""
        if template in self._published and self._published[template] == text:
            return
        value = _OWN if text is None else _TEXT + zlib.compress(text.encode("utf-8", "surrogateescape"), 6)
        if len(value) > MOST_BYTES:
            value = _OWN
        path = f"/v1/kv/{quote_path(f'{self._prefix}{template}/data')}"
        response = await self._put(path, query=f"acquire={self._session}", body=value)
        if response.body.strip() == b"true":
            self._published[template] = text

    def _listen(self, data: KeyQuery, follower: Follower) -> Subscription[str | None]:
        def heard(state: Watched[str | None]) -> None:
            if not state.received or state.value is None:
                return
            value = state.value.encode("utf-8", "surrogateescape")
            if value.startswith(_TEXT):
                text = zlib.decompress(value.removeprefix(_TEXT)).decode("utf-8", "surrogateescape")
                follower.on_text(text)
            elif value == _OWN:
                follower.on_own()

        return self._watcher.watch(data, heard)

    async def _until_lock(self, lock: KeyQuery, *, leaves: str | None) -> None:
        """Waits until the session `leaves` no longer holds the lock (None: until nobody does), or our own session is another one."""
        session, index = self._session, 0
        while self._session == session:
            response = await self._client.request(
                "GET", f"/v1/kv/{quote_path(lock.key)}", query=f"index={index}&wait=10s", timeout=20.0
            )
            if response.status not in (200, 404):
                raise SourceUnavailableError(f"Consul answered {response.status}: {response.text()}")
            holder = str(orjson.loads(response.body)[0].get("Session") or "") if response.status == 200 else ""
            if holder != leaves if leaves else not holder:
                return
            index = int(response.headers.get("x-consul-index") or 0)

    async def _acquire(self, lock: str, session: str) -> bool:
        response = await self._put(f"/v1/kv/{quote_path(lock)}", query=f"acquire={session}", body=b"")
        return response.body.strip() == b"true"

    async def _keep_session(self) -> None:
        if self._session:
            response = await self._client.request("PUT", f"/v1/session/renew/{self._session}", body=b"", timeout=10.0)
            if response.status == 200:
                return
            if response.status != 404:
                raise SourceUnavailableError(f"Consul answered {response.status}: {response.text()}")
            log.warning("deduplicate: the session has ended", session=self._session)
        self._renewed.clear()
        self._session, self._published = "", {}
        wanted = {"Name": "consul-template", "TTL": f"{self._ttl:g}s", "Behavior": "release", "LockDelay": "1ms"}
        response = await self._put("/v1/session/create", body=orjson.dumps(wanted))
        self._session = str(orjson.loads(response.body)["ID"])
        self._renewed.set()

    async def _put(self, path: str, *, query: str = "", body: bytes = b"") -> Response:
        response = await self._client.request("PUT", path, query=query, body=body, timeout=10.0)
        if response.status != 200:
            raise SourceUnavailableError(f"Consul answered {response.status}: {response.text()}")
        return response


def template_hash(*parts: Any) -> str:
    """Of all that decides what a template gives from the same data."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]
