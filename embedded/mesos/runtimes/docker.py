"""Tasks as Docker containers. Docker itself is their supervisor; labels tell whose they are, so that they are found after a restart."""

import asyncio
import base64
import contextlib
import functools
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import docker
import docker.auth
import docker.errors
import docker.utils
import orjson
import requests

from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger
from embedded.mesos.cgroups import Cgroups
from embedded.mesos.runtimes.base import (
    Container,
    Ended,
    Launch,
    LaunchError,
    ProbeError,
    Session,
    Terminal,
    User,
    describe,
    variables,
)
from embedded.mesos.runtimes.docker_logs import LogCopier
from embedded.mesos.runtimes.docker_options import LABEL, Options, container_name, options
from embedded.mesos.runtimes.docker_session import DockerSession, end_exec
from embedded.mesos.runtimes.docker_stream import DockerStreamError, DockerStreams

log = get_logger(__name__)
Json = dict[str, Any]
T = TypeVar("T")

LAST_OUTPUT_TIMEOUT = 30.0  # after a container's end its output is at hand; Docker is not waited for any longer
_UNREACHABLE = (requests.exceptions.RequestException, docker.errors.DockerException)


@dataclass(frozen=True)
class DockerSettings:
    url: str
    calls: int = 8  # at the same time
    pulls: int = 3
    stop_timeout: float = 5.0  # seconds between SIGTERM and SIGKILL
    hard_cpu_limit: bool = False
    log_bytes: int = 10 * 1024 * 1024
    log_files: int = 2
    call_timeout: float = 120.0


class DockerRuntime:
    """Connects when the first task comes, so that an agent starts without Docker. `cgroups` are only read, for statistics."""

    def __init__(self, settings: DockerSettings, cgroups: Cgroups | None = None) -> None:
        self.settings = settings
        self.cgroups = cgroups
        self.default_grace = settings.stop_timeout
        self.streams = DockerStreams(settings.url)
        self._client: docker.APIClient | None = None
        self._connecting = threading.Lock()
        self._calls = ThreadPoolExecutor(settings.calls, thread_name_prefix="docker")
        self._pulls = ThreadPoolExecutor(settings.pulls, thread_name_prefix="docker-pull")

    def fetches_as(self, launch: Launch) -> User | None:
        """A container may mount what it likes of this machine: its task can read no more by having it fetched."""
        return None

    async def prepare(self, launch: Launch) -> None:
        made = self._options(launch)
        image, force = made.create["image"], launch.task["container"]["docker"].get("force_pull_image", False)
        if force or not await self._has_image(image):
            await self._pull(image, launch)

    async def launch(self, launch: Launch) -> Container:
        made = self._options(launch)
        try:
            container_id = await self.call(self._create, made)
            try:
                await self.call(lambda api: api.start(container_id))
            except LaunchError:
                await self._remove(container_id)
                raise
            found = await self.call(lambda api: api.inspect_container(container_id))
        except OSError as error:
            raise LaunchError(f"Failed to launch container: {error}") from None
        return DockerContainer(self, launch, found)

    async def recover(self, launch: Launch) -> Container | None:
        found = await self.inspect(container_name(launch.container_id))
        if found is None or found["State"]["Status"] == "created":  # it was never started
            if found:
                await self._remove(found["Id"])
            return None
        return DockerContainer(self, launch, found)

    async def remove_leftovers(self, agent_id: str, is_known: Callable[[str], bool]) -> None:
        if self._client is None and not await self._answers():
            return
        everything = await self.call(
            lambda api: api.containers(all=True, filters={"label": [f"{LABEL}.agent={agent_id}"]})
        )
        for found in everything:
            if not is_known(found["Labels"].get(f"{LABEL}.container", "")):
                await self._remove(found["Id"])

    async def close(self) -> None:
        await self.streams.close()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._pulls.shutdown(wait=False, cancel_futures=True)
        if self._client:
            self._client.close()

    # --- calls --------------------------------------------------------------------------------------------------------------------

    async def call(self, action: Callable[..., T], *arguments: Any, pool: ThreadPoolExecutor | None = None) -> T:
        """`action(api, *arguments)` in a thread. Raises LaunchError with Docker's own words."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool or self._calls, functools.partial(self._guarded, action, *arguments))

    def _guarded(self, action: Callable[..., T], *arguments: Any) -> T:
        try:
            return action(self._connected(), *arguments)
        except docker.errors.APIError as error:
            raise DockerCallError(str(error.explanation or error), error.status_code or 500) from None
        except _UNREACHABLE as error:
            raise LaunchError(
                f"Failed to launch container: Docker does not answer at {self.settings.url}: {_short(error)}"
            ) from None

    def _connected(self) -> docker.APIClient:
        with self._connecting:  # the calls of many threads
            if self._client is None:
                settings = self.settings
                self._client = docker.APIClient(
                    settings.url, version="auto", timeout=settings.call_timeout, num_pools=settings.calls
                )
            return self._client

    async def inspect(self, container: str) -> Json | None:
        try:
            found: Json = await self.call(lambda api: api.inspect_container(container))
        except DockerCallError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def _answers(self) -> bool:
        with contextlib.suppress(LaunchError):
            return bool(await self.call(lambda api: api.ping()))
        return False

    async def _remove(self, container_id: str) -> None:
        """With its anonymous volumes. One that is gone, or on its way, is as good."""
        try:
            await self.call(lambda api: api.remove_container(container_id, v=True, force=True))
        except DockerCallError as error:
            if error.status not in (404, 409):
                raise

    # --- launching ----------------------------------------------------------------------------------------------------------------

    def _options(self, launch: Launch) -> Options:
        return options(launch, log_bytes=self.settings.log_bytes, hard_cpu=self.settings.hard_cpu_limit)

    @staticmethod
    def _create(api: docker.APIClient, made: Options) -> str:
        try:
            endpoint = {made.network: api.create_endpoint_config(**made.endpoint)} if made.endpoint else None
            created = api.create_container(
                **made.create,
                name=made.name,
                host_config=api.create_host_config(**made.host),
                networking_config=api.create_networking_config(endpoint) if endpoint else None,
            )
        except (TypeError, ValueError, docker.errors.InvalidVersion, docker.errors.InvalidArgument) as error:
            raise LaunchError(f"Failed to launch container: {error}") from None
        return str(created["Id"])

    async def _has_image(self, image: str) -> bool:
        try:
            await self.call(lambda api: api.inspect_image(image))
        except DockerCallError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _pull(self, image: str, launch: Launch) -> None:
        repository, tag = docker.utils.parse_repository_tag(image)
        credentials = await asyncio.to_thread(_credentials, launch.sandbox, repository)
        extra = {"auth_config": credentials} if credentials else {}
        try:
            answer = await self.call(lambda api: api.pull(repository, tag or "latest", **extra), pool=self._pulls)
        except DockerCallError as error:
            raise LaunchError(f"Failed to launch container: Failed to pull image '{image}': {error.words}") from None
        if why := pull_error(answer):
            raise LaunchError(f"Failed to launch container: Failed to pull image '{image}': {why}")


class DockerCallError(LaunchError):
    """Docker refused. `words` are its own, `status` is HTTP's."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(f"Failed to launch container: {words}")
        self.words, self.status = words, status


