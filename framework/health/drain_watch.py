"""Asks the edges whether anybody still talks to the instances that drain until they are idle.

The edges' status port says at /metrics.json which endpoints are in rotation or have requests under way. Nobody is asked while nothing
drains.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from daemonkit.logs import get_logger
from framework.decide.idleness import EdgeReport, Idleness
from framework.engine.events import Event, WentIdle
from framework.health.prober import probe_address
from framework.model.app import App
from framework.model.instance import Instance
from framework.model.network import port_numbers
from framework.model.run_spec import RunSpec

log = get_logger(__name__)

LOOK = 1.0  # seconds between two looks
Address = tuple[str, int]


@dataclass(slots=True)
class _Watched:
    until: float  # by the loop's clock
    idleness: Idleness


class DrainWatch:
    """Implements `engine.perform.Drains`. `edges`: http://HOST:PORT of the status of each; `timeout`: seconds that one may take."""

    def __init__(self, edges: Sequence[str], post: Callable[[Event], None], *, timeout: float = 3.0) -> None:
        self._edges, self._post, self._timeout = tuple(edge.rstrip("/") for edge in edges), post, timeout
        self._watched: dict[str, _Watched] = {}
        self._begun: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def watched(self) -> int:
        return len(self._watched) + len(self._begun)

    def watch(self, instance: Instance, spec: RunSpec, seconds: float) -> None:
        addresses = addresses_of(instance, spec)
        if self._edges and addresses and None not in addresses:
            task = asyncio.create_task(self._begin(instance, [a for a in addresses if a], seconds))
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)

    async def close(self) -> None:
        tasks = [*self._begun, *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, instance: Instance, addresses: Sequence[Address], seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        ports = tuple([await _spellings(address) for address in addresses])
        self._watched[instance.id] = _Watched(until, Idleness(instance.spec_id, ports))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_again_and_again())

    async def _look_again_and_again(self) -> None:
        loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            silent: set[str] = set()
            while self._watched:
                reports = await asyncio.gather(*(_report(session, edge, silent) for edge in self._edges))
                for instance_id, watched in list(self._watched.items()):
                    watched.idleness = watched.idleness.looked(reports)
                    if watched.idleness.is_idle:
                        self._post(WentIdle(instance_id))
                    if watched.idleness.is_idle or loop.time() >= watched.until:
                        del self._watched[instance_id]
                await asyncio.sleep(LOOK)


def addresses_of(instance: Instance, spec: RunSpec) -> list[Address | None]:
    """Where each port is reached; None where that is not known."""
    if isinstance(spec, App):
        return [probe_address(instance, spec, None, index) for index in range(len(spec.ports))]
    tasks = {task.container: task for task in instance.tasks}
    found: list[Address | None] = []
    for container in spec.containers:
        task = tasks.get(container.name)
        if task is None:
            return [None]
        own = task.ip_addresses[0].ip_address if task.ip_addresses else None
        for host, number in port_numbers(container.endpoints, task.host_ports):
            found.append((instance.agent.host, host) if host is not None else (own, number) if own else None)
    return found


async def _spellings(address: Address) -> frozenset[str]:
    """As Consul may have it: by name, and by each of the name's addresses."""
    host, port = address
    hosts = {host}
    with contextlib.suppress(OSError):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        hosts |= {str(where[0]) for *_, where in found}
    return frozenset(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts)


async def _report(session: aiohttp.ClientSession, edge: str, silent: set[str]) -> EdgeReport | None:
    """`silent`: the edges of which it has been told that they do not answer."""
    try:
        async with session.get(f"{edge}/metrics.json") as response:
            response.raise_for_status()
            body = await response.read()
        # It tells of every service: thousands take their time.
        report = await asyncio.to_thread(lambda: read_report(orjson.loads(body)))
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        if edge not in silent:
            silent.add(edge)
            log.info("an edge does not say what is under way", edge=edge, error=str(error) or type(error).__name__)
        return None
    silent.discard(edge)
    return report


def read_report(answer: Any) -> EdgeReport | None:
    """None where the answer is none of an edge's. Plain Nginx counts nothing under way, Nginx with Lua no TCP and UDP."""
    try:
        services = list(answer["services"].values())
        counted = [service for service in services if "under_way" in service]
        blind = {str(service["app"]) for service in services if "under_way" not in service}
        busy = {address for service in counted for address in service["under_way"]}
        known: dict[str, set[str]] = {}
        for service in counted:
            known.setdefault(str(service["app"]), set()).update(service["endpoints"], service["under_way"])
    except (AttributeError, KeyError, TypeError):
        return None
    return EdgeReport(known, busy, blind)
