"""Health and readiness probes, many at once: one timer each in the event loop, no thread, connections that are opened and closed.

Results are events. The first probe of an instance comes at a random point of its interval, so that a thousand instances that started
together are not probed together.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from daemonkit.logs import get_logger
from framework.engine.events import Event, Probed, ReadinessProbed
from framework.model.app import App
from framework.model.health import HealthCheck, ReadinessCheck
from framework.model.instance import Instance
from framework.model.network import port_numbers
from framework.model.run_spec import RunSpec

log = get_logger(__name__)

MAX_BODY = 1 << 16


@dataclass(slots=True)
class _Probed:
    """The probes of one instance."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class HealthProber:
    """Implements `engine.perform.Probes`. `concurrency`: probes under way at a time, of all instances.

    `first_delay(interval)`: when the first probe of an instance comes; by default soon, and spread.
    """

    def __init__(
        self,
        post: Callable[[Event], None],
        *,
        concurrency: int = 500,
        first_delay: Callable[[float], float] = lambda interval: random.uniform(0, min(interval, 1.0)),
    ) -> None:
        self._post, self._first_delay = post, first_delay
        self._slots = asyncio.Semaphore(concurrency)
        self._probed: dict[str, _Probed] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def instances(self) -> int:
        return len(self._probed)

    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        self.stop(instance.id)
        if not isinstance(spec, App):
            return
        probed = self._probed[instance.id] = _Probed()
        for index, check in enumerate(spec.health_checks):
            if not check.by_mesos:
                probed.tasks.append(asyncio.create_task(self._watch(instance, spec, index, check)))
        if readiness:
            for readiness_check in spec.readiness_checks:
                probed.tasks.append(asyncio.create_task(self._until_ready(instance, spec, readiness_check)))

    def stop(self, instance_id: str) -> None:
        probed = self._probed.pop(instance_id, None)
        if probed is not None:
            for task in probed.tasks:
                task.cancel()

    async def close(self) -> None:
        tasks = [task for probed in self._probed.values() for task in probed.tasks]
        for instance_id in list(self._probed):
            self.stop(instance_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- loops

    async def _watch(self, instance: Instance, app: App, index: int, check: HealthCheck) -> None:
        await asyncio.sleep(self._first_delay(check.interval_seconds))
        address = probe_address(instance, app, check.port, check.port_index)
        while True:
            async with self._slots:
                alive, cause = await self._probe(address, check)
            self._post(Probed(instance.id, index, alive, cause))
            await asyncio.sleep(check.interval_seconds)

    async def _until_ready(self, instance: Instance, app: App, check: ReadinessCheck) -> None:
        address = readiness_address(instance, app, check)
        while True:
            async with self._slots:
                result = await self._ask(instance.id, address, check)
            self._post(result)
            if result.ready:
                return
            await asyncio.sleep(check.interval_seconds)

    # --- one probe

    async def _probe(self, address: tuple[str, int] | None, check: HealthCheck) -> tuple[bool | None, str]:
        """(True, "") healthy, (False, cause) not, (None, "") neither."""
        if address is None:
            return False, "the instance has no port to probe"
        try:
            async with asyncio.timeout(check.timeout_seconds):
                if check.protocol == "TCP":
                    return await _connects(*address)
                return await self._answers(address, check)
        except TimeoutError:
            return False, f"no answer within {check.timeout_seconds} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, str(error) or type(error).__name__

    async def _answers(self, address: tuple[str, int], check: HealthCheck) -> tuple[bool | None, str]:
        url = _url(check.protocol.lower(), address, check.path or "/")
        async with self._http().get(url, allow_redirects=False) as response:
            if 100 <= response.status < 200 and check.ignore_http1xx:
                return None, ""
            if 200 <= response.status < 400:
                return True, ""
            return False, f"HTTP {response.status}"

    async def _ask(self, instance_id: str, address: tuple[str, int] | None, check: ReadinessCheck) -> ReadinessProbed:
        if address is None:
            return ReadinessProbed(instance_id, check.name, False)
        try:
            async with asyncio.timeout(check.timeout_seconds):
                url = _url(check.protocol.lower(), address, check.path)
                async with self._http().get(url, allow_redirects=False) as response:
                    kept = check.preserve_last_response
                    body = (await response.content.read(MAX_BODY)).decode(errors="replace") if kept else None
                    return ReadinessProbed(
                        instance_id,
                        check.name,
                        response.status in check.http_status_codes_for_ready,
                        response.status if kept else None,
                        response.headers.get("Content-Type") if kept else None,
                        body,
                    )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return ReadinessProbed(instance_id, check.name, False)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Certificates are not verified: a probe asks whether the instance lives, by an address that no certificate names.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=context),
                headers={"User-Agent": "Dromos health check"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


async def _connects(host: str, port: int) -> tuple[bool, str]:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True, ""


def _url(scheme: str, address: tuple[str, int], path: str) -> str:
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}/{path.removeprefix('/')}"


def probe_address(instance: Instance, app: App, port: int | None, port_index: int | None) -> tuple[str, int] | None:
    """Where a check's port is reached: on the host, or at the container's own address if it has no port on the host."""
    task = instance.tasks[0]
    if port is not None:
        return _reachable(instance, app), port
    index = port_index or 0
    if app.host_networking:
        return (instance.agent.host, task.host_ports[index]) if index < len(task.host_ports) else None
    numbers = port_numbers(app.port_mappings, task.host_ports)
    if index >= len(numbers):
        return None
    host, container = numbers[index]
    if host is not None:
        return instance.agent.host, host
    return (task.ip_addresses[0].ip_address, container) if task.ip_addresses else None


def _reachable(instance: Instance, app: App) -> str:
    task = instance.tasks[0]
    own = [network for network in app.networks if network.mode == "container"]
    return task.ip_addresses[0].ip_address if own and task.ip_addresses else instance.agent.host


def readiness_address(instance: Instance, app: App, check: ReadinessCheck) -> tuple[str, int] | None:
    names = [port.name for port in app.ports]
    return probe_address(instance, app, None, names.index(check.port_name)) if check.port_name in names else None
