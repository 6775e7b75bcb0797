"""What a Marathon answers about its apps, pods and groups -> definitions that can be sent to another one. Pure, on JSON documents.

A Marathon before 1.5 answers in two spellings at once (`uris` and `fetch`, `ports` and `portDefinitions`, …), which no Marathon takes
back. The older of the two is left out; what is said in the old spelling alone is left for the API to translate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

# What the server knows of an app or a pod beside its definition.
_STATE = frozenset(
    {
        *(
            "version",
            "versionInfo",
            "tasks",
            "tasksStaged",
            "tasksRunning",
            "tasksHealthy",
            "tasksUnhealthy",
            "tasksStats",
        ),
        *("taskStats", "deployments", "lastTaskFailure", "readinessCheckResults"),
    }
)


@dataclass(frozen=True)
class GroupSettings:
    """A group without what is in it."""

    id: str
    dependencies: tuple[str, ...] = ()
    enforce_role: bool | None = None


def app_definition(answer: Json) -> Json:
    app = {name: value for name, value in answer.items() if name not in _STATE and value is not None}
    if app.get("fetch") is not None:
        app.pop("uris", None)
    if "constraints" in app:
        app["constraints"] = [_constraint(constraint) for constraint in app["constraints"]]
    if app.get("ipAddress"):
        app["ipAddress"] = _ip_address(app["ipAddress"])
    if not app.get("storeUrls"):
        app.pop("storeUrls", None)
    container = dict(app.get("container") or {})
    docker = {name: value for name, value in (container.get("docker") or {}).items() if value is not None}
    if container.get("portMappings") is not None:
        docker.pop("portMappings", None)
    if app.get("networks"):
        docker.pop("network", None)
        app.pop("ipAddress", None)
    if has_own_network(app):
        app.pop("ports", None)
        app.pop("portDefinitions", None)
    else:
        docker.pop("portMappings", None)
        if "portDefinitions" in app:
            app.pop("ports", None)
    if container:
        if docker:
            container["docker"] = docker
        app["container"] = {name: value for name, value in container.items() if value is not None}
    return app


def _constraint(constraint: list[str]) -> list[str]:
    """A Marathon before 1.0 keeps a value that its operator has no use for, an empty one above all."""
    field, operator, *values = constraint
    used = [value for value in values if value] if operator != "UNIQUE" else []
    return [field, operator, *used]


def _ip_address(answer: Json) -> Json:
    """Without ports to be discovered there is nothing to say of them; a Docker container may not."""
    if (answer.get("discovery") or {}).get("ports"):
        return answer
    return {name: value for name, value in answer.items() if name != "discovery"}


def has_own_network(app: Json) -> bool:
    """Whether its containers have a network of their own: ports are then mapped, not the host's."""
    if app.get("networks"):
        return any(network.get("mode") != "host" for network in app["networks"])
    docker = (app.get("container") or {}).get("docker") or {}
    return docker.get("network") in ("BRIDGE", "USER") or app.get("ipAddress") is not None


def pod_definition(answer: Json) -> Json:
    return {name: value for name, value in answer.items() if name not in _STATE and value is not None}


def group_settings(root: Json) -> Iterator[GroupSettings]:
    """Of all groups in the answer to GET /v2/groups, parents first, the root itself aside."""
    for group in root.get("groups") or []:
        yield GroupSettings(str(group["id"]), tuple(sorted(group.get("dependencies") or ())), group.get("enforceRole"))
        yield from group_settings(group)


def suspended(definition: Json) -> Json:
    """The same with no instances."""
    if "containers" in definition:
        return {**definition, "scaling": {**(definition.get("scaling") or {"kind": "fixed"}), "instances": 0}}
    return {**definition, "instances": 0}


def in_order(apps: list[Json]) -> list[Json]:
    """By id, those that others depend on first."""
    by_id = {app["id"]: app for app in sorted(apps, key=lambda app: str(app["id"]))}
    done: dict[str, Json] = {}

    def put(app: Json, above: frozenset[str]) -> None:
        for other in app.get("dependencies") or ():
            if other in by_id and other not in done and other not in above:
                put(by_id[other], above | {other})
        done.setdefault(app["id"], app)

    for app in by_id.values():
        put(app, frozenset({app["id"]}))
    return list(done.values())


def portions(apps: list[Json], size: int, weigh: Any) -> Iterator[list[Json]]:
    """Neighbours together, as long as `weigh` of each adds up to no more than `size`; one that is larger goes alone."""
    portion: list[Json] = []
    weight = 0
    for app in apps:
        own = weigh(app)
        if portion and weight + own > size:
            yield portion
            portion, weight = [], 0
        portion.append(app)
        weight += own
    if portion:
        yield portion
