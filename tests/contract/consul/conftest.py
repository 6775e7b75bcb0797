"""The suite that both Consuls pass: plain HTTP, against the embedded one and the real one by turns."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.consul import ConsulServer, running_own_embedded_consul, running_real_consul
from tests.support.waiting import eventually_async

MOST = 60.0  # seconds for what is to come, on however slow a machine
MANAGEMENT = "b1a1c0de-0000-4000-8000-00000000cafe"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Any  # case-insensitive

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        return int(self.headers["X-Consul-Index"])


class Api:
    """One Consul over plain HTTP. `name()` gives names that no other test uses."""

    def __init__(self, server: ConsulServer, session: aiohttp.ClientSession, token: str | None = None) -> None:
        self.server, self.session, self.kind, self.name = server, session, server.kind, server.name
        self.token = token

    def bearing(self, token: str | None) -> "Api":
        return Api(self.server, self.session, token)

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **params: Any
    ) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {**({"X-Consul-Token": self.token} if self.token else {}), **(headers or {})}
        query = [
            (key, str(each))
            for key, value in params.items()
            for each in (value if isinstance(value, list) else [value])
        ]
        url = f"{self.server.url}/v1/{path}"
        async with self.session.request(
            method, url, data=data, params=query, headers=sent, allow_redirects=False
        ) as answer:
            return Reply(answer.status, await answer.read(), answer.headers)

    async def get(self, path: str, **params: Any) -> Reply:
        return await self.call("GET", path, **params)

    async def put(self, path: str, body: Any = None, **params: Any) -> Reply:
        return await self.call("PUT", path, body, **params)

    async def delete(self, path: str, **params: Any) -> Reply:
        return await self.call("DELETE", path, **params)

    async def done(self, path: str, body: Any = None, **params: Any) -> Any:
        """A PUT that must succeed; what it answers, if anything."""
        reply = await self.put(path, body, **params)
        assert reply.status == 200, reply.text
        return reply.json if reply.body else None

    async def until(self, path: str, fits: Callable[[Any], Any], **params: Any) -> Any:
        """The JSON of a GET as soon as it fits: the real agent brings its services to the catalog a moment later."""

        async def look() -> Any:
            found = (await self.get(path, **params)).json
            return (found,) if fits(found) else None

        return (await eventually_async(look, MOST, 0.01, what=f"{path} as expected"))[0]

    async def registered(self, name: str, id: str | None = None, **more: Any) -> str:
        """Registers a service at the agent, with a passing TTL check unless `more` says otherwise; returns when the catalog has it."""
        id = id or name
        more.setdefault("Check", {"TTL": "1h", "Status": "passing"})
        await self.done("agent/service/register", {"Name": name, "ID": id, **more})
        checks = 1 if more["Check"] else 0
        await self.until(
            f"health/service/{name}",
            lambda found: any(it["Service"]["ID"] == id and len(it["Checks"]) >= 1 + checks for it in found),
        )
        return id

    async def report(self, id: str, status: str, output: str = "") -> None:
        """Sets the TTL check of `registered`, and waits until the catalog has it."""
        await self.done(f"agent/check/update/service:{id}", {"Status": status, "Output": output})
        await self.until(
            "health/state/any", lambda found: any(it["ServiceID"] == id and it["Status"] == status for it in found)
        )

    @contextlib.asynccontextmanager
    async def watching(self, path: str, *, wait: str = "5m", **params: Any) -> AsyncIterator["Watch"]:
        """A blocking query from where `path` stands now. A short `wait` is for those that are to run out."""
        now = await self.get(path, **params)
        began = time.monotonic()
        task = asyncio.create_task(self.get(path, index=now.index, wait=wait, **params))
        try:
            yield Watch(now, task, began)
        finally:
            task.cancel()
            await asyncio.wait([task])


@dataclass
class Watch:
    before: Reply
    task: "asyncio.Task[Reply]"
    began: float

    async def woken(self) -> Reply:
        """The reply, which comes for a change and not for the end of the time."""
        reply = await asyncio.wait_for(self.task, MOST)
        assert reply.index != self.before.index
        return reply

    async def ran_out(self, at_least: float) -> Reply:
        """The reply, which comes at the end of the time and not before."""
        reply = await asyncio.wait_for(self.task, MOST)
        assert time.monotonic() - self.began >= 0.95 * at_least, "it was woken"
        return reply


async def kept(begin: Callable[[], Awaitable[Any]], renew: Callable[[], Awaitable[bool]], ttl: float) -> float:
    """Begins what lasts `ttl` seconds unless it is renewed, and renews it for thrice that; when the last renewal was sent.

    `renew` tells whether it was still there. It is begun anew where this test was too slow to renew it in time.
    """
    while True:
        began = last = time.monotonic()
        await begin()
        while last < began + 3 * ttl:
            await asyncio.sleep(ttl / 8)
            sent = time.monotonic()
            if not await renew():
                assert time.monotonic() - last >= ttl, "it ran out before its time"
                break
            last = sent
        else:
            return last


OpenApi = Callable[[ConsulServer], Coroutine[Any, Any, Api]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=MOST)) as session:
        yield session


@pytest.fixture
async def api(any_consul: ConsulServer, session: aiohttp.ClientSession) -> Api:
    return Api(any_consul, session)


@pytest.fixture(scope="package", params=["embedded", "real"])
def acl_consul(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """A Consul that asks for tokens."""
    directory = tmp_path_factory.mktemp("acl")
    if request.param == "embedded":
        with running_own_embedded_consul(directory, token=MANAGEMENT, management_token=MANAGEMENT) as server:
            yield server
    else:
        tokens = f'tokens {{ master = "{MANAGEMENT}" agent = "{MANAGEMENT}" }}'
        hcl = f'acl {{ enabled = true default_policy = "deny" {tokens} }}'
        with running_real_consul(directory, hcl=hcl, token=MANAGEMENT) as server:
            yield server


@pytest.fixture
async def acl_api(acl_consul: ConsulServer, session: aiohttp.ClientSession) -> Api:
    """Bears the management token."""
    return Api(acl_consul, session, MANAGEMENT)


@pytest.fixture(scope="package", params=["embedded", "real"])
def hasty_consul(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """A Consul whose sessions may be short, and whose checks' outputs reach the catalog soon."""
    directory = tmp_path_factory.mktemp("hasty")
    if request.param == "embedded":
        with running_own_embedded_consul(directory, session_ttl_min="100ms", check_update_interval="400ms") as server:
            yield server
    else:
        hcl = 'session_ttl_min = "100ms" check_update_interval = "400ms"'
        with running_real_consul(directory, hcl=hcl) as server:
            yield server


@pytest.fixture
async def hasty_api(hasty_consul: ConsulServer, session: aiohttp.ClientSession) -> AsyncIterator[Api]:
    yield Api(hasty_consul, session)
    await asyncio.to_thread(hasty_consul.empty)
