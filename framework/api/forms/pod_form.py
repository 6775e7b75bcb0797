"""A pod as clients write it -> a Pod. Pods have one spelling only, so there are types, defaults and rules."""

from typing import Any

from framework.api.errors import InvalidObjectError, Violation
from framework.api.forms import pod_rules, shapes
from framework.api.forms.app_form import Defaults, default_upgrade
from framework.api.forms.type_check import check_types
from framework.model import path_id
from framework.model.app import SINGLE_INSTANCE_LABEL
from framework.model.codec import from_json
from framework.model.pod import Pod

Document = dict[str, Any]


def new_pod(document: object, defaults: Defaults, *, base: str = path_id.ROOT) -> Pod:
    """Raises InvalidJsonError or InvalidObjectError with every violation."""
    return made(*completed(check_types(shapes.Pod, document), defaults, base=base))


def completed(given: Document, defaults: Defaults, *, base: str = path_id.ROOT) -> tuple[Document, list[Violation]]:
    """The canonical form of a document whose types are right, and what is wrong with it."""
    pod = dict(given)
    pod.pop("version", None)  # the engine's to say
    pod["id"] = path_id.canonical(pod["id"], base)
    pod["networks"] = [
        {**network, "mode": network.get("mode", "container")}
        | ({"name": defaults.network_name} if _wants_name(network) and defaults.network_name else {})
        for network in pod.get("networks") or [{"mode": "host"}]
    ]
    pod["containers"] = [{**container, "resources": _resources(container)} for container in pod["containers"]]
    pod["scheduling"] = _scheduling(pod, defaults)
    pod["role"] = pod.get("role") or defaults.role_of(pod["id"])
    return pod, pod_rules.violations(pod, defaults.roles_for(pod["id"]))


def made(document: Document, violations: list[Violation]) -> Pod:
    if violations:
        raise InvalidObjectError(violations)
    return from_json(Pod, document)


def _wants_name(network: Document) -> bool:
    return network.get("mode", "container") == "container" and not network.get("name")


def _resources(container: Document) -> Document:
    return {"cpus": 1, "mem": 128, "disk": 0, "gpus": 0, **container.get("resources", {})}


def _scheduling(pod: Document, defaults: Defaults) -> Document:
    resident = any("persistent" in volume for volume in pod.get("volumes", ()))
    single = pod.get("labels", {}).get(SINGLE_INSTANCE_LABEL) == "true"
    scheduling = dict(pod.get("scheduling", {}))
    scheduling["upgrade"] = {
        **default_upgrade(resident=resident, external=False, single=single),
        **scheduling.get("upgrade", {}),
    }
    scheduling.setdefault("unreachableStrategy", "disabled" if resident else {})
    selection = scheduling.get("killSelection", "YOUNGEST_FIRST")
    scheduling["killSelection"] = {"YoungestFirst": "YOUNGEST_FIRST", "OldestFirst": "OLDEST_FIRST"}.get(
        selection, selection
    )
    placement = dict(scheduling.get("placement", {}))
    if "acceptedResourceRoles" not in placement and defaults.accepted_resource_roles:
        placement["acceptedResourceRoles"] = list(defaults.accepted_resource_roles)
    scheduling["placement"] = placement
    return scheduling
