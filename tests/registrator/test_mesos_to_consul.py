"""Tasks of a Mesos become services of a Consul, and go when they end: the same with the embedded and the real ones."""

from tests.support.mesos_apps import HTTP, launch_app
from tests.support.scheduler import scheduling
from tests.support.waiting import eventually_async


async def test_a_task_is_registered_with_its_address_tags_and_meta(neighbours, registrator) -> None:
    mesos, consul = neighbours.mesos, neighbours.consul
    registrator(sources=["mesos"], mesos=[mesos.url], consul=consul.url)
    async with scheduling(mesos.url) as scheduler:
        labels = {"HAPROXY_0_VHOST": "shop.example", "blue": "tag", "note": "not for Consul"}
        task = await launch_app(scheduler, "/shop/web", HTTP, labels=labels)

        found = await eventually_async(lambda: consul.http.get("catalog/service/shop.web").json(), what="registered")

    assert len(found) == 1
    port = found[0]["ServicePort"]
    assert found[0]["ServiceID"] == f"{task}_shop.web_{port}"
    assert found[0]["ServiceAddress"] == "127.0.0.1"
    assert port in neighbours.ports
    assert found[0]["ServiceTags"] == ["blue"]
    meta = found[0]["ServiceMeta"]
    assert meta.pop("dromos-checks")
    assert meta == {
        "dromos-owner": "dromos",
        "dromos-app": "/shop/web",
        "dromos-task": task,
        "dromos-port-index": "0",
        "HAPROXY_0_VHOST": "shop.example",
    }


async def test_a_task_is_in_rotation_when_it_accepts_connections_and_out_soon_after_it_ended(
    neighbours, registrator
) -> None:
    mesos, consul = neighbours.mesos, neighbours.consul
    registrator(sources=["mesos"], mesos=[mesos.url], consul=consul.url)
    async with scheduling(mesos.url) as scheduler:
        server = "exec python3 -m http.server $PORT --bind 127.0.0.1"
        task = await launch_app(scheduler, "/web", HTTP, command=server)
        await eventually_async(lambda: len(consul.healthy("web")) == 1, what="in rotation")
        await scheduler.kill(task)
        await scheduler.update(task, "TASK_KILLED")
        await eventually_async(lambda: not consul.http.get("catalog/service/web").json(), what="removed")


async def test_several_ports_become_several_services(neighbours, registrator) -> None:
    mesos, consul = neighbours.mesos, neighbours.consul
    registrator(sources=["mesos"], mesos=[mesos.url], consul=consul.url)
    async with scheduling(mesos.url) as scheduler:
        await launch_app(scheduler, "/db", {"name": "sql"}, {"protocol": "tcp"}, {"name": "sync", "protocol": "udp"})
        await eventually_async(
            lambda: {"db-sql", "db-1", "db-sync"} <= consul.http.get("catalog/services").json().keys()
        )
        assert consul.http.get("catalog/services").json()["db-sync"] == ["udp"]


async def test_without_the_framework_a_task_that_waits_for_a_go_is_registered_and_status_tells_the_doubt(
    embedded_mesos, embedded_consul, registrator
) -> None:
    mesos = embedded_mesos()
    daemon = registrator(process=True, sources=["mesos"], mesos=[mesos.url], consul=embedded_consul.url)
    async with scheduling(mesos.url) as scheduler:
        held = await launch_app(scheduler, "/web", HTTP, labels={"DROMOS_HELD": "true"})
        await launch_app(scheduler, "/other", HTTP)
        await eventually_async(lambda: {"web", "other"} <= embedded_consul.http.get("catalog/services").json().keys())
        doubt = "was started to wait for its version's go, which only the source framework could tell"
        await eventually_async(lambda: daemon.status()["doubts"] == {held: doubt})
        assert doubt in daemon.log.read_text()
