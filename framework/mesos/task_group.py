"""A pod's instance and what was taken of an offer -> the LAUNCH_GROUP operation: one executor, one task for each container."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from framework.engine.actions import Launch
from framework.mesos.task_info import (
    Resolve,
    check_info,
    command_of,
    fetch_uris,
    label_environment,
    labels,
    limits,
    linux_info,
    no_secrets,
    resources,
    secret_json,
    task_labels,
    variable_name,
    variables,
)
from framework.model.app import EnvValue
from framework.model.health import PodHealthCheck
from framework.model.instance import Instance, Task
from framework.model.network import Endpoint, port_numbers
from framework.model.offer import Take, milli
from framework.model.pod import Pod, PodContainer
from framework.model.resources import Resources
from framework.model.volume import PodVolume

Json = dict[str, Any]


def launch_group(launch: Launch, framework_id: str, resolve: Resolve = no_secrets) -> Json:
    """The operation. Raises SecretUnavailableError."""
    pod, instance = launch.spec, launch.instance
    assert isinstance(pod, Pod), "apps are single tasks"
    shares = split(launch.takes, [pod.executor_resources.total(), *(c.resources for c in pod.containers)], instance)
    executor: Json = {
        "type": "DEFAULT",
        "executor_id": {"value": executor_id(instance)},
        "framework_id": {"value": framework_id},
        "resources": resources(shares[0], instance.role),
        "labels": labels(pod.labels),
    }
    container = _executor_container(pod, instance)
    if container:
        executor["container"] = container
    tasks = [
        _task(pod, instance, task, spec, resources(share, instance.role), resolve)
        for task, spec, share in zip(instance.tasks, pod.containers, shares[1:], strict=True)
    ]
    return {"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}}


def executor_id(instance: Instance) -> str:
    return f"instance-{instance.id}"


def split(takes: Sequence[Take], needs: Sequence[Resources], instance: Instance) -> list[tuple[Take, ...]]:
    """What was taken for the whole, given out to the executor (first, with the persistent volumes, which its containers mount from it) and
    the containers, each with the ports of its task."""
    left = list(takes)
    shares = []
    for position, need in enumerate(needs):
        wanted = {"cpus": milli(need.cpus), "mem": milli(need.mem), "disk": milli(need.disk), "gpus": milli(need.gpus)}
        ports = set(instance.tasks[position - 1].host_ports) if position else set()
        share = []
        for index, take in enumerate(left):
            part = {name: min(amount, getattr(take, name)) for name, amount in wanted.items()}
            mine = tuple(port for port in take.ports if port in ports)
            volumes = () if position else take.volumes
            if mine or volumes or any(part.values()):
                share.append(Take(take.pool, ports=mine, volumes=volumes, **part))
                wanted = {name: amount - part[name] for name, amount in wanted.items()}
                rest = {name: getattr(take, name) - part[name] for name in part}
                left[index] = replace(take, ports=tuple(p for p in take.ports if p not in mine), **rest)
        shares.append(tuple(share))
    return shares


def _task(
    pod: Pod, instance: Instance, task: Task, container: PodContainer, takes: list[Json], resolve: Resolve
) -> Json:
    info: Json = {
        "name": container.name,
        "task_id": {"value": task.id},
        "agent_id": {"value": instance.agent.id},
        "resources": takes,
        "labels": task_labels(container.labels, instance),
        "discovery": _discovery(pod, instance, container),
        "command": _command(pod, instance, task, container, resolve),
    }
    described = _container(pod, container, resolve)
    if described:
        info["container"] = described
    if container.lifecycle and container.lifecycle.kill_grace_period_seconds is not None:
        nanoseconds = int(container.lifecycle.kill_grace_period_seconds * 1_000_000_000)
        info["kill_policy"] = {"grace_period": {"nanoseconds": nanoseconds}}
    if container.health_check:
        info["health_check"] = _health_check(container.health_check, container, pod, instance)
    if container.check:
        numbers = _numbers(container, pod, instance)
        info["check"] = check_info(container.check, lambda _index, endpoint: numbers.get(endpoint or "", 0))
    if container.resource_limits:
        info["limits"] = limits(container.resource_limits)
    return info


# --- ports


def endpoint_ports(pod: Pod, instance: Instance) -> dict[str, list[tuple[Endpoint, int | None, int]]]:
    """By container: (endpoint, its host port or None, where the container listens). All containers share one address."""
    endpoints = [endpoint for container in pod.containers for endpoint in container.endpoints]
    host_ports = [port for task in instance.tasks for port in task.host_ports]
    pairs = iter(port_numbers(endpoints, host_ports))
    return {
        container.name: [(endpoint, *next(pairs)) for endpoint in container.endpoints] for container in pod.containers
    }


def _discovery(pod: Pod, instance: Instance, container: PodContainer) -> Json:
    found = [
        {
            "number": number if host is None else host,
            "name": endpoint.name,
            "protocol": protocol,
            "labels": labels({**endpoint.labels, "network-scope": "container" if host is None else "host"}),
        }
        for endpoint, host, number in endpoint_ports(pod, instance)[container.name]
        for protocol in endpoint.protocol
    ]
    return {"visibility": "FRAMEWORK", "name": pod.id.removeprefix("/"), "ports": {"ports": found}}


# --- command and environment


def _command(pod: Pod, instance: Instance, task: Task, container: PodContainer, resolve: Resolve) -> Json:
    command: Json = {"environment": {"variables": _environment(pod, instance, task, container, resolve)}}
    if container.exec is None:
        command["shell"] = False  # the image says what runs
    else:
        command |= command_of(container.exec.command)
    user = container.user or pod.user
    if user:
        command["user"] = user
    if container.artifacts:
        command["uris"] = fetch_uris(container.artifacts)
    return command


def _environment(pod: Pod, instance: Instance, task: Task, container: PodContainer, resolve: Resolve) -> list[Json]:
    resources_of = {"CPUS": container.resources.cpus, "MEM": container.resources.mem, "DISK": container.resources.disk}
    amounts = {name: str(float(amount)) for name, amount in resources_of.items()}
    amounts["GPUS"] = str(container.resources.gpus)
    found: dict[str, str] = {
        "MESOS_TASK_ID": task.id,
        "MESOS_EXECUTOR_ID": executor_id(instance),
        "MARATHON_APP_ID": pod.id,
        "MARATHON_APP_VERSION": pod.version,
        "MARATHON_CONTAINER_ID": container.name,
        **{
            f"MARATHON_{whose}_RESOURCE_{name}": text
            for whose in ("CONTAINER", "APP")
            for name, text in amounts.items()
        },
        "HOST": instance.agent.host,
        **label_environment({**pod.labels, **container.labels}),
    }
    if container.image:
        found["MARATHON_APP_DOCKER_IMAGE"] = container.image.id
    # Containers find each other by these, so all get all.
    for endpoints in endpoint_ports(pod, instance).values():
        for endpoint, host, number in endpoints:
            name = variable_name(endpoint.name)
            found[f"ENDPOINT_{name}"] = str(host if pod.host_networking and host is not None else number)
            if host is not None:
                found[f"EP_HOST_{name}"] = str(host)
            if endpoint.container_port is not None:
                found[f"EP_CONTAINER_{name}"] = str(number)
    given: dict[str, EnvValue] = {**pod.environment, **container.environment}
    sources = {name: secret.source for name, secret in pod.secrets.items()}
    return variables(found, given, sources, resolve)


# --- containers


def _executor_container(pod: Pod, instance: Instance) -> Json | None:
    networks = []
    mappings = [
        {"host_port": host, "container_port": number, "protocol": protocol}
        for endpoints in endpoint_ports(pod, instance).values()
        for endpoint, host, number in endpoints
        if host is not None
        for protocol in endpoint.protocol
    ]
    for network in pod.networks:
        if network.mode == "host":
            continue
        info: Json = {"port_mappings": mappings}
        name = network.name or ("mesos-bridge" if network.mode == "container/bridge" else None)
        if name:
            info["name"] = name
        if network.labels:
            info["labels"] = labels(network.labels)
        networks.append(info)
    volumes = [
        {"mode": "RW", "container_path": v.name, "source": {"type": "SANDBOX_PATH", "sandbox_path": _own_path(v)}}
        for v in pod.volumes
        if _is_ephemeral(v)
    ]
    found: Json = {}
    if networks:
        found["network_infos"] = networks
    if volumes:
        found["volumes"] = volumes
    return {"type": "MESOS", **found} if found else None


def _container(pod: Pod, container: PodContainer, resolve: Resolve) -> Json | None:
    found: Json = {}
    sources = {name: secret.source for name, secret in pod.secrets.items()}
    if container.image:
        if container.image.kind == "DOCKER":
            docker: Json = {"name": container.image.id}
            if container.image.pull_config is not None:
                docker["config"] = secret_json(container.image.pull_config.secret, sources, resolve)
            image: Json = {"type": "DOCKER", "docker": docker}
        else:
            image = {"type": "APPC", "appc": {"name": container.image.id}}
        found["mesos"] = {"image": {**image, "cached": not container.image.force_pull}}
    by_name = {volume.name: volume for volume in pod.volumes}
    volumes = []
    for mount in container.volume_mounts:
        volume = by_name.get(mount.name)
        if volume is None:
            continue
        entry: Json = {"container_path": mount.mount_path, "mode": "RO" if mount.read_only else "RW"}
        if volume.host is not None:
            entry["source"] = {"type": "HOST_PATH", "host_path": {"path": volume.host}}
        elif volume.secret is not None:
            secret = secret_json(volume.secret, sources, resolve)
            entry = {**entry, "mode": "RO", "source": {"type": "SECRET", "secret": secret}}
        else:
            path = {"type": "PARENT", "path": volume.name}
            entry["source"] = {"type": "SANDBOX_PATH", "sandbox_path": path}
        volumes.append(entry)
    if volumes:
        found["volumes"] = volumes
    if container.tty:
        found["tty_info"] = {}
    linux = linux_info(container.linux_info) if container.linux_info else {}
    if pod.legacy_shared_cgroups is not None or container.resource_limits:
        # Limits of its own need cgroups of its own.
        linux["share_cgroups"] = bool(pod.legacy_shared_cgroups)
    if linux:
        found["linux_info"] = linux
    return {"type": "MESOS", **found} if found else None


def _is_ephemeral(volume: PodVolume) -> bool:
    return volume.host is None and volume.secret is None and volume.persistent is None


def _own_path(volume: PodVolume) -> Json:
    return {"type": "SELF", "path": volume.name}


# --- health


def _numbers(container: PodContainer, pod: Pod, instance: Instance) -> dict[str, int]:
    """By endpoint, where the container listens."""
    return {
        endpoint.name: (host or number) if pod.host_networking else number
        for endpoint, host, number in endpoint_ports(pod, instance)[container.name]
    }


def _health_check(check: PodHealthCheck, container: PodContainer, pod: Pod, instance: Instance) -> Json:
    found: Json = {
        "delay_seconds": float(check.delay_seconds),
        "interval_seconds": float(check.interval_seconds),
        "timeout_seconds": float(check.timeout_seconds),
        "grace_period_seconds": float(check.grace_period_seconds),
        "consecutive_failures": check.max_consecutive_failures,
    }
    if check.exec is not None:
        command = command_of(check.exec.command)
        return found | {"type": "COMMAND", "command": command}
    numbers = _numbers(container, pod, instance)
    if check.tcp is not None:
        return found | {"type": "TCP", "tcp": {"port": numbers.get(check.tcp.endpoint or "", 0)}}
    assert check.http is not None, "a check has a kind"
    http = {
        "port": numbers.get(check.http.endpoint or "", 0),
        "path": check.http.path or "/",
        "scheme": check.http.scheme.lower(),
    }
    return found | {"type": "HTTP", "http": http}
