"""Leadership among several nodes, decided in ZooKeeper: whose candidate is the oldest leads.

Election only says who *should* lead; that no two *write* is the store's epoch's doing. So a node may learn late that it lost: what it
writes until then is refused, and the refusal deposes it as well.

A node stops leading, and stands by again, when
- its session is lost (it was paused, or cut off for longer than the session timeout);
- ZooKeeper cannot be reached for as long as that, by the node's own clock;
- the store refuses it (another one leads);
- it is asked to (DELETE /v2/leader).
It leaves Mesos without a word about its tasks, which go on; the next leader subscribes with the same framework id. It goes to the end
of the line; one that the store has refused does not claim it at once, so that whoever did has the time for what it is about.

`nobody_leads` keeps the whole line waiting: a restore has to read and write everything, and a leader would be quicker.

kazoo's threads only set an event; all decisions are made in the event loop.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from daemonkit.backoff import Backoff
from daemonkit.errors import OperatorError
from daemonkit.logs import get_logger
from framework.engine.loop import Engine
from framework.leader.line import LOOK_AGAIN, MAKE_WAY, RESTORE, first_of, verdict
from framework.store.base import StoreError, StoreUnusable

log = get_logger(__name__)

T = TypeVar("T")
ANSWER = 15.0  # seconds that ZooKeeper may take for one znode
SUSPENDED_LOOK = 0.2  # seconds between two looks whether ZooKeeper is back, while this node does not lead


@contextlib.asynccontextmanager
async def nobody_leads(client: KazooClient, path: str) -> AsyncIterator[None]:
    """From now on no node begins to lead, and who leads stops: until the end of the block, or of the (started) client's session. Raises
    OperatorError where somebody else holds the line up already, or ZooKeeper does not answer."""
    place = f"{path}/candidates/{RESTORE}"
    try:
        await asyncio.to_thread(lambda: client.create_async(place, ephemeral=True, makepath=True).get(timeout=ANSWER))
    except NodeExistsError:
        raise OperatorError(
            f"a restore into {path} is going on; wait for it, or, if it was killed, until ZooKeeper ends its session in some seconds"
        ) from None
    except (KazooException, KazooTimeoutError) as error:
        raise OperatorError(f"ZooKeeper does not let {place} be written: {error or type(error).__name__}") from None
    try:
        yield
    finally:
        with contextlib.suppress(KazooException, KazooTimeoutError):  # the session's end removes it
            await asyncio.to_thread(lambda: client.delete_async(place).get(timeout=ANSWER))


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
        self._next_look = self._makes_way_until = 0.0  # by the loop's clock
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
            self._next_look = 0.0
            if isinstance(error, StoreError):
                with contextlib.suppress(KazooException, KazooTimeoutError, TimeoutError):
                    await self._in_thread(self._withdraw)
            await asyncio.sleep(self._backoff.next())

    async def _wait(self) -> None:
        """For news of ZooKeeper, the engine's resignation, or the time of the next look."""
        resigned = asyncio.ensure_future(self._engine.resigned.wait())
        news = asyncio.ensure_future(self._news.wait())
        timeout = max(0.0, self._next_look - self._now())
        try:
            await asyncio.wait({resigned, news}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            resigned.cancel()
            news.cancel()
        self._news.clear()

    def _now(self) -> float:
        assert self._loop is not None, "start() comes before run()"
        return self._loop.time()

    async def _decide(self) -> None:
        if self._engine.resigned.is_set():
            self._engine.resigned.clear()
            log.info("gives up leadership", why=self._engine.fenced or "asked to")
            if self._engine.fenced:
                self._makes_way_until = self._now() + MAKE_WAY
            self._stand_by(None)
            await self._in_thread(self._withdraw)
        if self._client.state == KazooState.SUSPENDED:
            self._endure()
            return
        self._cut_off_since = None
        first, address = await self._in_thread(self._look)
        makes_way = self._makes_way_until - self._now()
        found = verdict(first, address, mark=self._mark, leads=self._leads, makes_way=makes_way)
        if not found.leads:
            if self._leads or found.follows != self._followed:
                self._stand_by(found.follows)
            if found.follows:
                self._makes_way_until = 0.0  # that one has had its turn
        else:
            if not self._leads:
                await self._lead()
            await self._engine.check_right()
        self._next_look = self._now() + found.look_in

    def _endure(self) -> None:
        """ZooKeeper is out of reach: who leads goes on for as long as patience lasts."""
        now = self._now()
        self._cut_off_since = self._cut_off_since or now
        end = self._cut_off_since + self._patience
        if self._leads and now >= end:
            log.warning("ZooKeeper is out of reach, another may lead now", seconds=self._patience)
            self._stand_by(None)
        self._next_look = min(now + LOOK_AGAIN, max(end, now + 0.05)) if self._leads else now + SUSPENDED_LOOK

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
            first = first_of(names)
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
