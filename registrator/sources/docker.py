"""A Docker daemon as a source: its list of containers, each inspected when it is new or an event names it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from daemonkit.backoff import Backoff
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from registrator.errors import SourceError
from registrator.model import Look
from registrator.sources.base import Hint, Remembered
from registrator.sources.docker_container import (
    Host,
    env_of,
    has_failed,
    instance_of,
    is_of_interest,
    is_running,
    key_of_container,
)

log = get_logger(__name__)
Json = dict[str, Any]

_FAILURES = (DockerException, requests.RequestException, OSError, ValueError, KeyError)
# The signals that mean "end": SIGHUP, SIGUSR1 and their like do not.
_STOP_SIGNALS = frozenset(
    {"2", "3", "9", "15", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "INT", "QUIT", "KILL", "TERM"}
)
_EVENTS = (
    "start",
    "die",
    "kill",
    "destroy",
    "pause",
    "unpause",
    "rename",
    "update",
    "health_status",
    "connect",
    "disconnect",
)


class DockerSource:
    """`address` "" takes DOCKER_HOST and its like. `host_address` tells the address of published ports.

    The SDK blocks, so each call runs in a thread; `_known` and the sets beside it are touched by one look at a time, and by the
    events only through the loop.
    """

    name = "docker"

    def __init__(
        self,
        address: str,
        *,
        all_containers: bool,
        host_address: Callable[[], Awaitable[str]],
        networks: Sequence[str],
        ipv6: bool,
        timeout: float,
        reinspect: float,
        stopping_hold: float,
        most_ended: int,
        keep_failed: bool = False,
    ) -> None:
        """`keep_failed`: a container that has failed by itself has not ended, as long as it is not removed.

        Seconds: `reinspect` is how often all are inspected whatever events say, `stopping_hold` how long one that was sent a
        stop signal counts as draining."""
        self._address = address
        self._reinspect = reinspect
        self._inspected_at = 0.0
        self._all_containers = all_containers
        self._host_address = host_address
        self._networks = networks
        self._ipv6 = ipv6
        self._timeout = timeout
        self._stopping_hold = stopping_hold
        self._keep_failed = keep_failed
        self._client: docker.DockerClient | None = None
        self._known: dict[str, Json] = {}  # container id -> as inspected
        self._changed: set[str] = set()
        self._stopping: dict[str, float] = {}  # container id -> when it was sent a stop signal
        self._destroyed = Remembered(most_ended)
        self._drivers: dict[str, str] = {}  # network id -> driver
        self._host_name = ""

    async def look(self, *, fresh: bool) -> Look:
        changed, self._changed = self._changed, set()
        fresh = fresh or time.monotonic() - self._inspected_at >= self._reinspect
        try:
            known = await asyncio.to_thread(self._inspect_all, changed, fresh)
            address = await self._host_address()
        except _FAILURES as error:
            self._changed |= changed
            raise SourceError(f"Docker does not answer: {error}") from None
        self._known = known
        now = time.monotonic()
        if fresh:
            self._inspected_at = now
        self._stopping = {
            id: at
            for id, at in self._stopping.items()
            if id in known and is_running(known[id]) and now - at < self._stopping_hold
        }
        host = Host(self._host_name, address, self._drivers, self._networks, self._ipv6)
        try:
            of_interest = [item for item in known.values() if is_of_interest(item, all_containers=self._all_containers)]
            there = [item for item in of_interest if is_running(item) or self._is_kept(item)]
            instances = {
                key_of_container(item): instance_of(
                    item, host, self._network_of(item), stopping=item["Id"] in self._stopping
                )
                for item in there
            }
            ended = {key_of_container(item) for item in of_interest if not is_running(item)} - instances.keys()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SourceError(f"Docker describes a container in a way that cannot be read: {error!r}") from None
        return Look(instances, frozenset(ended) | self._destroyed.frozen())

    async def watch(self, hint: Hint, stop: asyncio.Event) -> None:
        waits = Backoff(first=0.2, most=10.0)
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            try:
                stream = await asyncio.to_thread(self._open_events)
            except _FAILURES as error:
                log.info("Docker's events cannot be had", error=str(error))
            else:
                waits.reset()
                hint("subscribed to Docker's events")
                ended = asyncio.Event()
                reader = threading.Thread(
                    target=self._read_events, args=(stream, loop, hint, ended), name="docker-events", daemon=True
                )
                reader.start()
                try:
                    await _first_of(ended, stop)
                finally:
                    with contextlib.suppress(*_FAILURES, AttributeError):
                        stream.close()
            hint("Docker's events ended")
            await sleep_or_stop(waits.next(), stop)

    async def close(self) -> None:
        if self._client:
            await asyncio.to_thread(self._client.close)

    def _connected(self) -> docker.DockerClient:
        if self._client is None:
            client = (
                docker.DockerClient(base_url=self._address, timeout=self._timeout)
                if self._address
                else docker.from_env(timeout=self._timeout)
            )
            self._host_name = str(client.info()["Name"])
            self._client = client
        return self._client

    def _inspect_all(self, changed: set[str], fresh: bool) -> dict[str, Json]:
        """All containers, those that did not change as they were inspected before."""
        api = self._connected().api
        known: dict[str, Json] = {}
        for summary in api.containers(all=True):
            id = str(summary["Id"])
            before = self._known.get(id)
            if before and not fresh and id not in changed and before["State"]["Status"] == summary.get("State"):
                known[id] = before
                continue
            try:
                known[id] = api.inspect_container(id)
            except NotFound:
                continue  # it has gone since the list was made
            except APIError as error:
                if error.status_code != 409:  # marked for removal
                    raise
        seen = {
            str(network.get("NetworkID", ""))
            for item in known.values()
            for network in (item["NetworkSettings"].get("Networks") or {}).values()
        }
        if seen - {""} - self._drivers.keys():
            self._drivers = {str(network["Id"]): str(network["Driver"]) for network in api.networks()}
        return known

    def _is_kept(self, inspected: Json) -> bool:
        return self._keep_failed and has_failed(inspected) and not env_of(inspected).get("MESOS_TASK_ID")

    def _network_of(self, inspected: Json) -> Json | None:
        mode = str(inspected["HostConfig"].get("NetworkMode", ""))
        return self._known.get(mode.removeprefix("container:")) if mode.startswith("container:") else None

    def _open_events(self) -> Any:
        return self._connected().events(decode=True, filters={"type": ["container", "network"]})

    def _read_events(self, stream: Any, loop: asyncio.AbstractEventLoop, hint: Hint, ended: asyncio.Event) -> None:
        """In a thread of its own, until the stream ends; the loop may be gone by then."""
        with contextlib.suppress(RuntimeError):
            try:
                for event in stream:
                    loop.call_soon_threadsafe(self._learn, event, hint)
            except Exception as error:
                log.info("Docker's event stream ended", error=str(error))
            loop.call_soon_threadsafe(ended.set)

    def _learn(self, event: Json, hint: Hint) -> None:
        action = str(event.get("Action", "")).partition(":")[0]
        if action not in _EVENTS:
            return
        attributes = (event.get("Actor") or {}).get("Attributes") or {}
        id = str(attributes.get("container", "") if event.get("Type") == "network" else event["Actor"]["ID"])
        self._changed.add(id)
        if action == "kill" and str(attributes.get("signal", "")) in _STOP_SIGNALS:
            self._stopping[id] = time.monotonic()
            # A container that goes on after all causes no event.
            asyncio.get_running_loop().call_later(self._stopping_hold + 0.01, hint, "docker has not stopped it")
        elif action in ("start", "unpause"):
            self._stopping.pop(id, None)
        elif action == "destroy":
            self._destroyed.add(key_of_container(self._known[id]) if id in self._known else id)
        hint(f"docker {action}")


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
