"""What a pod has to fulfil."""

from collections.abc import Collection

from framework.api.errors import Violation
from framework.api.forms import rules
from framework.api.forms.app_rules import command_rules, timing_rules
from framework.api.forms.rules import MOST_INSTANCES, MOST_PORT, Document, Found, every
from framework.api.forms.volume_rules import persistent_rules
from framework.model.app import SINGLE_INSTANCE_LABEL


def violations(pod: Document, allowed_roles: Collection[str]) -> list[Violation]:
    """All that is wrong with `pod`, a document whose types are right and whose defaults are filled in."""
    found = Found()
    rules.id_rules(found, "/id", pod["id"])
    found.text("/user", pod.get("user"))
    secrets = pod.get("secrets", {})
    rules.secret_rules(found, "/secrets", secrets)
    rules.env_rules(found, "/environment", pod.get("environment", {}), secrets)
    rules.label_rules(found, "/labels", pod.get("labels", {}))
    rules.network_rules(found, "/networks", pod["networks"])
    _volumes(found, pod)
    found.not_empty("/containers", pod["containers"])
    for index, container in enumerate(pod["containers"]):
        _container(found, f"/containers({index})", container, pod)
    found.unique("/containers", [c["name"] for c in pod["containers"]], "container names are unique")
    endpoints = [endpoint for container in pod["containers"] for endpoint in container.get("endpoints", ())]
    found.unique("/", [e["name"] for e in endpoints], "Endpoint names are unique")
    found.unique("/", [e["containerPort"] for e in endpoints if e.get("containerPort")], "Container ports are unique")
    found.unique("/", [e["hostPort"] for e in endpoints if e.get("hostPort")], "Host ports are unique")
    _scheduling(found, pod, allowed_roles)
    for name, value in pod.get("executorResources", {}).items():
        found.at_least(f"/executorResources/{name}", value, 0)
    return found.violations


def _volumes(found: Found, pod: Document) -> None:
    mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", ())}
    volumes = pod.get("volumes", [])
    for index, volume in enumerate(volumes):
        at = f"/volumes({index})"
        found.name(f"{at}/name", volume["name"])
        found.not_empty(f"{at}/host", volume.get("host"))
        if volume["name"] not in mounted:
            found.add(at, "volume must be referenced by at least one container")
        if "persistent" in volume:
            persistent_rules(found, f"{at}/persistent", volume["persistent"])
        if volume.get("secret") is not None and volume["secret"] not in pod.get("secrets", {}):
            found.add(at, "volume.secret must refer to an existing secret")
    found.unique("/volumes", [volume["name"] for volume in volumes], "volume names are unique")


def _container(found: Found, at: str, container: Document, pod: Document) -> None:
    found.name(f"{at}/name", container["name"])
    for name, value in container["resources"].items():
        found.at_least(f"{at}/resources/{name}", value, 0)
    rules.limits_rules(found, f"{at}/resourceLimits", container.get("resourceLimits"), container["resources"])
    rules.env_rules(found, f"{at}/environment", container.get("environment", {}), pod.get("secrets", {}))
    found.text(f"{at}/user", container.get("user"))
    if container.get("exec"):
        command_rules(found, f"{at}/exec/command", container["exec"]["command"])
        if container["exec"].get("overrideEntrypoint") is False and "shell" in container["exec"]["command"]:
            found.add(f"{at}/exec/overrideEntrypoint", "must be true when command.shell is set")
    elif not container.get("image"):
        found.add(at, "must have an exec, an image, or both")
    if container.get("image"):
        found.text(f"{at}/image/id", container["image"]["id"])
        pull = container["image"].get("pullConfig")
        if pull and pull["secret"] not in pod.get("secrets", {}):
            found.add(f"{at}/image/pullConfig", "pullConfig.secret must refer to an existing secret")
    for index, endpoint in enumerate(container.get("endpoints", ())):
        _endpoint(found, f"{at}/endpoints({index})", endpoint, pod["networks"])
    names = {endpoint["name"] for endpoint in container.get("endpoints", ())}
    for kind in ("healthCheck", "check"):
        if container.get(kind) is not None:
            _check(found, f"{at}/{kind}", container[kind], names, strict=kind == "healthCheck")
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for index, mount in enumerate(container.get("volumeMounts", ())):
        found.text(f"{at}/volumeMounts({index})/mountPath", mount["mountPath"])
        if mount["name"] not in volumes:
            found.add(f"{at}/volumeMounts({index})/name", "Referenced Volume in VolumeMount should exist")
    every(f"{at}/artifacts", container.get("artifacts"), rules.fetch_rules, found)
    grace = container.get("lifecycle", {}).get("killGracePeriodSeconds")
    found.at_least(f"{at}/lifecycle/killGracePeriodSeconds", grace, 0)


