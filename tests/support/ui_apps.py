"""The applications that the UI is tried and pictured with: well, waiting, failing, and written by somebody hostile."""

from typing import Any

import requests

from tests.support.platform import Platform
from tests.support.waiting import eventually

SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"

WEB: dict[str, Any] = {
    "id": "/shop/web",
    "cmd": "mkdir -p www && echo hello > www/index.html && echo started; cd www && exec python3 -m http.server $PORT0",
    "cpus": 0.1,
    "mem": 32,
    "instances": 2,
    "portDefinitions": [{"port": 0, "name": "http", "protocol": "tcp"}],
    "healthChecks": [{"protocol": "HTTP", "path": "/", "portIndex": 0, "gracePeriodSeconds": 30, "intervalSeconds": 1}],
    "labels": {
        "team": "shop",
        "HAPROXY_GROUP": "external",
        "HAPROXY_0_VHOST": "web.localhost",
        "DROMOS_AUTOSCALE_TARGET": "20",
        "DROMOS_AUTOSCALE_MIN": "2",
        "DROMOS_AUTOSCALE_MAX": "4",
    },
}
WORKER = {
    "id": "/shop/worker",
    "cmd": "sleep 100000",
    "cpus": 0.1,
    "mem": 32,
    "instances": 1,
    "labels": {"team": "jobs"},
}
STUCK = {"id": "/stuck", "cmd": "sleep 100000", "cpus": 500, "mem": 32, "instances": 2}
BROKEN = {
    "id": "/broken",
    "cmd": "echo no luck >&2; exit 3",
    "cpus": 0.1,
    "mem": 32,
    "backoffSeconds": 5,
    "backoffFactor": 2,
}
HOSTILE = {
    "id": "/hostile",
    "cmd": f"echo '{SCRIPT}'; touch '{SCRIPT.replace('/', '')}'; sleep 100000",
    "cpus": 0.1,
    "mem": 32,
    "labels": {"say": SCRIPT, SCRIPT[:60]: "x"},
    "env": {"SAY": SCRIPT},
}
POD: dict[str, Any] = {
    "id": "/teams/pair",
    "scaling": {"kind": "fixed", "instances": 1},
    "containers": [
        {
            "name": "web",
            "exec": {"command": {"shell": "echo web speaks; sleep 100000"}},
            "resources": {"cpus": 0.1, "mem": 32},
            "endpoints": [{"name": "http", "hostPort": 0}],
        },
        {
            "name": "sidecar",
            "exec": {"command": {"shell": "echo sidecar speaks; sleep 100000"}},
            "resources": {"cpus": 0.1, "mem": 32},
        },
    ],
}
DATABASE: dict[str, Any] = {
    **WORKER,
    "id": "/prod/db",
    "role": "prod",
    "cmd": "echo kept > data/file; sleep 100000",
    "container": {
        "type": "MESOS",
        "volumes": [
            {"containerPath": "data", "mode": "RW", "persistent": {"size": 64}},
            {"containerPath": "shared", "hostPath": "/tmp", "mode": "RW"},
        ],
    },
}
ALL = (WEB, WORKER, STUCK, BROKEN, HOSTILE)


def put(dromos: Platform, app: dict[str, Any], **query: str) -> None:
    answer = requests.put(
        f"{dromos.api_url}/v2/apps{app['id']}", json=app, params={"force": "true", **query}, timeout=60
    )
    assert answer.ok, answer.text


def delete(dromos: Platform, app_id: str) -> None:
    requests.delete(f"{dromos.api_url}/v2/apps{app_id}", params={"force": "true"}, timeout=60)
    eventually(lambda: requests.get(f"{dromos.api_url}/v2/apps{app_id}", timeout=30).status_code == 404, 60)


def unlocked(dromos: Platform, spec_id: str) -> None:
    """Waits until no deployment is in the way of the next change: what it was to bring about can be seen a moment before its end."""
    eventually(lambda: spec_id not in _deploying(dromos), 60, what=f"no deployment of {spec_id}")


def sweep(dromos: Platform) -> None:
    """Takes away what a test has left, and waits until all is as `deploy_all` made it: a test that failed may have left anything."""
    kept = {app["id"] for app in (*ALL, POD)}
    stray: set[str] = set()
    for kind, found in (("apps", dromos.get("/v2/apps")["apps"]), ("pods", dromos.get("/v2/pods"))):
        for left in {one["id"] for one in found} - kept:
            stray.add(left)
            requests.delete(f"{dromos.api_url}/v2/{kind}{left}", params={"force": "true"}, timeout=60)
    if stray:
        eventually(lambda: not stray & _deploying(dromos), 60, what=f"{stray} are gone")
    for agent in dromos.get("/v2/agents")["agents"]:
        if agent["drain"] is not None or not agent["active"]:
            requests.delete(f"{dromos.api_url}/v2/agents/{agent['id']}/drain", timeout=60)
    for app in ALL:
        found = dromos.get(f"/v2/apps{app['id']}")["app"]
        if any(found[name] != value for name, value in app.items() if name in ("cmd", "instances", "labels", "mem")):
            put(dromos, app)
    pod = dromos.get(f"/v2/pods{POD['id']}")
    if pod.get("labels") or pod["scaling"] != POD["scaling"]:
        requests.put(
            f"{dromos.api_url}/v2/pods{POD['id']}", json=POD, params={"force": "true"}, timeout=60
        ).raise_for_status()
    _settled(dromos)


def deploy_all(dromos: Platform) -> None:
    """All of them, when those that can run do."""
    for app in ALL:
        put(dromos, app)
    requests.post(f"{dromos.api_url}/v2/pods", json=POD, timeout=60).raise_for_status()
    _settled(dromos)


def _settled(dromos: Platform) -> None:
    wanted = {app["id"]: app.get("instances", 1) for app in (WEB, WORKER, HOSTILE)}

    def settled() -> bool:
        apps = {app["id"]: app for app in dromos.get("/v2/apps")["apps"]}
        return (
            all(apps[app_id]["tasksRunning"] == count for app_id, count in wanted.items())
            and apps["/shop/web"]["tasksHealthy"] == 2
            and dromos.get(f"/v2/pods{POD['id']}::status")["status"] == "STABLE"
            and not {*wanted, POD["id"]} & _deploying(dromos)
        )

    eventually(settled, 90, what="the applications run")


def _deploying(dromos: Platform) -> set[str]:
    """Apps and pods that a deployment is at."""
    return {one for d in dromos.get("/v2/deployments") for one in (*d["affectedApps"], *d["affectedPods"])}
