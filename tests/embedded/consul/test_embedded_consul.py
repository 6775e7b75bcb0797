"""What the embedded Consul does beyond the contract: what it adds to the real one, what it does better, and its bounds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from embedded.consul.server import EmbeddedConsul, embedded_consul
from tests.support.consul import ConsulServer, running_embedded_consul
from tests.support.waiting import eventually, eventually_async


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@dataclass
class Questions:
    """How many there were; all after the first wait for `more` until they are answered."""

    count: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def answering(status: int) -> AsyncIterator[tuple[str, Questions]]:
    """A server that answers with this status."""
    had = Questions()

    async def answer(request: web.Request) -> web.Response:
        had.count += 1
        if had.count > 1:
            await had.more.wait()
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", had
    finally:
        await runner.cleanup()


async def get(session: aiohttp.ClientSession, server: EmbeddedConsul, path: str) -> aiohttp.ClientResponse:
    answer = await session.get(f"{server.url}/v1/{path}")
    await answer.read()
    return answer


# ── beside the API ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_health_and_metrics_live_beside_the_api(embedded_consul: ConsulServer) -> None:
    health = embedded_consul.http.session.get(f"{embedded_consul.url}/health")
    assert (health.status_code, health.json()["parts"]["state"]["healthy"]) == (200, True)
    embedded_consul.http.get("catalog/nodes")
    metrics = embedded_consul.http.session.get(f"{embedded_consul.url}/metrics").text
    assert 'dromos_consul_requests_total{code="200",endpoint="/v1/catalog/nodes",method="GET"}' in metrics
    assert embedded_consul.http.get("agent/metrics", format="prometheus").text.startswith("# HELP")
    gauges = {it["Name"]: it["Value"] for it in embedded_consul.http.get("agent/metrics").json()["Gauges"]}
    assert gauges["consul.raft.applied_index"] > 0


async def test_it_runs_inside_an_event_loop_of_its_users(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with embedded_consul(state_dir=tmp_path, node="here", datacenter="dc9") as server:
        found = await (await get(session, server, "agent/self")).json()
        assert (found["Config"]["NodeName"], found["Config"]["Datacenter"]) == ("here", "dc9")
        assert (await get(session, server, "catalog/nodes?dc=dc1")).status == 500
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(session, server, "status/leader")


async def test_an_error_in_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with embedded_consul(state_dir=tmp_path):
            raise ZeroDivisionError


# ── better than the real one ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_that_is_renamed_away_wakes_its_readers(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """The real 1.8.7 leaves them waiting: the index of the old name falls."""
    async with embedded_consul(state_dir=tmp_path) as server:
        url = f"{server.url}/v1"
        await session.put(f"{url}/agent/service/register", json={"ID": "x", "Name": "old"})
        index = (await get(session, server, "health/service/old")).headers["X-Consul-Index"]
        waiting = asyncio.create_task(session.get(f"{url}/health/service/old?index={index}&wait=5m"))
        await session.put(f"{url}/agent/service/register", json={"ID": "x", "Name": "new"})
        answer = await asyncio.wait_for(waiting, 60)
        assert await answer.json() == []
        assert int(answer.headers["X-Consul-Index"]) > int(index)


async def test_a_check_may_ask_for_several_findings_in_a_row(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """The real 1.8.7 takes these fields over its API, and passes them over."""
    async with (
        embedded_consul(state_dir=tmp_path) as server,
        answering(200) as (well, of_well),
        answering(500) as (ill, of_ill),
    ):
        url = f"{server.url}/v1/agent/check/register"
        good = {"Name": "good", "HTTP": well, "Interval": "1s", "SuccessBeforePassing": 2, "Timeout": "10m"}
        bad = {"Name": "bad", "HTTP": ill, "Interval": "1s", "FailuresBeforeCritical": 2, "Timeout": "10m"}
        for body in (good, {**bad, "Status": "passing"}):
            assert (await session.put(url, json=body)).status == 200

        async def states() -> dict[str, str]:
            found = await (await get(session, server, "agent/checks")).json()
            return {id: found[id]["Status"] for id in ("good", "bad")}

        await eventually_async(lambda: of_well.count == of_ill.count == 2, interval=0.01)
        assert await states() == {"good": "critical", "bad": "passing"}
        of_well.more.set()
        of_ill.more.set()

        async def turned() -> bool:
            return await states() == {"good": "passing", "bad": "critical"}

        await eventually_async(turned)


@pytest.mark.parametrize(("back_in_time", "removed"), [(False, True), (True, False)])
async def test_a_service_that_is_critical_for_too_long_is_removed(
    tmp_path: Path, session: aiohttp.ClientSession, back_in_time: bool, removed: bool
) -> None:
    """As the real one does, where it takes at least a minute."""
    hasty = {"check_reap_interval": 0.05, "check_deregister_interval_min": 0.3}
    async with embedded_consul(state_dir=tmp_path, **hasty) as server:
        url = f"{server.url}/v1/agent"

        async def register(name: str) -> None:
            check = {"TTL": "1h", "DeregisterCriticalServiceAfter": "10ms", "Status": "passing"}
            await session.put(f"{url}/service/register", json={"Name": name, "Check": check})

        async def services() -> set[str]:
            return set(await (await get(session, server, "agent/services")).json())

        await register("never-reported")
        await session.put(f"{url}/service/register", json={"Name": "no-limit", "Check": {"TTL": "1h"}})
        await session.put(f"{url}/check/fail/service:no-limit")
        in_time = False
        while not in_time:
            await register("web")
            began = time.monotonic()
            await session.put(f"{url}/check/fail/service:web")
            if back_in_time:
                await session.put(f"{url}/check/pass/service:web")
            in_time = time.monotonic() - began < 0.3 or not back_in_time
        await register("marker")
        await session.put(f"{url}/check/fail/service:marker")

        async def marker_is_gone() -> bool:
            return "marker" not in await services()

        await eventually_async(marker_is_gone, interval=0.01)
        assert time.monotonic() - began > 0.3
        expected = {"never-reported", "no-limit"} | (set() if removed else {"web"})
        assert await services() == expected


# ── gRPC ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"\0\0\0\0\x02\x08\x01") + frame(1, 5, 1, b"\x88"), "passing"),
        (frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"\0\0\0\0\x02\x08\x02") + frame(1, 5, 1, b"\x88"), "critical"),
        (frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"\0\0\0\0\x00"), "critical"),
        (frame(1, 5, 1, b"\x88"), "critical"),  # headers alone: an unknown service
        (frame(3, 0, 1, b"\0\0\0\0"), "critical"),  # a reset
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "critical"),
        (b"", "critical"),
    ],
)
async def test_a_grpc_check_goes_by_the_health_protocol(
    tmp_path: Path, session: aiohttp.ClientSession, answer: bytes, expected: str
) -> None:
    had: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            had.append(await reader.readuntil(b"\x0a\x03app"))
            if answer:
                writer.write(frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678") + answer)
                await reader.read()
        writer.close()

    grpc = await asyncio.start_server(serve, "127.0.0.1", 0)
    place = f"127.0.0.1:{grpc.sockets[0].getsockname()[1]}/app"
    async with grpc, embedded_consul(state_dir=tmp_path) as server:
        initial = "critical" if expected == "passing" else "passing"
        body = {"Name": "c", "GRPC": place, "Interval": "1s", "Timeout": "500ms", "Status": initial}
        await session.put(f"{server.url}/v1/agent/check/register", json=body)

        async def turned() -> bool:
            found = await (await get(session, server, "agent/checks")).json()
            return bool(found["c"]["Status"] == expected)

        await eventually_async(turned)
    assert had[0].startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"/grpc.health.v1.Health/Check" in had[0]


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_client_with_too_many_requests_under_way_is_told_so(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with embedded_consul(state_dir=tmp_path, http_max_conns_per_client=10) as server:
        url = f"{server.url}/v1/catalog/nodes?index=1000000&wait=5m"
        waiting = [asyncio.create_task(session.get(url)) for _ in range(10)]

        async def refused() -> str | None:
            answer = await get(session, server, "status/leader")
            return await answer.text() if answer.status == 429 else None

        # Consul's own words, which clients know it by.
        assert (
            await eventually_async(refused, interval=0.01)
            == "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
        )
        waiting.pop().cancel()

        async def served() -> bool:
            return (await get(session, server, "status/leader")).status == 200

        await eventually_async(served, interval=0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_and_goes_leaves_nothing_behind(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with embedded_consul(state_dir=tmp_path) as server:
        watches = server.context.state.ledger.watches
        before = watches.waiting
        paths = ["kv/key", "kv/tree/?recurse", "health/service/web", "catalog/services", "event/list"]
        waiting = [
            asyncio.create_task(session.get(f"{server.url}/v1/{path}{'&' if '?' in path else '?'}index=1&wait=5m"))
            for path in paths * 20
            if path not in ("catalog/services",)
        ]
        await eventually_async(lambda: watches.waiting >= before + len(waiting))
        for task in waiting:
            task.cancel()
        await eventually_async(lambda: watches.waiting == before)


async def test_a_long_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with embedded_consul(state_dir=tmp_path, max_body_size=1000) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        head = await asyncio.wait_for(reader.readline(), 60)
        assert head.split()[1] == b"413"
        writer.close()


async def test_a_long_body_in_pieces_is_refused_too(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    async with embedded_consul(state_dir=tmp_path, kv_max_value_size=1000) as server:
        answer = await session.put(f"{server.url}/v1/kv/key", data=pieces())
        assert answer.status == 413
        assert (await get(session, server, "kv/key")).status == 404


def test_deleted_keys_are_forgotten_in_the_end(tmp_path: Path) -> None:
    """Then a prefix below which there is nothing has the index of the whole store again."""
    with running_embedded_consul(tmp_path, tombstone_ttl=0.05) as consul:
        consul.put("tree/a", b"1")
        consul.http.delete("kv/tree/a")
        before = int(consul.http.get("kv/tree/", recurse="").headers["X-Consul-Index"])
        consul.put("elsewhere", b"1")
        last = int(consul.http.get("kv/elsewhere").headers["X-Consul-Index"])

        def index() -> int:
            return int(consul.http.get("kv/tree/", recurse="").headers["X-Consul-Index"])

        assert index() in (before, last)
        eventually(lambda: index() == last, timeout=60)


@pytest.mark.parametrize("evil", ["a\r\nX-Evil: 1", "ü", "\x00", "a" * 5000])
def test_names_from_outside_cannot_forge_headers(embedded_consul: ConsulServer, evil: str) -> None:
    from urllib.parse import quote

    answer = embedded_consul.http.get(f"agent/health/service/id/{quote(evil)}")
    assert answer.status_code == 404
    assert "X-Evil" not in answer.headers
    assert embedded_consul.http.get("status/leader").status_code == 200
