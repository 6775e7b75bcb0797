"""What the endpoints share: the state, the agent, who this server is, and what the bearer of a request may do."""

import datetime
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from embedded.consul.agent.local import LocalAgent
from embedded.consul.events import Events
from embedded.consul.http.message import Answer, Request
from embedded.consul.http.query import Result, answer, options, refuse_other_datacenter, run
from embedded.consul.state.rules import Authorizer
from embedded.consul.state.state import State

VERSION = "1.8.7"


@dataclass(frozen=True)
class Identity:
    """Who this server says it is. `server_port` and `serf_port` are shown, not listened on: there is nobody to talk to."""

    node: str
    node_id: str
    datacenter: str
    address: str
    http_port: int
    server_port: int = 8300
    serf_port: int = 8301

    @property
    def leader(self) -> str:
        return f"{self.address}:{self.server_port}"


@dataclass(frozen=True)
class HttpLimits:
    """`value_bytes` is the longest value of a key, `body_bytes` that of other requests, `txn_operations` that of a transaction."""

    value_bytes: int = 512 * 1024
    body_bytes: int = 4 * 1024 * 1024
    txn_operations: int = 64
    cached_answers: int = 1024


class AnswerCache:
    """JSON that many watchers are about to ask for, kept until its index moves."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Any, tuple[int, orjson.Fragment]] = OrderedDict()

    def get(self, key: Any, index: int, make: Callable[[], Any]) -> orjson.Fragment:
        known = self._kept.get(key)
        if known and known[0] == index:
            self._kept.move_to_end(key)
            return known[1]
        made = orjson.Fragment(orjson.dumps(make()))
        self._kept[key] = index, made
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        self._kept.clear()


@dataclass
class Context:
    state: State
    agent: LocalAgent
    identity: Identity
    events: Events
    limits: HttpLimits = HttpLimits()
    session_ttl_least: float = 10.0
    answers: AnswerCache = field(init=False)

    def __post_init__(self) -> None:
        self.answers = AnswerCache(self.limits.cached_answers)

    def authorize(self, request: Request) -> Authorizer:
        """What the bearer of the request may do. Raises AclNotFoundError."""
        return self.state.acl.resolve(request.token, utc_now())

    async def query(
        self, request: Request, find: Callable[[], Result], *, catalog: bool = False, cached: bool = False
    ) -> Answer:
        """Answers a read that may wait. `catalog` queries tell their consistency too."""
        wanted = options(request)
        refuse_other_datacenter(request, self.identity.datacenter)
        found = await run(request, self.state.ledger, find, wanted)
        return answer(request, found, wanted, catalog=catalog, cached=cached)


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
