"""`/v2/info`: who this is, in the shape that Marathon's clients read."""

import re
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
    """`settings` may be the API's alone; what the daemon adds to them is shown where it is there."""
    framework = view.framework
    port = (view.leader or "").rpartition(":")[2]
    given = settings.model_dump()
    return {
        "name": framework.name,
        "version": MARATHON_VERSION,
        "buildref": f"dromos-{own_version()}",
        "frameworkId": framework.id,
        "leader": view.leader,
        "elected": view.is_leader,
        "marathon_config": {
            **{name: given[name] for name in _AS_THEY_ARE if name in given},
            **{name: _milliseconds(given[setting]) for name, setting in _IN_MILLISECONDS.items() if setting in given},
            "hostname": given.get("hostname") or given.get("http_address"),
            "ha": given.get("zk") is not None,
            "master": framework.master,
            "mesos_leader_ui_url": framework.master and f"http://{framework.master}/",
            "framework_name": framework.name,
            "access_control_allow_origin": list(settings.cors_origins),
            "executor": "//cmd",
            "env_vars_prefix": None,
            "features": ["secrets", "external_volumes", "gpu_resources", "vips", "maintenance_mode", "task_killing"],
            "checkpoint": given.get("checkpoint", True),
        },
        "zookeeper_config": _zookeeper_config(given),
        "http_config": {
            "http_port": int(port) if port.isdigit() else None,
            "https_port": int(port) if port.isdigit() and settings.tls_certificate else None,
        },
        "event_subscriber": {"type": "http_event_stream"},
    }


_AS_THEY_ARE = (
    "default_network_name",
    "failover_timeout",
    "local_port_min",
    "local_port_max",
    "mesos_bridge_name",
    "mesos_role",
    "mesos_user",
    "webui_url",
)
_IN_MILLISECONDS = {
    "decline_offer_duration": "decline_offer_duration",
    "leader_proxy_connection_timeout_ms": "leader_proxy_connection_timeout",
    "leader_proxy_read_timeout_ms": "leader_proxy_read_timeout",
    "min_revive_offers_interval": "min_revive_offers_interval",
    "reconciliation_interval": "reconciliation_interval",
    "scale_apps_interval": "scale_apps_interval",
    "task_launch_confirm_timeout": "task_launch_confirm_timeout",
    "task_launch_timeout": "task_launch_timeout",
}


def _zookeeper_config(given: Document) -> Document:
    """Empty for a node that stands alone. The address shows no credentials."""
    zk = given.get("zk")
    if zk is None:
        return {}
    return {
        "zk": re.sub(r"//[^@/]*@", "//xxxxxxxx:xxxxxxxx@", zk.get_secret_value()),
        "zk_session_timeout": _milliseconds(given["zk_session_timeout"]),
        "zk_timeout": _milliseconds(given["zk_timeout"]),
        "zk_max_versions": given["zk_max_versions"],
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
