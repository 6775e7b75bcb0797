"""Sessions: what holds locks, and ends when its node goes, one of its checks turns critical or goes, or nobody renews it."""

import uuid
from collections.abc import Callable, Iterable

from embedded.consul.errors import FailedError
from embedded.consul.golang import NANOSECONDS, parse_duration
from embedded.consul.model import CRITICAL, Session, fold
from embedded.consul.state.catalog import Catalog
from embedded.consul.state.keys import Keys
from embedded.consul.state.ledger import SESSIONS, Ledger

DAY = 24 * 3600.0
LONGEST_LOCK_DELAY = 60.0
TTL_FACTOR = 2  # a session is ended at twice its TTL, to be sure that its holder knows


class Sessions:
    """`deadline_changed(id, seconds)` tells when a session is to end: in so many seconds, or, with None, no more at all."""

    def __init__(self, ledger: Ledger, catalog: Catalog, keys: Keys) -> None:
        self.ledger = ledger
        self.deadline_changed: Callable[[str, float | None], None] = lambda id, seconds: None
        self._catalog = catalog
        self._keys = keys
        self._sessions: dict[str, Session] = {}
        self._on_node: dict[str, set[str]] = {}
        self._on_check: dict[tuple[str, str], set[str]] = {}
        catalog.on_lost = self._lost

    def get(self, id: str) -> Session | None:
        """Raises FailedError if `id` cannot be one."""
        try:
            if len(id) != 36:
                raise ValueError
            uuid.UUID(id)
        except ValueError:
            what = "UUID must be 36 characters" if len(id) != 36 else "Invalid UUID"
            raise FailedError(f"failed session lookup: index error: {what}") from None
        return self._sessions.get(id)

    def all(self) -> list[Session]:
        return [self._sessions[id] for id in sorted(self._sessions)]

    def on_node(self, node: str) -> list[Session]:
        return [self._sessions[id] for id in sorted(self._on_node.get(fold(node), ()))]

    def index(self) -> int:
        return self.ledger.index_of(SESSIONS)

    def create(self, session: Session) -> Session:
        """Raises FailedError if its node or a check of it is not there, or is critical."""
        if self._catalog.node(session.node) is None:
            raise FailedError("Missing node registration")
        for ids in (session.checks, session.node_checks, session.service_checks):
            for id in ids or ():
                check = self._catalog.check(session.node, id)
                if check is None:
                    raise FailedError(f"Missing check '{id}' registration")
                if check.status == CRITICAL:
                    raise FailedError(f"Check '{id}' is in critical state")
        self.ledger.save(SESSIONS, session.id, session)
        self.ledger.bump(SESSIONS)
        self._place(session)
        self.renew(session)
        return session

    def renew(self, session: Session) -> None:
        if seconds := ttl_seconds(session):
            self.deadline_changed(session.id, seconds * TTL_FACTOR)

    def destroy(self, id: str) -> None:
        """A part of the write that the ledger has begun."""
        session = self._sessions.pop(id, None)
        if session is None:
            return
        node = fold(session.node)
        self._on_node[node].discard(id)
        for check in session.all_checks:
            self._on_check[node, check].discard(id)
        self.ledger.save(SESSIONS, id, None)
        self.ledger.bump(SESSIONS)
        delay = min(session.lock_delay / NANOSECONDS, LONGEST_LOCK_DELAY)
        self._keys.release(id, delete=session.behavior == "delete", delay=delay)
        self.deadline_changed(id, None)

    def restore(self, sessions: Iterable[Session]) -> None:
        """Takes rows that were saved, without a new write; each gets its whole TTL again."""
        for session in sessions:
            self._place(session)
            self.renew(session)

    def _place(self, session: Session) -> None:
        node = fold(session.node)
        self._sessions[session.id] = session
        self._on_node.setdefault(node, set()).add(session.id)
        for check in session.all_checks:
            self._on_check.setdefault((node, check), set()).add(session.id)

    def _lost(self, node: str, check: str | None) -> None:
        ended = self._on_node.get(node, set()) if check is None else self._on_check.get((node, check), set())
        for id in list(ended):
            self.destroy(id)


def ttl_seconds(session: Session) -> float:
    """0 for a session without a TTL."""
    return parse_duration(session.ttl) / NANOSECONDS if session.ttl else 0.0
