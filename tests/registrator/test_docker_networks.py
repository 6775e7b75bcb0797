"""The address that is registered is one at which clients reach the container: on each kind of network, of a real Docker daemon.

The kernel must know macvlan and vxlan. Where the host reaches the address, Consul's own check is the proof; an overlay is reached from
another container on it. ipvlan, which not every kernel has, is in the tables of test_docker_container.py.
"""

import contextlib
import fcntl
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.registrator.conftest import SERVE, Run, remove
from tests.support.consul import ConsulServer
from tests.support.docker import Dockerd
from tests.support.processes import free_port
from tests.support.waiting import eventually

Networks = Callable[..., Any]


@pytest.fixture
def network(dockerd: Dockerd) -> Iterator[Networks]:
    """Makes networks that go with the test: `network("macvlan", "10.0.0.0/24", parent="eth0")`."""
    with contextlib.ExitStack() as stack:

        def make(driver: str, *pools: docker.types.IPAMPool, name: str = "", ipv6: bool = False, **options: str) -> Any:
            made = dockerd.client.networks.create(
                name or f"n-{uuid.uuid4().hex[:8]}",
                driver=driver,
                ipam=docker.types.IPAMConfig(pool_configs=list(pools)) if pools else None,
                enable_ipv6=ipv6,
                attachable=driver == "overlay",
                options=options,
            )
            stack.callback(remove_network, made)
            return made

        yield make


@pytest.fixture
def serve(dockerd: Dockerd, busybox: str, network: Networks) -> Iterator[Run]:
    """Runs containers on networks, the first of which they are started on; their port 80 is exposed and not published."""
    with contextlib.ExitStack() as stack:

        def start(*networks: Any) -> Any:
            api = dockerd.client.api
            host_config = api.create_host_config(network_mode=networks[0].name)
            labels = {"SERVICE_NAME": "web", "dromos-test": "1"}
            id = api.create_container(busybox, SERVE, ports=[80], labels=labels, host_config=host_config)["Id"]
            container = dockerd.client.containers.get(id)
            stack.callback(remove, container)
            for other in networks[1:]:
                other.connect(container)
            container.start()
            container.reload()
            return container

        yield start


def remove_network(network: Any) -> None:
    with contextlib.suppress(docker.errors.NotFound):  # overlays go with their swarm
        network.remove()


def address_in(container: Any, network: Any, version: str = "IPAddress") -> str:
    return str(container.attrs["NetworkSettings"]["Networks"][network.name][version])


def registered(consul: ConsulServer) -> list[tuple[str, int]]:
    found = consul.http.get("catalog/service/web").json()
    return [(service["ServiceAddress"], service["ServicePort"]) for service in found]


@pytest.fixture
def wire() -> Iterator[tuple[str, str]]:
    """A device for a macvlan, and the first three bytes of the addresses there: the host is at its other end, as 1."""
    name, network = uuid.uuid4().hex[:8], f"10.214.{random.randrange(256)}"
    here, there = f"h{name}", f"c{name}"
    ip("link", "add", here, "type", "veth", "peer", "name", there)
    try:
        ip("address", "add", f"{network}.1/24", "dev", here)
        ip("link", "set", here, "up")
        ip("link", "set", there, "up")
        yield there, network
    finally:
        ip("link", "delete", here)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def test_on_a_macvlan_a_container_is_reached_at_itself_although_it_was_started_on_a_bridge(
    wire: tuple[str, str], network: Networks, serve: Run, real_consul: ConsulServer, docker_registrator: Run
) -> None:
    device, start = wire
    pool = docker.types.IPAMPool(subnet=f"{start}.0/24", iprange=f"{start}.128/25", gateway=f"{start}.1")
    bridge, lan = network("bridge"), network("macvlan", pool, parent=device)
    docker_registrator(consul=real_consul.url)
    container = serve(bridge, lan)
    eventually(lambda: registered(real_consul) == [(address_in(container, lan), 80)])
    eventually(lambda: real_consul.healthy("web"), what="Consul reaches it there")


def test_with_ip_version_6_a_container_is_reached_at_its_ipv6_address(
    network: Networks, serve: Run, real_consul: ConsulServer, docker_registrator: Run
) -> None:
    v4 = docker.types.IPAMPool(subnet=f"10.215.{random.randrange(256)}.0/24")
    v6 = docker.types.IPAMPool(subnet=f"fd{random.randrange(256):02x}:{random.randrange(65536):x}::/64")
    both = network("bridge", v4, v6, ipv6=True)
    docker_registrator(consul=real_consul.url, internal=True, ip_version="6")
    container = serve(both)
    eventually(lambda: registered(real_consul) == [(address_in(container, both, "GlobalIPv6Address"), 80)])
    eventually(lambda: real_consul.healthy("web"), what="Consul reaches it there")


def test_a_port_that_is_published_at_an_ipv6_address_is_reached_there(
    run: Run, real_consul: ConsulServer, docker_registrator: Run
) -> None:
    docker_registrator(consul=real_consul.url, ip_version="6")
    container = run(ports={"80/tcp": ("::1", None)}, labels={"SERVICE_NAME": "web"})
    port = int(container.ports["80/tcp"][0]["HostPort"])
    eventually(lambda: registered(real_consul) == [("::1", port)])
    eventually(lambda: real_consul.healthy("web"), what="Consul reaches it there")


@pytest.fixture
def swarm(dockerd: Dockerd, network: Networks) -> Iterator[None]:
    """Overlays need a swarm, and its gossip a port that cannot be chosen: one test of this machine at a time.

    Its bridge gets a name of its own, by which no other daemon of this machine knows one.
    """
    with Path("/run/lock/dromos-test-swarm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        network("bridge", name="docker_gwbridge", **{"com.docker.network.bridge.name": f"g{uuid.uuid4().hex[:8]}"})
        listen = f"127.0.0.1:{free_port()}"
        try:
            dockerd.client.swarm.init(advertise_addr="127.0.0.1", listen_addr=listen, data_path_port=free_port())
            yield
        finally:
            with contextlib.suppress(docker.errors.APIError):  # it has not joined
                dockerd.client.swarm.leave(force=True)


def test_on_an_overlay_a_container_is_reached_at_its_address_there(
    swarm: None, network: Networks, serve: Run, real_consul: ConsulServer, docker_registrator: Run
) -> None:
    bridge, overlay = network("bridge"), network("overlay")
    docker_registrator(consul=real_consul.url)
    container, client = serve(bridge, overlay), serve(overlay)
    addresses = {address_in(container, overlay), address_in(client, overlay)}
    eventually(lambda: {address for address, _ in registered(real_consul)} == addresses)
    connect = f"import socket; socket.create_connection(({address_in(container, overlay)!r}, 80), 60)"
    at_the_client = ["nsenter", "-n", "-t", str(client.attrs["State"]["Pid"]), sys.executable, "-c", connect]
    eventually(lambda: subprocess.run(at_the_client, check=True, timeout=90), what="its server listens, and is reached")
