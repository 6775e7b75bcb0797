"""The whole state: one ledger, and the tables that share it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embedded.consul.model import Check, Entry, Node, Policy, Service, Session, Token
from embedded.consul.state.acl import Acl
from embedded.consul.state.catalog import Catalog
from embedded.consul.state.keys import Keys
from embedded.consul.state.ledger import CHECKS, KEYS, NODES, POLICIES, SERVICES, SESSIONS, TOKENS, Ledger
from embedded.consul.state.sessions import Sessions

ROW_TYPES: Mapping[str, type[Any]] = {
    NODES: Node,
    SERVICES: Service,
    CHECKS: Check,
    KEYS: Entry,
    SESSIONS: Session,
    POLICIES: Policy,
    TOKENS: Token,
}


@dataclass(frozen=True)
class State:
    ledger: Ledger
    catalog: Catalog
    keys: Keys
    sessions: Sessions
    acl: Acl


def new_state(
    ledger: Ledger,
    *,
    clock: Callable[[], float],
    acl: bool = False,
    default_allow: bool = True,
    tombstone_ttl: float = 900.0,
) -> State:
    """An empty state. `clock` is monotonic seconds."""
    catalog = Catalog(ledger)
    keys = Keys(ledger, clock=clock, tombstone_ttl=tombstone_ttl)
    sessions = Sessions(ledger, catalog, keys)
    return State(ledger, catalog, keys, sessions, Acl(ledger, enabled=acl, default_allow=default_allow))


def restore(state: State, rows: Mapping[str, list[Any]]) -> None:
    """Fills an empty state with saved rows, by table."""
    state.catalog.restore(rows.get(NODES, []), rows.get(SERVICES, []), rows.get(CHECKS, []))
    state.keys.restore(rows.get(KEYS, []))
    state.sessions.restore(rows.get(SESSIONS, []))
    state.acl.restore(rows.get(POLICIES, []), rows.get(TOKENS, []))
