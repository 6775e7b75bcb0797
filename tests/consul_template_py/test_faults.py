"""Consul at its worst, between real servers and a proxy that breaks things: values stay, and what comes back is the truth."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consul_template_py.config import Config
from consul_template_py.guard import Guard
from consul_template_py.memory import Guards, Memory
from consul_template_py.query import KeyQuery, ServiceQuery, ServicesQuery
from consul_template_py.runner import Runner
from consul_template_py.sources.consul import ConsulSettings
from consul_template_py.watch import Watcher
from tests.support.consul import ConsulServer, running_real_consul, two_real_servers
from tests.support.proxy import Faults, Proxy
from tests.support.waiting import eventually, eventually_async


@pytest.fixture
def proxy(any_consul: ConsulServer) -> Iterator[Proxy]:
    with Proxy(any_consul.host, any_consul.port).running() as running_proxy:
        yield running_proxy


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(refuse=True), "connection lost"),
        (Faults(status=500), "Consul answered 500"),
        (Faults(status=429), "lower max_connections"),
        (Faults(status=403), "give a token"),
        (Faults(hang=True), "did not answer within"),
    ],
)
async def test_a_fault_keeps_the_value_is_said_and_ends_by_itself(
    any_consul: ConsulServer, proxy: Proxy, faults: Faults, said: str
) -> None:
    any_consul.put("k", "1")
    settings = ConsulSettings(address=proxy.url, wait=0.5, answer_timeout=1)
    async with Watcher(settings, first_retry=0.05, most_retry=0.2) as watcher:
        watch = watcher.watch(KeyQuery("k"))
        assert (await watch.changed()).value == "1"
        proxy.set(faults)
        await eventually_async(lambda: said in watch.state.error, timeout=60)
        assert watch.state.value == "1" and watch.state.stale_since
        any_consul.put("k", "2")
        proxy.set()
        assert (await watch.changed()).value == "2"
        await eventually_async(lambda: watch.state.fresh)


async def test_an_index_that_goes_backwards_does_not_stop_a_watch(tmp_path: Path) -> None:
    """A dev agent that is started again has forgotten everything, its index too."""
    with running_real_consul(tmp_path) as consul:
        for number in range(50):
            consul.put("k", str(number))
        async with Watcher(ConsulSettings(address=consul.url), most_retry=0.5) as watcher:
            watch = watcher.watch(KeyQuery("k"))
            assert (await watch.changed()).value == "49"
            await asyncio.to_thread(consul.kill)
            await asyncio.to_thread(consul.start)
            consul.put("k", "new")
            await eventually_async(lambda: watch.state.value == "new", timeout=60)


async def test_a_server_without_a_leader_is_not_believed(tmp_path: Path) -> None:
    with two_real_servers(tmp_path) as (consul, second):
        consul.put("k", "1")
        eventually(lambda: consul.http.get("kv/k", stale="").ok)  # it has come to this server
        errors: list[str] = []
        settings = ConsulSettings(address=consul.url, wait=1.0)
        async with Watcher(settings, most_retry=0.3, on_error=errors.append) as watcher:
            watch = watcher.watch(KeyQuery("k"))
            assert (await watch.changed()).value == "1"
            second.kill()
            await eventually_async(lambda: "no leader" in watch.state.error.lower(), timeout=60)
            await eventually_async(lambda: len(errors) >= 6, timeout=60)  # and it stays so, however often it is asked
            assert watch.state.value == "1" and watch.state.error and watch.state.version == 1
            await asyncio.to_thread(second.start, 60)  # and a leader is elected
            consul.put("k", "2")
            await eventually_async(lambda: watch.state.value == "2" and watch.state.fresh, timeout=60)


# Churn

SERVICES, INSTANCES = 50, 5
TEMPLATE = """{% for s in services() if s.name != "consul" %}{{ s.name }}:{% for i in service(s.name) %} {{ i.id }}={{ i.port }}{% endfor %}
{% endfor %}"""


class Truth:
    """What is registered, changed at random; and what the file is to say about it."""

    def __init__(self, consul: ConsulServer, seed: int) -> None:
        self.consul, self.random = consul, random.Random(seed)
        self.ports: dict[tuple[int, int], int] = {}
        for service in range(SERVICES):
            for instance in range(INSTANCES):
                self._put(service, instance)

    def _put(self, service: int, instance: int) -> None:
        port = self.random.randrange(1, 60000)
        self.ports[service, instance] = port
        # The next change does not wait until the catalog has this one.
        body = {"Name": f"svc-{service:02d}", "ID": f"svc-{service:02d}-{instance}", "Port": port}
        self.consul.http.put("agent/service/register", body).raise_for_status()

    def change(self) -> None:
        service, instance = self.random.randrange(SERVICES), self.random.randrange(INSTANCES)
        if (service, instance) in self.ports and self.random.random() < 0.4:
            del self.ports[service, instance]
            self.consul.deregister(f"svc-{service:02d}-{instance}")
        else:
            self._put(service, instance)

    def text(self) -> str:
        lines = []
        for service in range(SERVICES):
            found = [
                f"svc-{service:02d}-{i}={self.ports[service, i]}"
                for i in range(INSTANCES)
                if (service, i) in self.ports
            ]
            if found:
                lines.append(f"svc-{service:02d}: {' '.join(found)}\n")
        return "".join(lines)


@contextlib.asynccontextmanager
async def runner_of(address: str, folder: Path, **more: object) -> AsyncIterator[Runner]:
    (folder / "t.j2").write_text(TEMPLATE)
    template = {
        "source": str(folder / "t.j2"),
        "destination": str(folder / "out"),
        "command": f"echo x >> {folder / 'reloads'}",
    }
    consul = {"address": address, "retry": {"backoff": 0.05, "max_backoff": 0.3}}
    runner = Runner(Config.model_validate({"consul": consul, "template": [template], "block_query_wait": 2, **more}))
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        yield runner
    finally:
        stop.set()
        await task


async def test_after_churn_with_faults_the_file_is_the_truth(
    any_consul: ConsulServer, proxy: Proxy, tmp_path: Path
) -> None:
    truth, out = Truth(any_consul, seed=7), tmp_path / "out"
    kinds = [
        Faults(refuse=True),
        Faults(status=500),
        Faults(status=429, share=0.5),
        Faults(refuse=True, share=0.3),
        Faults(hang=True, share=0.2),
    ]
    async with runner_of(proxy.url, tmp_path, wait="50ms:500ms") as runner:
        await eventually_async(lambda: out.exists() and out.read_text() == truth.text(), 60)
        for number in range(150):
            if number % 12 == 5:
                proxy.set(truth.random.choice(kinds))
            if number % 12 == 9:
                proxy.set()
            for _ in range(truth.random.randrange(1, 4)):
                await asyncio.to_thread(truth.change)
            await asyncio.sleep(0.02)
        proxy.set()
        await eventually_async(lambda: out.read_text() == truth.text(), 60)
        await eventually_async(lambda: not runner.units[0].state.error)


async def test_one_reload_for_each_change_and_none_besides(any_consul: ConsulServer, tmp_path: Path) -> None:
    truth, out, reloads = Truth(any_consul, seed=3), tmp_path / "out", tmp_path / "reloads"
    async with runner_of(any_consul.url, tmp_path, wait="40ms:1s"):
        await eventually_async(lambda: out.exists() and out.read_text() == truth.text() and reloads.exists(), 60)
        before, changes = len(reloads.read_text().split()), 25
        for number in range(changes):
            text = truth.text()
            while truth.text() == text:
                await asyncio.to_thread(truth.change)
            await eventually_async(lambda: out.read_text() == truth.text(), 60)
            await eventually_async(lambda n=number: len(reloads.read_text().split()) > before + n, 60)  # type: ignore[misc]
        assert len(reloads.read_text().split()) - before <= changes * 1.2


async def test_a_blank_answer_does_not_empty_the_file(tmp_path: Path) -> None:
    """An agent that is started again knows nothing for a while: the guard waits for a consistent read, and for it to last."""
    with running_real_consul(tmp_path) as consul:
        for number in range(10):
            consul.register("web", f"web-{number}", port=number)
        guard = {"min_instances": 2, "max_drop_percent": 50, "hold_down": "1h"}  # growth is believed at once
        out = tmp_path / "out"
        async with runner_of(consul.url, tmp_path, guard=guard) as runner:
            await eventually_async(lambda: out.exists() and out.read_text().count("web-") == 10, 60)
            full = out.read_text()
            await asyncio.to_thread(consul.kill)
            await asyncio.to_thread(consul.start)
            held = await eventually_async(lambda: runner.memory.holds, 60)
            assert any("web" in query or "services" in query for query in held)
            assert out.read_text() == full
            for number in range(10):
                consul.register("web", f"web-{number}", port=number)
            await eventually_async(lambda: not runner.memory.holds, 60)
            assert out.read_text() == full


async def test_what_a_server_has_yet_to_read_of_its_log_is_not_taken_for_gone() -> None:
    """A server that was killed answers from what it has read so far, with a lower index: some services are there, others not yet."""
    answers = [(50, "abcd"), (30, "abc"), (30, "abcde"), (30, "abcd"), (51, "abcd"), (52, "abc")]
    names, asked = iter(answers), asyncio.Semaphore(0)
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                if b"consistent" in request:
                    index, found = 30, ""  # it agrees to anything
                else:
                    await asked.acquire()
                    index, found = next(names, (0, ""))
                body = json.dumps({name: [] for name in found}).encode()
                head = f"HTTP/1.1 200 OK\r\nX-Consul-Index: {index}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Watcher(ConsulSettings(address=f"http://127.0.0.1:{port}")) as watcher:
            query = ServicesQuery()
            memory = Memory(watcher, lambda query: None, guards=Guards(Guard(max_drop_percent=50, hold_down=3600)))
            memory.begin(query)

            async def after_the_next() -> tuple[str, bool]:
                state = memory.state(query)
                assert state
                before = state.answered_at
                asked.release()
                await eventually_async(lambda: state.answered_at > before)
                received, value = memory.get(query)
                return "".join(service.name for service in value or ()), bool(memory.holds)

            seen = [await after_the_next() for _ in answers]
        server.close()
        while any(task and not task.done() for task in serving):
            asked.release()
            await asyncio.sleep(0)
    assert seen == [
        ("abcd", False),
        ("abcd", True),  # a quarter less, which is less than the guard's half
        ("abcde", False),  # growth is believed
        ("abcde", True),
        ("abcd", False),  # it has caught up
        ("abc", False),
    ]


async def test_the_list_of_services_that_is_the_same_is_no_event(any_consul: ConsulServer) -> None:
    name = any_consul.name()
    any_consul.register(name, f"{name}-1", port=1, Tags=["b", "a"])
    async with Watcher(ConsulSettings(address=any_consul.url)) as watcher:
        services, instances = watcher.watch(ServicesQuery()), watcher.watch(ServiceQuery(name))
        await services.changed()
        await instances.changed()
        first = services.state.value
        for port in range(2, 6):
            any_consul.register(name, f"{name}-1", port=port, Tags=["a", "b"])
            assert (await instances.changed()).value[0].port == port
        assert services.state.version == 1 and services.state.value is first
