"""The key-value store with its locks.

A key's index is its own; a prefix's is the highest of the keys below it and of the tombstones that deleted ones leave; a key or
prefix of which there is nothing has the index of the whole store.
"""

import contextlib
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from embedded.consul.model import Entry
from embedded.consul.state.ledger import KEYS, TOMBSTONES, Ledger

V = TypeVar("V")


class SortedMap(Generic[V]):
    """A dict whose keys can be walked by prefix."""

    def __init__(self) -> None:
        self._values: dict[str, V] = {}
        self._keys: list[str] = []

    def get(self, key: str) -> V | None:
        return self._values.get(key)

    def put(self, key: str, value: V) -> None:
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def pop(self, key: str) -> V | None:
        value = self._values.pop(key, None)
        if value is not None:
            del self._keys[bisect_left(self._keys, key)]
        return value

    def below(self, prefix: str) -> Iterator[V]:
        """The values of the keys that begin with `prefix`, in the order of the keys."""
        for at in range(bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[at]
            if not key.startswith(prefix):
                return
            yield self._values[key]

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Where a key was: the index of its deletion, and when it may be forgotten."""

    key: str
    index: int
    until: float


@dataclass
class Attempt:
    """Several changes that stand or fall together: what each key was before, what was deleted, and whether they are to stand."""

    before: dict[str, Entry | None] = field(default_factory=dict)
    graves: set[str] = field(default_factory=set)
    kept: bool = False

    def keep(self) -> None:
        self.kept = True


class Keys:
    """`delayed(key)` says whether a lock on the key has to wait, after its last holder's session ended without a release."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float], tombstone_ttl: float = 900.0) -> None:
        self.ledger = ledger
        self._clock = clock
        self._tombstone_ttl = tombstone_ttl
        self._entries: SortedMap[Entry] = SortedMap()
        self._tombstones: SortedMap[Tombstone] = SortedMap()
        self._held: dict[str, set[str]] = {}  # session -> keys
        self._delays: dict[str, float] = {}  # key -> when it may be locked again
        self._attempt: Attempt | None = None

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def below(self, prefix: str) -> list[Entry]:
        return list(self._entries.below(prefix))

    def index_of_all(self) -> int:
        return self.ledger.index_of(KEYS, TOMBSTONES)

    def index_below(self, prefix: str) -> int:
        entries = max((entry.modified for entry in self._entries.below(prefix)), default=0)
        tombstones = max((stone.index for stone in self._tombstones.below(prefix)), default=0)
        return max(entries, tombstones, self.ledger.floor) if entries or tombstones else self.index_of_all()

    def held_by(self, session: str) -> set[str]:
        return self._held.get(session, set())

    def delayed(self, key: str) -> bool:
        return self._delays.get(key, 0.0) > self._clock()

    def __len__(self) -> int:
        return len(self._entries)

    # ── writing: each is a part of the write that the ledger has begun ───────────────────────────────────────────────

    def set(self, key: str, value: bytes, flags: int) -> Entry:
        """Leaves a lock on the key in place."""
        before = self.get(key)
        return self._put(Entry(key, value, flags, session=before.session if before else ""))

    def set_if(self, index: int, key: str, value: bytes, flags: int) -> Entry | None:
        """Sets it if it was last changed at `index`, or, with 0, if there is none. None if it is not so."""
        before = self.get(key)
        return self.set(key, value, flags) if index == (before.modified if before else 0) else None

    def lock(self, key: str, value: bytes, flags: int, session: str) -> Entry | None:
        """Sets it with the session as the holder of its lock. None if another session holds it."""
        before = self.get(key)
        if before and before.session and before.session != session:
            return None
        taken = before is None or before.session != session
        times = (before.lock_index if before else 0) + (1 if taken else 0)
        return self._put(Entry(key, value, flags, session, times))

    def unlock(self, key: str, value: bytes, flags: int, session: str) -> Entry | None:
        """Sets it and gives its lock back. None if the session does not hold it."""
        before = self.get(key)
        if before is None or before.session != session:
            return None
        return self._put(Entry(key, value, flags, "", before.lock_index))

    def delete(self, key: str) -> None:
        if self.get(key) is not None:
            self._change(key, None)
            self._bury(key)

    def delete_if(self, index: int, key: str) -> bool:
        """Deletes it if it was last changed at `index`."""
        before = self.get(key)
        if before is None or before.modified != index:
            return before is None
        self.delete(key)
        return True

    def delete_below(self, prefix: str) -> None:
        """Leaves one tombstone, that of the prefix."""
        entries = self.below(prefix)
        for entry in entries:
            self._change(entry.key, None)
        if entries:
            self._bury(prefix)

    def release(self, session: str, *, delete: bool, delay: float) -> None:
        """The session has ended: its locks are released, or their keys deleted, and for `delay` seconds nobody gets them."""
        for key in sorted(self.held_by(session)):
            if delay > 0:
                self._delays[key] = self._clock() + delay
            if delete:
                self.delete(key)
            elif entry := self.get(key):
                self._put(replace(entry, session=""))

    @contextlib.contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """The changes in the block are undone at its end, unseen by anybody, unless `keep()` was called."""
        attempt = self._attempt = Attempt()
        try:
            yield attempt
        finally:
            self._attempt = None
            if attempt.kept:
                for key in attempt.before:
                    self._publish(key)
                for grave in attempt.graves:
                    self._bury(grave)
            else:
                for key, before in attempt.before.items():
                    self._place(key, before)

    def forget_old(self) -> None:
        """Drops tombstones and delays whose time is over."""
        now = self._clock()
        for stone in [stone for stone in self._tombstones.below("") if stone.until <= now]:
            self._tombstones.pop(stone.key)
        for key in [key for key, until in self._delays.items() if until <= now]:
            del self._delays[key]

    def restore(self, entries: list[Entry]) -> None:
        """Takes rows that were saved, without a new write."""
        for entry in entries:
            self._place(entry.key, entry)

    def _put(self, entry: Entry) -> Entry:
        before = self.get(entry.key)
        if before == entry:
            return before
        index = self.ledger.index
        entry = replace(entry, created=before.created if before else index, modified=index)
        self._change(entry.key, entry)
        return entry

    def _change(self, key: str, entry: Entry | None) -> None:
        before = self.get(key)
        self._place(key, entry)
        if self._attempt:
            self._attempt.before.setdefault(key, before)
        else:
            self._publish(key)

    def _place(self, key: str, entry: Entry | None) -> None:
        before = self.get(key)
        if before and before.session:
            self._held[before.session].discard(key)
            if not self._held[before.session]:
                del self._held[before.session]
        if entry is None:
            self._entries.pop(key)
            return
        self._entries.put(key, entry)
        if entry.session:
            self._held.setdefault(entry.session, set()).add(key)

    def _publish(self, key: str) -> None:
        """Tells the disk and the watchers what the key is now."""
        self.ledger.save(KEYS, key, self.get(key))
        self.ledger.bump(KEYS)
        self.ledger.watches.wake_key(key)

    def _bury(self, key: str) -> None:
        if self._attempt:
            self._attempt.graves.add(key)
            return
        until = self._clock() + self._tombstone_ttl
        self._tombstones.put(key, Tombstone(key, self.ledger.index, until))
        self.ledger.bump(TOMBSTONES)
