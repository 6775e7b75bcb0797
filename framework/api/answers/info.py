"""`/v2/info`: who this is, in the shape that Marathon's clients read."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from framework.api.settings import ApiSettings
from framework.engine.view import View

Document = dict[str, Any]

# Clients choose their dialect by it: this is the Marathon whose API is spoken.
MARATHON_VERSION = "1.11.24"


def own_version() -> str:
    try:
        return version("dromos")
    except PackageNotFoundError:
        return "unknown"


def info_json(view: View, settings: ApiSettings) -> Document:
    framework = view.framework
    port = (view.leader or "").rpartition(":")[2]
    return {
        "name": framework.name,
        "version": MARATHON_VERSION,
        "buildref": f"dromos-{own_version()}",
        "frameworkId": framework.id,
        "leader": view.leader,
        "elected": view.is_leader,
        "marathon_config": {
            "master": framework.master,
            "mesos_leader_ui_url": framework.master and f"http://{framework.master}/",
            "framework_name": framework.name,
            "mesos_role": settings.mesos_role,
            "default_network_name": settings.default_network_name,
            "local_port_min": settings.local_port_min,
            "local_port_max": settings.local_port_max,
            "mesos_bridge_name": settings.mesos_bridge_name,
            "access_control_allow_origin": list(settings.cors_origins),
            "features": ["secrets", "external_volumes", "gpu_resources", "vips"],
            "checkpoint": True,
        },
        "zookeeper_config": {},
        "http_config": {"http_port": int(port) if port.isdigit() else None},
        "event_subscriber": {"type": "http_event_stream"},
    }
