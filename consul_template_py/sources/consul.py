"""Consul's blocking queries: what its index, its staleness headers and its errors mean to a watch.

Rules, from Consul's HTTP API documentation ("blocking queries", "consistency modes") and from what real clusters do:

- An index below 1 would make the next query not block: it is read as 1.
- An index that goes backwards (a restored snapshot, a new server, one that has yet to read its log again) means that the next query
  starts from scratch, and that what is missing in the answer may come back.
- A query is answered by any server (`stale`). When that server last heard from its leader more than `max_stale` ago, the next
  query asks the leader instead.
- A server that knows no leader may answer with old or blank data: its answer is an error, unless there was none before.
- An endpoint that sends no index cannot block (the list of data centres): it is asked again every `wait`.
- Wait times get up to 1/16 of jitter from Consul; the time-out allows for it.
"""

import asyncio
import base64
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from consul_template_py.errors import ConfigError, SourceRefusedError, SourceUnavailableError
from consul_template_py.http import Client, Endpoint, Response, tls_context
from consul_template_py.query import ConsulQuery, Query
from consul_template_py.sources.base import Answer

T = TypeVar("T")


class ConsulSettings(BaseModel):
    """How Consul is reached and asked. Durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(default="http://127.0.0.1:8500", description="http://…, https://… or unix:///…")
    token: SecretStr = Field(default=SecretStr(""), description="ACL token")
    token_file: Path | None = Field(default=None, description="a file that holds the ACL token")
    username: str = Field(default="", description="user of HTTP's own authentication, where a proxy asks for it")
    password: SecretStr = Field(default=SecretStr(""))
    namespace: str = Field(default="", description="Consul Enterprise namespace")
    ca_file: Path | None = Field(default=None, description="certificates that the server's is checked against")
    ca_path: Path | None = Field(default=None, description="a folder of such certificates, hashed by openssl rehash")
    cert_file: Path | None = Field(default=None, description="client certificate")
    key_file: Path | None = Field(default=None, description="key of the client certificate")
    verify: bool = Field(default=True, description="check the server's certificate")
    server_name: str | None = Field(default=None, description="name expected in the server's certificate")
    max_stale: float = Field(
        default=2.0, ge=0, description="how old a follower's answer may be; 0 asks the leader always"
    )
    wait: float = Field(default=60.0, gt=0, le=600, description="longest wait of one blocking query")
    max_connections: int = Field(
        default=160,
        ge=1,
        description="connections held at most; with more watches than that they take turns. Consul allows 200 a client address",
    )
    turn: float = Field(
        default=5.0,
        gt=0,
        description="with more watches than connections: every watch gets its turn within about this time",
    )
    connect_timeout: float = Field(default=5.0, gt=0)
    tls_handshake_timeout: float = Field(default=10.0, gt=0)
    tcp_keep_alive: float = Field(
        default=30.0, ge=0, description="after how long of silence the path is probed; 0: never"
    )
    max_idle_connections: int = Field(default=100, ge=0, description="connections kept without a request on them")
    answer_timeout: float = Field(
        default=10.0, gt=0, description="how long an answer may take beyond the wait asked for"
    )
    max_body_bytes: int = Field(default=64 * 1024 * 1024, gt=0)

    def endpoint(self) -> Endpoint:
        """Raises ConfigError."""
        try:
            return Endpoint.parse(self.address, tls=self._tls(), server_name=self.server_name)
        except (ValueError, OSError) as error:
            raise ConfigError(f"consul: {error}") from None

    def secret(self) -> str:
        """The token. Raises ConfigError if its file cannot be read."""
        if self.token_file is None:
            return self.token.get_secret_value()
        try:
            return self.token_file.read_text().strip()
        except OSError as error:
            raise ConfigError(f"consul: token_file {self.token_file}: {error.strerror}") from None

    def _tls(self) -> ssl.SSLContext | None:
        if not self.address.startswith("https://"):
            return None
        return tls_context(self.ca_file, self.cert_file, self.key_file, verify=self.verify, ca_path=self.ca_path)


@dataclass(frozen=True, slots=True)
class Index:
    """The cursor. `ask_leader`: the server that answered last was too far behind."""

    index: int
    ask_leader: bool = False


class CannotBlock:
    """The cursor where Consul sent no index: the query is asked again after a pause."""


class ConsulSource:
    """`watches` is how many watches share the connections; the watcher keeps it."""

    def __init__(self, settings: ConsulSettings) -> None:
        self.settings = settings
        self.watches = 0
        self._client = make_client(settings)

    async def poll(self, query: Query[Any], cursor: object | None, last: Any = None) -> Answer[Any]:
        assert isinstance(query, ConsulQuery)
        before = cursor if isinstance(cursor, Index) else None
        if isinstance(cursor, CannotBlock):
            await asyncio.sleep(self.settings.wait)
        wait = self._wait()
        params = self._params(query)
        if before is None or not before.ask_leader:
            params |= {"stale": ""} if self.settings.max_stale > 0 else {}
        if before is not None and before.index > 0:
            params |= {"index": str(before.index), "wait": f"{max(1, round(wait * 1000))}ms"}
        response = await self._get(query, params, wait * (1 + 1 / 16) + self.settings.answer_timeout)
        if last is not None and response.headers.get("x-consul-knownleader") == "false":
            raise SourceUnavailableError("Consul has no leader")
        value = self._decode(query, response, last)
        cursor = next_index(before, response.headers, self.settings.max_stale)
        return Answer(value, cursor, index_of(response.headers) or 0)

    async def read(self, query: Query[Any]) -> Any:
        assert isinstance(query, ConsulQuery)
        response = await self._get(query, self._params(query) | {"consistent": ""}, self.settings.answer_timeout)
        return self._decode(query, response, None)

    async def close(self) -> None:
        await self._client.close()

    def _wait(self) -> float:
        """With more watches than connections a blocking query waits for its share of a turn, then makes room."""
        settings = self.settings
        if self.watches <= settings.max_connections:
            return settings.wait
        return min(settings.wait, settings.turn * settings.max_connections / self.watches)

    def _params(self, query: ConsulQuery[Any]) -> dict[str, str]:
        params = dict(query.params)
        if self.settings.namespace:
            params.setdefault("ns", self.settings.namespace)
        return params

    async def _get(self, query: ConsulQuery[Any], params: dict[str, str], timeout: float) -> Response:
        response = await self._client.request("GET", f"/v1{query.path}", query=urlencode(params), timeout=timeout)
        if response.status == 200 or (response.status == 404 and query.may_be_absent):
            return response
        raise _refusal(response)

    @staticmethod
    def _decode(query: ConsulQuery[T], response: Response, last: Any) -> T:
        if response.status == 404:
            return query.absent()
        try:
            return query.decode(response.body) if last is None else query.decode_after(response.body, last)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SourceUnavailableError(f"Consul's answer cannot be read: {error!r}: {response.text()}") from None


def make_client(settings: ConsulSettings) -> Client:
    """A client that authenticates as the settings say. Raises ConfigError."""
    headers = {}
    if token := settings.secret():
        headers["X-Consul-Token"] = token
    if settings.username:
        pair = f"{settings.username}:{settings.password.get_secret_value()}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Client(
        settings.endpoint(),
        headers=headers,
        max_connections=settings.max_connections,
        connect_timeout=settings.connect_timeout,
        tls_handshake_timeout=settings.tls_handshake_timeout,
        tcp_keep_alive=settings.tcp_keep_alive,
        max_idle=settings.max_idle_connections,
        max_body_bytes=settings.max_body_bytes,
    )


def index_of(headers: dict[str, str]) -> int | None:
    """At least 1; None where the answer has none."""
    given = headers.get("x-consul-index")
    if given is None:
        return None
    return max(1, int(given)) if given.isdigit() else 1


def next_index(before: Index | None, headers: dict[str, str], max_stale: float) -> Index | CannotBlock:
    """The cursor after an answer with these headers."""
    index = index_of(headers)
    if index is None:
        return CannotBlock()
    if before is not None and index < before.index:
        index = 0
    behind = int(headers.get("x-consul-lastcontact") or 0) / 1000  # sent in milliseconds
    return Index(index, ask_leader=behind > max_stale)


def _refusal(response: Response) -> Exception:
    said = f"Consul answered {response.status}: {response.text()}"
    if response.status == 403:
        return SourceRefusedError(f"{said}; give a token that may read this")
    if response.status == 429:
        return SourceRefusedError(
            f"{said}; lower max_connections, or raise limits.http_max_conns_per_client of the Consul agent"
        )
    if response.status < 500:
        return SourceRefusedError(said)
    return SourceUnavailableError(said)
