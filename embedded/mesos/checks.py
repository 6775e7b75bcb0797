"""Health checks and checks of the Mesos kind, run by the agent: COMMAND in the container, HTTP and TCP against its ports.

`HealthVerdict` decides what one result means; the coroutines probe, wait and report.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from daemonkit.logs import get_logger
from embedded.mesos.runtimes.base import Container, LaunchError, ProbeError

log = get_logger(__name__)
Json = dict[str, Any]

# reports (healthy, whether the task is to be killed)
OnHealth = Callable[[bool, bool], None]
OnCheck = Callable[[Json], None]

_HTTP_HEALTHY = range(200, 400)


@dataclass(frozen=True)
class CheckSettings:
    shortest_interval: float = 0.1  # seconds; a task that asks for less does not get the agent's whole attention
    most_redirects: int = 10


@dataclass
class HealthVerdict:
    """What the results so far say of a task. In the grace period, failures before the first success do not count."""

    consecutive_failures: int
    grace_period: float
    failures: int = 0
    ever_healthy: bool = False

    def result(self, healthy: bool, since_start: float) -> tuple[bool, bool] | None:
        """(healthy, kill) to be told, or None where there is nothing new. Every counted failure is told, as in Mesos."""
        if healthy:
            news = not self.ever_healthy or self.failures > 0
            self.ever_healthy, self.failures = True, 0
            return (True, False) if news else None
        if not self.ever_healthy and since_start <= self.grace_period:
            return None
        self.failures += 1
        return False, self.failures >= self.consecutive_failures


async def watch_health(check: Json, container: Container, report: OnHealth, settings: CheckSettings) -> None:
    """Probes until cancelled or until the task is to be killed."""
    verdict = HealthVerdict(check.get("consecutive_failures", 3), check.get("grace_period_seconds", 10.0))
    kind = kind_of(check)
    started = time.monotonic()
    await asyncio.sleep(check.get("delay_seconds", 15.0))
    while True:
        healthy, why = await _is_healthy(kind, check, container, settings)
        told = verdict.result(healthy, time.monotonic() - started)
        if not healthy:
            log.debug("health check failed", kind=kind, why=why, failures=verdict.failures)
        if told:
            report(*told)
            if told[1]:
                return
        await asyncio.sleep(max(settings.shortest_interval, check.get("interval_seconds", 10.0)))


async def _is_healthy(kind: str, check: Json, container: Container, settings: CheckSettings) -> tuple[bool, str]:
    timeout = check.get("timeout_seconds") or None  # 0 is no limit, as in Mesos
    try:
        if kind == "COMMAND":
            code = await container.execute(check["command"], _limit(timeout))
            return code == 0, f"exited with status {code}"
        if kind == "HTTP":
            status = await _http(check["http"], container, timeout, settings)
            return status in _HTTP_HEALTHY, f"answered {status}"
        await _tcp(check["tcp"], container, timeout)
        return True, ""
    except (TimeoutError, OSError, aiohttp.ClientError, ProbeError, LaunchError, ssl.SSLError, ValueError) as error:
        return False, str(error) or type(error).__name__


async def watch_check(check: Json, container: Container, report: OnCheck, settings: CheckSettings) -> None:
    """Tells a CheckStatusInfo whenever the result is not the one before."""
    kind = kind_of(check)
    timeout = check.get("timeout_seconds") or None
    last: Json | None = None
    await asyncio.sleep(check.get("delay_seconds", 15.0))
    while True:
        result = {"type": kind, kind.lower(): await _check_result(kind, check, container, timeout, settings)}
        if result != last:
            report(result)
            last = result
        await asyncio.sleep(max(settings.shortest_interval, check.get("interval_seconds", 10.0)))


async def _check_result(
    kind: str, check: Json, container: Container, timeout: float | None, settings: CheckSettings
) -> Json:
    """Empty where there is no result, such as after a timeout."""
    with contextlib.suppress(
        TimeoutError, OSError, aiohttp.ClientError, ProbeError, LaunchError, ssl.SSLError, ValueError
    ):
        if kind == "COMMAND":
            return {"exit_code": _wait_status(await container.execute(check["command"]["command"], _limit(timeout)))}
        if kind == "HTTP":
            return {"status_code": await _http(check["http"], container, timeout, settings)}
    if kind == "TCP":
        return {"succeeded": await _succeeds(_tcp(check["tcp"], container, timeout))}
    return {}


async def _http(check: Json, container: Container, timeout: float | None, settings: CheckSettings) -> int:
    """The status after redirects, as curl -L would find it. Certificates are not verified: it is the task's own port."""
    host, port = container.address(check["port"])
    path = check.get("path", "") or "/"
    url = f"{check.get('scheme', 'http')}://{_bracketed(_loopback(host, check))}:{port}{path if path.startswith('/') else '/' + path}"
    limit = aiohttp.ClientTimeout(total=timeout)
    async with (
        aiohttp.ClientSession(timeout=limit, connector=aiohttp.TCPConnector(ssl=False, force_close=True)) as session,
        session.get(url, max_redirects=settings.most_redirects) as response,
    ):
        return response.status


async def _tcp(check: Json, container: Container, timeout: float | None) -> None:
    host, port = container.address(check["port"])
    async with asyncio.timeout(timeout):  # wait_for would lose a cancellation that comes with the connection
        _, writer = await asyncio.open_connection(_loopback(host, check), port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _succeeds(probe: Awaitable[None]) -> bool:
    try:
        await probe
    except (TimeoutError, OSError):
        return False
    return True


def kind_of(check: Json) -> str:
    """The type, or what is there where an old framework gives none."""
    kind = check.get("type", "UNKNOWN")
    if kind in ("COMMAND", "HTTP", "TCP"):
        return str(kind)
    return "HTTP" if "http" in check else "TCP" if "tcp" in check else "COMMAND"


def _loopback(host: str, check: Json) -> str:
    return "::1" if host == "127.0.0.1" and check.get("protocol") == "IPv6" else host


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _limit(timeout: float | None) -> float:
    return timeout if timeout is not None else 365 * 86400.0


def _wait_status(code: int) -> int:
    """An exit code as Mesos tells it: 128 + the signal's number where a signal ended the command."""
    return code if code >= 0 else 128 - code
