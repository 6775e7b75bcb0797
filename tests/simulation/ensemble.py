"""A simulated ZooKeeper: the durable tables, who leads, and the fence that keeps a deposed leader from writing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from framework.engine import records
from framework.engine.loop import Engine
from framework.model.instance import Instance
from framework.store.base import Snapshot, StoreError, StoreFenced, StoreFull, Write
from framework.store.schema import CURRENT
from tests.simulation.world import Wait, World

if TYPE_CHECKING:
    from tests.simulation.node import Node

SESSION = 10.0  # so long after the last word of a node its session is over


class Crash(BaseException):
    """The process ends here and now."""


class Session:
    """Of one node, from its start, or its return, until it has been silent for too long."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.alive = True  # its process is
        self.heard = not node.cut_from_store
        self.words = 0


class Ensemble:
    """`fencing` False plants a bug: whoever writes, writes."""

    fencing = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.tables: dict[str, dict[str, bytes]] = {}
        self.epoch = 0
        self.leader: Session | None = None
        self.failure: StoreError | None = None  # of every commit
        self.slowness = 0.0  # seconds that a commit may take
        self.failing_claims = 0  # so many of the next ones fail, with the epoch begun or without
        # What was written since somebody looked, and by whom.
        self.written: list[tuple[Engine | None, Sequence[Write]]] = []
        self._sessions: list[Session] = []  # the oldest leads

    # --- election

    def join(self, node: "Node") -> None:
        node.session = Session(node)
        self._sessions.append(node.session)
        self._elect()

    def ended(self, session: "Session") -> None:
        """Its process has died without a word: the session goes on for a while, unless the closed connection is noticed."""
        session.alive = False
        alone = len(self._sessions) == 1
        delay = 0.1 if alone or self.world.chance(0.3) else SESSION
        self.world.after(delay, lambda: self._expire(session))

    def silent(self, session: "Session") -> None:
        """Its node is cut off or stopped; the session ends unless the node is heard in time."""
        session.heard, session.words = False, session.words + 1
        words = session.words

        def expire() -> None:
            if session.words == words:
                self._expire(session)

        self.world.after(SESSION, expire)

    def heard(self, session: "Session") -> None:
        """The node is back. If its session is over it learns so soon, and takes part again with a new one."""
        session.heard, session.words = True, session.words + 1
        if session in self._sessions:
            self._elect()
            return

        def learn() -> None:
            if session.alive and session.node.session is session:
                session.node.deposed()
                self.join(session.node)

        self.world.after(self.world.between(0.0, 4.0), learn)

    def give_up(self, session: "Session") -> None:
        """Its node resigns of its own will, and goes to the end of the line."""
        self._expire(session)
        self.join(session.node)

    def _expire(self, session: "Session") -> None:
        if session in self._sessions:
            self.world.note(f"the session of {session.node.name} is over")
            self._sessions.remove(session)
            self._elect()

    def _elect(self) -> None:
        if self.leader in self._sessions:
            return
        self.leader = next((session for session in self._sessions if session.alive and session.heard), None)
        if self.leader is not None:
            self.world.note(f"{self.leader.node.name} is elected")
            self.leader.node.elected(self.leader)

    # --- the store

    def write(self, author: Engine, epoch: int, writes: Sequence[Write]) -> None:
        if self.failure is not None:
            raise self.failure
        if epoch != self.epoch and self.fencing:
            self.world.note(f"a write of epoch {epoch} is refused")
            raise StoreFenced(f"epoch {epoch} is over, {self.epoch} has begun")
        for write in writes:
            rows = self.tables.setdefault(write.table, {})
            if write.value is None:
                rows.pop(write.key, None)
            else:
                rows[write.key] = write.value
        self.written.append((author, writes))
        self.world.news = True

    def has_instance(self, instance_id: str) -> bool:
        return instance_id in self.tables.get(records.INSTANCES, {})

    def instance(self, instance_id: str) -> Instance | None:
        data = self.tables.get(records.INSTANCES, {}).get(instance_id)
        return records.decode_instance(data) if data else None

    # --- faults

    def fill(self, seconds: float) -> None:
        self.world.note(f"the store is full for {seconds:.0f} s")
        self.failure = StoreFull("no space left")

        def mend() -> None:
            self.failure = None

        self.world.after(seconds, mend)

    def slow_down(self, seconds: float, slowness: float) -> None:
        self.world.note(f"the store is slow for {seconds:.0f} s")
        self.slowness = slowness

        def mend() -> None:
            self.slowness = 0.0

        self.world.after(seconds, mend)


class NodeStore:
    """framework.store.base.Store, as one node has it. `doom`: crash before or after a commit, or not know what came of it: of the next
    or of one after `commits_left`."""

    def __init__(self, node: "Node") -> None:
        self._node, self._ensemble = node, node.cluster.ensemble
        self.epoch = 0
        self.doom: str | None = None
        self.commits_left = 0
        self.commits = 0

    async def open(self) -> None:
        pass

    async def claim(self, owner: str) -> int:
        if self._node.cut_from_store:
            raise StoreError("the store cannot be reached")
        failing = self._ensemble.failing_claims > 0
        if failing:
            self._ensemble.failing_claims -= 1
            if self._node.world.random.random() < 0.5:
                raise StoreError("the epoch was not begun")
        self._ensemble.epoch += 1
        if failing:
            raise StoreError("the connection broke before the state was read")
        self.epoch = self._ensemble.epoch
        self._node.world.note(f"{self._node.name} begins epoch {self.epoch}")
        return self.epoch

    async def snapshot(self) -> Snapshot:
        return Snapshot(CURRENT.version, {table: dict(rows) for table, rows in self._ensemble.tables.items()})

    async def load(self, table: str) -> Mapping[str, bytes]:
        return dict(self._ensemble.tables.get(table, {}))

    async def get(self, table: str, key: str) -> bytes | None:
        return self._ensemble.tables.get(table, {}).get(key)

    async def get_many(self, table: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        rows = self._ensemble.tables.get(table, {})
        return {key: rows[key] for key in keys if key in rows}

    async def keys(self, table: str) -> Sequence[str]:
        return sorted(self._ensemble.tables.get(table, {}))

    async def commit(self, writes: Sequence[Write]) -> None:
        self.commits += 1
        doom = self._doom()
        epoch, engine = self.epoch, self._node.engine
        assert engine is not None
        if doom == "before":
            raise Crash
        if self._ensemble.slowness:
            await Wait(self._node.world.between(0.0, self._ensemble.slowness))
        if self._node.cut_from_store:
            raise StoreError("the store cannot be reached")
        if doom == "in doubt":
            kept = self._node.world.random.random() < 0.5
            self._node.world.note(
                f"{self._node.name} does not learn whether its commit was kept; it was{'' if kept else ' not'}"
            )
            if kept:
                self._ensemble.write(engine, epoch, writes)
                # What was written is looked at before its writer takes it back, who is no witness any more.
                await Wait(0.0)
                self._ensemble.written.append((None, ()))
            raise StoreFenced("it is not known whether the batch was kept")
        self._ensemble.write(engine, epoch, writes)
        if doom == "after":
            raise Crash
        if self._ensemble.slowness:
            await Wait(self._node.world.between(0.0, self._ensemble.slowness))

    def _doom(self) -> str | None:
        if self.doom is not None and self.commits_left:
            self.commits_left -= 1
            return None
        doom, self.doom = self.doom, None
        return doom

    async def close(self) -> None:
        pass