class DockerContainer:
    """A container that was started, running or ended."""

    def __init__(self, runtime: DockerRuntime, launch: Launch, inspected: Json) -> None:
        self.launch = launch
        self._runtime = runtime
        self._inspected = inspected
        self._id = str(inspected["Id"])
        self._kill_by: float | None = None  # of the loop's clock
        self._killer: asyncio.Task[None] | None = None
        settings = runtime.settings
        self._logs = LogCopier(runtime.streams, self._id, launch, settings.log_bytes, settings.log_files)
        self._copying = asyncio.create_task(self._logs.run())

    @property
    def status(self) -> Json:
        networks = self._inspected["NetworkSettings"].get("Networks") or {}
        infos = []
        for name, network in networks.items():
            addresses = [
                {"protocol": protocol, "ip_address": network[key]}
                for protocol, key in (("IPv4", "IPAddress"), ("IPv6", "GlobalIPv6Address"))
                if network.get(key)
            ]
            if addresses:
                infos.append({**({} if name == "bridge" else {"name": name}), "ip_addresses": addresses})
        if not infos:
            own = self.launch.environment.get("MESOS_CONTAINER_IP", "127.0.0.1")
            infos = [{"ip_addresses": [{"protocol": "IPv4", "ip_address": own}]}]
        return {"network_infos": infos}

    @property
    def data(self) -> str | None:
        return base64.b64encode(orjson.dumps([self._inspected])).decode()

    async def wait(self) -> Ended:
        state = await self._wait_for_end()
        await asyncio.wait([self._copying], timeout=LAST_OUTPUT_TIMEOUT)
        if self._killer:
            self._killer.cancel()
        return self._ended(state)

    async def _wait_for_end(self) -> Json | None:
        """The State of the ended container; None if somebody has removed it. A Docker that does not answer is waited for."""
        waits = Backoff(most=5.0)
        while True:
            with contextlib.suppress(aiohttp.ClientError, DockerStreamError, OSError, ValueError):
                await self._runtime.streams.wait(self._id)
            try:
                found = await self._runtime.inspect(self._id)
            except LaunchError as error:
                log.warning("a container cannot be watched", task=self.launch.task_id, error=str(error))
            else:
                if found is None:
                    return None
                if not found["State"]["Running"]:
                    state: Json = found["State"]
                    return state
            await asyncio.sleep(waits.next())

    def _ended(self, state: Json | None) -> Ended:
        if state is None:
            return Ended(False, "Container was removed", "REASON_EXECUTOR_TERMINATED")
        code = int(state["ExitCode"])
        if state.get("OOMKilled") and code == 128 + signal.SIGKILL and self._kill_by is None:
            limit = self._inspected["HostConfig"].get("Memory", 0)
            resource = {"name": "mem", "type": "SCALAR", "scalar": {"value": limit / 1024**2}}
            message = f"Memory limit exceeded: Requested: {limit // 1024**2}MB Maximum Used: {limit // 1024**2}MB"
            return Ended(False, message, "REASON_CONTAINER_LIMITATION_MEMORY", {"resources": [resource]})
        return describe("Container", code << 8)

    async def kill(self, grace: float) -> None:
        now = asyncio.get_running_loop().time()
        first = self._kill_by is None
        self._kill_by = now + grace if self._kill_by is None else min(self._kill_by, now + grace)
        if self._killer:
            self._killer.cancel()
        self._killer = asyncio.create_task(self._kill_in_order(first and grace > 0))

    async def _kill_in_order(self, with_sigterm: bool) -> None:
        assert self._kill_by is not None
        loop = asyncio.get_running_loop()
        if with_sigterm:
            await self._signal(self._inspected["Config"].get("StopSignal") or "SIGTERM")
        await asyncio.sleep(max(0.0, self._kill_by - loop.time()))
        waits = Backoff(most=5.0)
        while not await self._signal("SIGKILL"):  # noqa: ASYNC110  what is waited for is Docker
            await asyncio.sleep(waits.next())

    async def _signal(self, name: str) -> bool:
        """False if Docker does not answer. A container that has ended cannot be signalled, and needs not be."""
        try:
            await self._runtime.call(lambda api: api.kill(self._id, name))
        except DockerCallError as error:
            return error.status in (404, 409)
        except LaunchError:
            return False
        return True

    async def destroy(self) -> None:
        if self._killer:
            self._killer.cancel()
        try:
            await self._runtime._remove(self._id)
        finally:
            self._copying.cancel()

    async def execute(self, command: Json, timeout: float) -> int:
        value, arguments = command.get("value"), command.get("arguments", [])
        words = ["/bin/sh", "-c", value] if command.get("shell", True) else [*([value] if value else []), *arguments]
        environment = variables(command.get("environment"))
        try:
            created = await self._runtime.call(lambda api: api.exec_create(self._id, words, environment=environment))
            exec_id = str(created["Id"])
            try:
                async with asyncio.timeout(timeout):
                    await self._runtime.streams.run_exec(exec_id)
            except TimeoutError:
                await end_exec(self._runtime, exec_id)
                raise
            found = await self._runtime.call(lambda api: api.exec_inspect(exec_id))
        except (LaunchError, DockerStreamError, aiohttp.ClientError) as error:
            raise ProbeError(str(error)) from None
        return int(found["ExitCode"])

    async def session(self, command: Json, terminal: Terminal | None) -> Session:
        value, arguments = command.get("value", ""), command.get("arguments", [])
        words = ["/bin/sh", "-c", value] if command.get("shell", True) else [value, *arguments[1:]]
        environment = variables(command.get("environment"))
        return await DockerSession.begin(self._runtime, self._id, words, environment, terminal)

    def address(self, port: int) -> tuple[str, int]:
        bindings = self._inspected["HostConfig"].get("PortBindings") or {}
        inside = {int(key.partition("/")[0]) for key in bindings}
        outside = {binding.get("HostPort") for several in bindings.values() for binding in several or []}
        if port not in inside and str(port) in outside:
            return "127.0.0.1", port
        for info in self.status["network_infos"]:
            for address in info["ip_addresses"]:
                if self._inspected["HostConfig"].get("NetworkMode") != "host":
                    return address["ip_address"], port
        return "127.0.0.1", port

    def statistics(self) -> Json:
        pid = self._inspected["State"]["Pid"]
        return self._runtime.cgroups.of_process(pid).statistics() if self._runtime.cgroups and pid else {}

    def abandon(self) -> None:
        self._copying.cancel()
        if self._killer:
            self._killer.cancel()


def pull_error(answer: str) -> str | None:
    """What went wrong, in the JSON lines that a pull answers."""
    for line in answer.splitlines():
        with contextlib.suppress(orjson.JSONDecodeError, AttributeError):
            if why := orjson.loads(line).get("error"):
                return str(why)
    return None


def _credentials(sandbox: Path, repository: str) -> Json | None:
    """From a Docker configuration among the task's fetched files, as Mesos takes them; None leaves it to the agent's own."""
    for name in (".docker/config.json", ".dockercfg"):
        if (sandbox / name).is_file():
            registry, _ = docker.auth.resolve_repository_name(repository)
            found: Json | None = docker.auth.load_config(str(sandbox / name)).resolve_authconfig(registry)
            return found
    return None


def _short(error: Exception) -> str:
    text = str(error)
    for known in ("No such file or directory", "Connection refused", "Permission denied", "timed out"):
        if known in text:
            return known
    return text[:200]
