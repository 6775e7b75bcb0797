"""Every page of the UI by name, for what is tried on all of them: `name -> (path, query)`."""

from tests.support.platform import Platform
from tests.support.waiting import eventually

Address = tuple[tuple[str, ...], dict[str, str]]

_FIXED: dict[str, Address] = {
    "overview": ((), {}),
    "apps": (("apps",), {}),
    "apps-flat": (("apps",), {"view": "flat"}),
    "apps-empty": (("apps", "nothing"), {}),
    "apps-no-match": (("apps",), {"text": "zzz"}),
    "app": (("app", "shop", "web"), {}),
    "configuration": (("app", "shop", "web"), {"tab": "configuration"}),
    "autoscaling": (("app", "shop", "web"), {"tab": "autoscaling"}),
    "not-autoscaled": (("app", "shop", "worker"), {"tab": "autoscaling"}),
    "debug": (("app", "stuck"), {"tab": "debug"}),
    "failure": (("app", "broken"), {"tab": "debug"}),
    "volumes": (("app", "shop", "web"), {"tab": "volumes"}),
    "app-events": (("app", "shop", "web"), {"tab": "events"}),
    "pods": (("pods",), {}),
    "events": (("events",), {"text": "deployment"}),
    "deployments": (("deployments",), {}),
    "instances": (("instances",), {}),
    "agents": (("agents",), {}),
    "services": (("services",), {}),
    "missing": (("nowhere",), {}),
}


def pages(dromos: Platform) -> dict[str, Address]:
    """With those of what runs there now: an instance, an agent, a service, a pod if there is one."""
    task = dromos.tasks("/shop/web")[0]

    def service_of_it() -> str:
        return next(str(one["name"]) for one in dromos.get("/v2/services")["services"] if one["app"] == "/shop/web")

    found = {
        **_FIXED,
        "log": (("instance", task["id"]), {"app": "/shop/web"}),
        "files": (("instance", task["id"]), {"app": "/shop/web", "tab": "files"}),
        "agent": (("agents", task["slaveId"]), {}),
        "service": (("services", eventually(service_of_it, 60)), {}),
    }
    for pod in dromos.get("/v2/pods"):
        path = ("pod", *pod["id"].strip("/").split("/"))
        for tab in ("instances", "configuration", "debug", "volumes", "events"):
            found[f"pod-{tab}"] = (path, {"tab": tab})
    return found
