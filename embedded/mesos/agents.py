"""Makes the agents of this machine."""

import functools
import os
from pathlib import Path
from typing import Any

from daemonkit.logs import get_logger
from embedded.mesos.agent import Address, Agent
from embedded.mesos.agent_settings import AgentSettings
from embedded.mesos.cgroups import Cgroups, detect
from embedded.mesos.fetcher import Fetcher, FetcherSettings
from embedded.mesos.runtimes.base import Runtime
from embedded.mesos.runtimes.docker import DockerRuntime, DockerSettings
from embedded.mesos.runtimes.dockerd import docker_url
from embedded.mesos.runtimes.process import ProcessRuntime, ProcessSettings

log = get_logger(__name__)
Json = dict[str, Any]


def make_agent(name: str, info: Json, host: str, directory: Path, settings: AgentSettings) -> Agent:
    bounds = FetcherSettings(settings.fetch_timeout, settings.fetch_bytes, settings.fetch_cache_bytes)
    address = Address(name, host, info["port"])
    return Agent(address, info, directory, make_runtimes(settings), Fetcher(directory / "fetch", bounds), settings)


def agent_directories(work_dir: Path) -> list[Path]:
    """Of the agents that ever ran there."""
    return sorted(path for path in work_dir.glob("agent-*/") if path.name.removeprefix("agent-").isdigit())


def make_runtimes(settings: AgentSettings) -> dict[str, Runtime]:
    """By the type of ContainerInfo."""
    cgroups = usable_cgroups(settings.cgroups_root) if settings.cgroups else None
    process = ProcessRuntime(
        cgroups,
        ProcessSettings(
            log_bytes=settings.log_bytes,
            log_files=settings.log_files,
            hard_cpu_limit=settings.cgroups_enable_cfs,
            stop_timeout=settings.command_stop_timeout,
        ),
    )
    containers = DockerRuntime(
        DockerSettings(
            url=docker_url(settings.docker_url),
            calls=settings.docker_calls,
            stop_timeout=settings.docker_stop_timeout,
            hard_cpu_limit=settings.cgroups_enable_cfs,
            log_bytes=settings.log_bytes,
            log_files=settings.log_files,
        ),
        usable_cgroups(settings.cgroups_root),
    )
    return {"MESOS": process, "DOCKER": containers}


@functools.cache
def usable_cgroups(root: str) -> Cgroups | None:
    """Detected once in a process; where there are none, that is said once."""
    cgroups, why = detect(root)
    if cgroups is None:
        log.warning("tasks run without limits on memory and CPU", why=why, root=os.geteuid() == 0)
    return cgroups


def split_ports(resources: list[Json], count: int) -> list[list[Json]]:
    """The same resources `count` times, but each with its own part of the ports, in order and as equal as they go."""
    if count <= 1:
        return [resources] * count
    return [
        [_part(item, number, count) if item["name"] == "ports" else item for item in resources]
        for number in range(count)
    ]


def _part(item: Json, number: int, count: int) -> Json:
    ranges = [(span["begin"], span["end"]) for span in item.get("ranges", {}).get("range", [])]
    total = sum(end - begin + 1 for begin, end in ranges)
    first, after = number * total // count, (number + 1) * total // count
    part, seen = [], 0
    for begin, end in ranges:
        size = end - begin + 1
        low, high = max(first - seen, 0), min(after - seen, size)
        if low < high:
            part.append({"begin": begin + low, "end": begin + high - 1})
        seen += size
    return {**item, "ranges": {"range": part}}
