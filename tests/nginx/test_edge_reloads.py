"""Plain Nginx follows by reloads: a burst of changes is few of them."""

import time
from pathlib import Path

from tests.support.backends import backends
from tests.support.consul import ConsulServer
from tests.support.edge import becomes, register, running_edge
from tests.support.waiting import eventually_async

INTERVAL, CHANGES = 2.0, 60


async def test_a_burst_of_changes_is_few_reloads_and_the_last_state_is_served(
    tmp_path: Path, real_consul: ConsulServer
) -> None:
    flags = ("--target", "nginx", "--reload-interval", str(INTERVAL), "--reload-burst", "1", "--no-access-log")
    with running_edge(tmp_path / "edge", real_consul.url, *flags) as edge:
        async with backends("one", "two", "last") as (one, two, last):
            began = time.monotonic()
            register(real_consul, one, "web", HAPROXY_0_VHOST="web.test")
            for _ in range(CHANGES // 2):
                real_consul.deregister(register(real_consul, two, "web", HAPROXY_0_VHOST="web.test"))
            real_consul.deregister(f"web-{one.port}")
            register(real_consul, last, "web", HAPROXY_0_VHOST="web.test")
            await becomes(edge, {"last"}, host="web.test")
            most = 2 + (time.monotonic() - began) / INTERVAL  # one from before, one at once, then one in each interval
            reloads = await eventually_async(lambda: edge.report()["reloads"])  # known a little after it is felt
            assert reloads <= most < CHANGES
