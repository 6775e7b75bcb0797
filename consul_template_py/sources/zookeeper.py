"""ZooKeeper's nodes, through kazoo, whose threads stay behind this seam.

A watch of ZooKeeper says once that something has changed; it is set again before each look, so that no change falls between two looks.
When the session is lost everyone looks again.
"""

import asyncio
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoAuthError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import WatchedEvent
from pydantic import SecretStr

from consul_template_py.errors import SourceRefusedError, SourceUnavailableError
from consul_template_py.query import Query
from consul_template_py.query.zookeeper import ZchildrenQuery, ZnodeQuery
from consul_template_py.sources.base import Answer

_GONE = -1


class ZookeeperSource:
    """`hosts`: `host:port,…[/chroot]`. `auth`: `scheme:credential`. `timeout` bounds one look, in seconds; `again` is how often a look
    is taken although nothing was said."""

    def __init__(
        self, hosts: str, *, auth: SecretStr | None = None, timeout: float = 10.0, again: float = 60.0
    ) -> None:
        scheme, _, credential = auth.get_secret_value().partition(":") if auth else ("", "", "")
        self._client = KazooClient(
            hosts, timeout=timeout, read_only=True, auth_data=[(scheme, credential)] if scheme else None
        )
        self._timeout, self._again = timeout, again
        self._started = False
        self._waiting: dict[Query[Any], asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def poll(self, query: Query[Any], cursor: object | None, last: Any = None) -> Answer[Any]:
        event = self._waiting.setdefault(query, asyncio.Event())
        while True:
            event.clear()
            value, stamp = await self._look(query, watch=True)
            if cursor is None or stamp != cursor:
                return Answer(value, stamp)
            try:
                async with asyncio.timeout(self._again):
                    await event.wait()
            except TimeoutError:
                pass

    async def read(self, query: Query[Any]) -> Any:
        await self._sync(query)
        return (await self._look(query, watch=False))[0]

    async def close(self) -> None:
        if self._started:
            await asyncio.to_thread(self._client.stop)
            await asyncio.to_thread(self._client.close)

    async def _look(self, query: Query[Any], *, watch: bool) -> tuple[Any, object]:
        await self._connected()
        said = self._watcher(query) if watch else None
        assert isinstance(query, ZnodeQuery | ZchildrenQuery)
        try:
            # `exists` watches a node that is not there yet, too.
            if await self._call(self._client.exists_async(query.path, watch=said)) is None:
                return ((), _GONE) if isinstance(query, ZchildrenQuery) else (None, _GONE)
            if isinstance(query, ZchildrenQuery):
                children = tuple(sorted(await self._call(self._client.get_children_async(query.path, watch=said))))
                return children, children
            data, stat = await self._call(self._client.get_async(query.path))
            return query.decode(data), stat.mzxid
        except NoNodeError:  # it went between the two
            return ((), _GONE) if isinstance(query, ZchildrenQuery) else (None, _GONE)
        except NoAuthError:
            raise SourceRefusedError(f"ZooKeeper: {query.path} may not be read; set zookeeper.auth") from None
        except (KazooException, KazooTimeoutError, ValueError) as error:
            raise SourceUnavailableError(f"ZooKeeper: {type(error).__name__} {error}".rstrip()) from None

    async def _sync(self, query: Query[Any]) -> None:
        """Has the server catch up with its leader."""
        await self._connected()
        assert isinstance(query, ZnodeQuery | ZchildrenQuery)
        try:
            await self._call(self._client.sync_async(query.path))
        except (KazooException, KazooTimeoutError) as error:
            raise SourceUnavailableError(f"ZooKeeper: {type(error).__name__} {error}".rstrip()) from None

    async def _connected(self) -> None:
        if not self._started:
            self._started = True
            self._loop = asyncio.get_running_loop()
            self._client.add_listener(self._session_changed)
            self._client.start_async()
        if not self._client.connected:
            try:
                async with asyncio.timeout(self._timeout):
                    while not self._client.connected:  # noqa: ASYNC110  kazoo's event is a thread's
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise SourceUnavailableError(f"ZooKeeper cannot be reached within {self._timeout:g} s") from None

    async def _call(self, result: Any) -> Any:
        """Waits for one of kazoo's own promises without a thread of ours."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not future.done():
                future.set_result(None)

        def done(_: Any) -> None:
            loop.call_soon_threadsafe(finish)

        result.rawlink(done)
        try:
            async with asyncio.timeout(self._timeout):
                await future
        except TimeoutError:
            raise SourceUnavailableError(f"ZooKeeper did not answer within {self._timeout:g} s") from None
        return result.get_nowait()

    def _watcher(self, query: Query[Any]) -> Any:
        event, loop = self._waiting[query], asyncio.get_running_loop()

        def said(_: WatchedEvent) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        return said

    def _session_changed(self, state: str) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for event in self._waiting.values():
            event.set()
