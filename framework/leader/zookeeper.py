"""Leadership among several nodes, decided in ZooKeeper: whose candidate is the oldest leads.

    <path>/candidates/<node's mark>-<number>    ephemeral; its data is host:port of the node's API

Election only says who *should* lead; that no two *write* is the store's epoch's doing. So a node may learn late that it lost: what it
writes until then is refused, and the refusal deposes it as well.

A node stops leading, and stands by again, when
- its session is lost (it was paused, or cut off for longer than the session timeout);
- ZooKeeper cannot be reached for as long as that, by the node's own clock;
- the store refuses it (another one leads);
- it is asked to (DELETE /v2/leader).
It leaves Mesos without a word about its tasks, which go on; the next leader subscribes with the same framework id.

kazoo's threads only set an event; all decisions are made in the event loop.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import TypeVar

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger
from framework.engine.loop import Engine
from framework.store.base import StoreError, StoreUnusable

log = get_logger(__name__)

T = TypeVar("T")
LOOK_AGAIN = 5.0  # seconds; a watch that was missed costs no more


class ElectedNode:
    """`client` is started. `address`: host:port under which the others reach this node's API. `patience`: for how long ZooKeeper may be
    out of reach before this node stops leading, in seconds."""

    def __init__(
        self,
        engine: Engine,
        client: KazooClient,
        path: str,
        address: str,
        *,
        patience: float,
        new_framework_id: bool = False,
    ) -> None:
        self._engine, self._client, self._address = engine, client, address
        self._path, self._epoch = f"{path}/candidates", f"{path}/epoch"
        self._patience, self._new_framework_id = patience, new_framework_id
        self._mark = uuid.uuid4().hex
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leads = False
        self._followed: str | None = None
        self._cut_off_since: float | None = None
        self._backoff = Backoff(first=0.2, most=5.0)

    async def start(self) -> None:
        """Returns when the first decision is made: this node leads, or another one does. Raises OperatorError where it cannot lead."""
        self._loop = asyncio.get_running_loop()
        self._client.add_listener(self._session_changed)
        self._engine.follow(None)
        while not self._leads and self._followed is None:
            await self._turn()

    async def run(self) -> None:
        """Carries later decisions out. Raises OperatorError where this node is to lead and cannot."""
        while True:
            await self._turn()

    async def stop(self) -> None:
        """Makes way at once, instead of when the session ends."""
        self._client.remove_listener(self._session_changed)
        with contextlib.suppress(KazooException, KazooTimeoutError, TimeoutError):
            await self._in_thread(self._withdraw)

    # --- one look

    async def _turn(self) -> None:
        try:
            await self._wait()
            await self._decide()
            self._backoff.reset()
        except StoreUnusable:
            raise
        except (KazooException, KazooTimeoutError, TimeoutError, StoreError) as error:
            log.warning("the election is tried again", error=str(error) or type(error).__name__)
            self._stand_by(None)
            if isinstance(error, StoreError):
                with contextlib.suppress(KazooException, KazooTimeoutError, TimeoutError):
                    await self._in_thread(self._withdraw)
            await asyncio.sleep(self._backoff.next())

    async def _wait(self) -> None:
        """For news of ZooKeeper, the engine's resignation, or the end of patience."""
        if not self._leads and self._followed is None:
            self._news.clear()
            return
        resigned = asyncio.ensure_future(self._engine.resigned.wait())
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({resigned, news}, timeout=self._time_left(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            resigned.cancel()
            news.cancel()
        self._news.clear()

    def _time_left(self) -> float:
        if self._cut_off_since is None or self._loop is None:
            return LOOK_AGAIN
        return min(LOOK_AGAIN, max(0.05, self._cut_off_since + self._patience - self._loop.time()))

    async def _decide(self) -> None:
        assert self._loop is not None, "start() comes before run()"
        if self._engine.resigned.is_set():
            self._engine.resigned.clear()
            log.info("gives up leadership", why=self._engine.fenced or "asked to")
            self._stand_by(None)
            await self._in_thread(self._withdraw)
        if self._client.state == KazooState.SUSPENDED:
            self._cut_off_since = self._cut_off_since or self._loop.time()
            if self._leads and self._loop.time() >= self._cut_off_since + self._patience:
                log.warning("ZooKeeper is out of reach, another may lead now", seconds=self._patience)
                self._stand_by(None)
            elif not self._leads:
                await asyncio.sleep(0.2)
            return
        self._cut_off_since = None
        first, address = await self._in_thread(self._look)
        if first.startswith(self._mark):
            if not self._leads:
                await self._lead()
            await self._engine.check_right()
        elif self._leads or address != self._followed:
            self._stand_by(address)

    async def _lead(self) -> None:
        self._followed = None
        await self._engine.lead(self._address, new_framework_id=self._new_framework_id)
        self._new_framework_id = False
        self._leads = True
        log.info("leads", address=self._address)

    def _stand_by(self, leader: str | None) -> None:
        if self._leads or leader != self._followed:
            log.info("stands by", leader=leader)
        self._leads, self._followed = False, leader
        self._engine.follow(leader)

    # --- in threads

    def _look(self) -> tuple[str, str]:
        """The oldest candidate, this one among them: its znode's name and its address."""
        while True:
            try:
                names = self._client.get_children(self._path, watch=self._woken)
                self._client.exists(self._epoch, watch=self._woken)
            except NoNodeError:
                names = []
            if not any(name.startswith(self._mark) for name in names):
                place, data = f"{self._path}/{self._mark}-", self._address.encode()
                self._client.create(place, data, ephemeral=True, sequence=True, makepath=True)
                continue
            first = min(names, key=lambda name: name.rpartition("-")[2])  # ZooKeeper numbers them as they come
            with contextlib.suppress(NoNodeError):  # it has just gone
                return first, self._client.get(f"{self._path}/{first}")[0].decode()

    def _withdraw(self) -> None:
        for name in self._client.get_children(self._path):
            if name.startswith(self._mark):
                with contextlib.suppress(NoNodeError):  # its session is over
                    self._client.delete(f"{self._path}/{name}")

    def _woken(self, _event: object) -> None:
        self._tell()

    def _session_changed(self, state: str) -> None:
        self._tell()

    def _tell(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """kazoo holds calls back while it is not connected: they are not waited for longer than patience lasts."""
        async with asyncio.timeout(self._patience):
            return await asyncio.get_running_loop().run_in_executor(None, work)