def _endpoint(found: Found, at: str, endpoint: Document, networks: list[Document]) -> None:
    modes = {network["mode"] for network in networks}
    found.name(f"{at}/name", endpoint["name"])
    host_port, container_port = endpoint.get("hostPort"), endpoint.get("containerPort")
    found.between(f"{at}/containerPort", container_port, 0, MOST_PORT)
    found.between(f"{at}/hostPort", host_port, 0, MOST_PORT)
    if "host" in modes and host_port is None:
        found.add(f"{at}/hostPort", "is required when using host-mode networking")
    if "host" in modes and container_port is not None:
        found.add(f"{at}/containerPort", "is not allowed when using host-mode networking")
    if "container" in modes and container_port is None:
        found.add(f"{at}/containerPort", "is required when using container-mode networking")
    found.unique(
        f"{at}/protocol", endpoint.get("protocol", ()), "Duplicate protocols within the same endpoint are not allowed"
    )
    unknown = set(endpoint.get("protocol", ())) - {"tcp", "udp"}
    if unknown:
        found.add(f"{at}/protocol", "must be one of the following: tcp, udp")
    containers = [network for network in networks if network["mode"] == "container"]
    if len(containers) > 1 and host_port is not None and len(endpoint.get("networkNames", ())) != 1:
        found.add(
            at,
            "networkNames must be a single item list when hostPort is specified and more than 1 container network is defined",
        )


def _check(found: Found, at: str, check: Document, endpoints: Collection[str], *, strict: bool) -> None:
    if sum(check.get(kind) is not None for kind in ("http", "tcp", "exec")) != 1:
        found.add(at, "Only one of http, tcp, or command may be specified")
    for kind in ("http", "tcp"):
        endpoint = (check.get(kind) or {}).get("endpoint")
        if check.get(kind) is not None and endpoint not in endpoints:
            found.add(f"{at}/{kind}/endpoint", "contained in the container endpoints")
    if check.get("exec"):
        command_rules(found, f"{at}/exec/command", check["exec"]["command"])
    for name in ("gracePeriodSeconds", "maxConsecutiveFailures", "delaySeconds"):
        found.at_least(f"{at}/{name}", check.get(name), 0)
    timing_rules(found, at, check, interval=60, timeout=20, strict=strict)


def _scheduling(found: Found, pod: Document, allowed_roles: Collection[str]) -> None:
    scheduling, scaling = pod["scheduling"], pod.get("scaling", {})
    resident = any("persistent" in volume for volume in pod.get("volumes", ()))
    single = pod.get("labels", {}).get(SINGLE_INSTANCE_LABEL) == "true"
    found.between("/scaling/instances", scaling.get("instances", 1), 0, MOST_INSTANCES)
    if single and scaling.get("instances", 1) > 1:
        found.add("/", "Single instance app may only have one instance")
    rules.upgrade_rules(found, "/scheduling/upgrade", scheduling["upgrade"], single=single, resident=resident)
    rules.rollout_rules(found, "/labels", pod.get("labels", {}), scheduling["upgrade"], resident=resident)
    rules.unreachable_rules(
        found, "/scheduling/unreachableStrategy", scheduling["unreachableStrategy"], resident=resident
    )
    backoff = scheduling.get("backoff", {})
    rules.backoff_rules(
        found,
        ("/scheduling/backoff/backoff", "/scheduling/backoff/backoffFactor", "/scheduling/backoff/maxLaunchDelay"),
        (backoff.get("backoff"), backoff.get("backoffFactor"), backoff.get("maxLaunchDelay")),
    )
    placement = scheduling["placement"]
    for index, constraint in enumerate(placement.get("constraints", ())):
        parts = [constraint["fieldName"], constraint["operator"]]
        rules.constraint_rules(
            found,
            f"/scheduling/placement/constraints({index})",
            parts + ([constraint["value"]] if constraint.get("value") is not None else []),
        )
    rules.role_rules(
        found,
        placement.get("acceptedResourceRoles"),
        pod["role"],
        allowed_roles,
        accepted_path="/scheduling/placement/acceptedResourceRoles",
        resident=resident,
    )
