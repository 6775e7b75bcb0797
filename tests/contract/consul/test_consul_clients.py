"""The Python client that the field uses, in both of its kinds, does its daily work."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import consul
import consul.aio
import pytest

from tests.support.consul import ConsulServer
from tests.support.waiting import eventually, eventually_async


@pytest.fixture
def client(any_consul: ConsulServer) -> consul.Consul:
    return consul.Consul(host=any_consul.host, port=any_consul.port)


@pytest.fixture
async def async_client(any_consul: ConsulServer) -> AsyncIterator[Any]:
    client = consul.aio.Consul(host=any_consul.host, port=any_consul.port)
    yield client
    await client.close()


def test_a_service_lives_and_dies(client: consul.Consul, any_consul: ConsulServer) -> None:
    name = any_consul.name()
    check = consul.Check.ttl("1h")
    client.agent.service.register(
        name, f"{name}-1", address="10.0.0.7", port=80, tags=["v1"], meta={"a": "b"}, check=check
    )
    assert client.agent.services()[f"{name}-1"]["Port"] == 80

    index, found = eventually(lambda: (lambda reply: reply if reply[1] else None)(client.health.service(name)))
    assert found[0]["Checks"][-1]["Status"] == "critical"
    client.agent.check.ttl_pass(f"service:{name}-1", "well")
    later, found = client.health.service(name, index=index, wait="5m", passing=True)
    assert int(later) > int(index)
    assert [it["Service"]["Address"] for it in found] == ["10.0.0.7"]
    assert client.health.service(name, passing=True, tag="v2")[1] == []

    client.agent.service.maintenance(f"{name}-1", True, "draining")
    eventually(lambda: client.health.service(name, passing=True)[1] == [])
    client.agent.service.deregister(f"{name}-1")
    eventually(lambda: name not in client.catalog.services()[1])


def test_http_and_tcp_checks_are_taken(client: consul.Consul, any_consul: ConsulServer) -> None:
    name = any_consul.name()
    host, port = any_consul.host, any_consul.port
    http = consul.Check.http(f"{any_consul.url}/v1/status/leader", "1s", timeout="1s", deregister="90s")
    client.agent.service.register(name, check=http)
    client.agent.check.register(f"{name}-tcp", check=consul.Check.tcp(host, port, "1s"), service_id=name)
    eventually(lambda: {check["Type"] for check in client.health.checks(name)[1]} == {"http", "tcp"})
    eventually(lambda: client.health.service(name, passing=True)[1])


def test_keys_and_locks(client: consul.Consul, any_consul: ConsulServer) -> None:
    key = any_consul.name("kv")
    index, entry = client.kv.get(key)
    assert entry is None
    assert client.kv.put(f"{key}/a", "value", flags=3) is True
    assert client.kv.put(f"{key}/b", b"\x00\xff") is True
    _, entry = client.kv.get(f"{key}/a")
    assert (entry["Value"], entry["Flags"]) == (b"value", 3)
    assert [it["Key"] for it in client.kv.get(f"{key}/", recurse=True)[1]] == [f"{key}/a", f"{key}/b"]
    assert client.kv.get(f"{key}/", keys=True, separator="/")[1] == [f"{key}/a", f"{key}/b"]
    assert client.kv.put(f"{key}/a", "other", cas=1) is False

    session = client.session.create(ttl=60, behavior="delete", lock_delay=0)
    assert client.kv.put(f"{key}/lock", "mine", acquire=session) is True
    assert client.session.renew(session)["ID"] == session
    assert client.session.destroy(session) is True
    assert client.kv.get(f"{key}/lock")[1] is None
    assert client.kv.delete(f"{key}/", recurse=True) is True


def test_a_transaction(client: consul.Consul, any_consul: ConsulServer) -> None:
    key = any_consul.name("txn")
    reply = client.txn.put([{"KV": {"Verb": "set", "Key": key, "Value": "dmFsdWU="}}])
    assert reply["Errors"] is None
    assert client.kv.get(key)[1]["Value"] == b"value"


def test_nodes_and_the_cluster(client: consul.Consul, any_consul: ConsulServer) -> None:
    node = any_consul.name("node")
    client.catalog.register(node, "10.0.0.1", service={"Service": any_consul.name(), "Port": 80})
    assert node in [it["Node"] for it in client.catalog.nodes()[1]]
    assert next(iter(client.catalog.node(node)[1]["Services"].values()))["Port"] == 80
    client.catalog.deregister(node)
    assert client.catalog.node(node)[1] is None
    assert client.status.peers() == [client.status.leader()]
    assert client.catalog.datacenters() == ["dc1"]
    assert client.agent.self()["Config"]["NodeName"] == "test-node"


def test_errors_are_the_clients_errors(client: consul.Consul, any_consul: ConsulServer) -> None:
    with pytest.raises(consul.ConsulException, match="No path to datacenter"):
        client.catalog.nodes(dc="elsewhere")
    with pytest.raises(consul.NotFound):
        client.session.renew("adf4238a-882b-9ddc-4a9d-5b6758e4159e")


async def test_many_watchers_of_one_client_follow_their_services(async_client: Any, any_consul: ConsulServer) -> None:
    names = [any_consul.name() for _ in range(20)]
    seen: dict[str, list[int]] = {name: [] for name in names}

    async def follow(name: str) -> None:
        index = None
        while True:
            index, found = await async_client.health.service(name, index=index, wait="5m", passing=True)
            seen[name].append(len(found))

    tasks = [asyncio.create_task(follow(name)) for name in names]
    try:
        await eventually_async(lambda: all(seen.values()))
        for name in names:
            await async_client.agent.service.register(name, check={"TTL": "1h", "Status": "passing"})
        await eventually_async(lambda: all(counts[-1] == 1 for counts in seen.values()))
        await async_client.agent.service.deregister(names[0])
        await eventually_async(lambda: seen[names[0]][-1] == 0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(counts[-1] == 1 for name, counts in seen.items() if name != names[0])


async def test_a_watcher_of_a_key_sees_every_state_it_waits_for(async_client: Any, any_consul: ConsulServer) -> None:
    key = any_consul.name("kv")
    index, entry = await async_client.kv.get(key)
    assert entry is None
    for value in (b"1", b"2", b"3"):
        waiting = asyncio.create_task(async_client.kv.get(key, index=index, wait="5m"))
        await async_client.kv.put(key, value)
        index, entry = await asyncio.wait_for(waiting, 60)
        assert entry["Value"] == value
