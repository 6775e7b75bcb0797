"""Every kind of check that SERVICE_CHECK_* may ask for is one that a real Consul takes, and runs where the service is."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.consul import running_real_consul
from tests.support.marathon import Marathon
from tests.support.registrator import Registrator
from tests.support.waiting import eventually

# what is asked for, the kind that Consul makes of it, what it comes to
ASKED = {
    "http": ({"HTTP": "/v2/apps", "TIMEOUT": "5s", "HTTP_METHOD": "GET"}, "http", "passing"),
    "https": ({"HTTPS": "/v2/apps", "TLS_SKIP_VERIFY": "true"}, "http", "critical"),  # nobody speaks TLS there
    "tcp": ({"TCP": "true", "DEREGISTER_AFTER": "10m"}, "tcp", "passing"),
    "ttl": ({"TTL": "30s"}, "ttl", "passing"),
    "script": ({"SCRIPT": 'test "$SERVICE_IP:$SERVICE_PORT" = 127.0.0.1:{port}'}, "script", "passing"),
    "cmd": ({"CMD": "/check.sh"}, "script", "critical"),  # registrator's own check-cmd is not here
    "grpc": ({"GRPC": "true"}, "grpc", "critical"),  # nor does it speak gRPC
    "initial": ({"TCP": "true", "INTERVAL": "1h", "INITIAL_STATUS": "warning"}, "tcp", "warning"),
}


def test_every_kind_of_check(registrator: Callable[..., Registrator], tmp_path: Path) -> None:
    with Marathon().serving() as marathon, running_real_consul(tmp_path, hcl="enable_script_checks = true") as consul:
        port = int(urlsplit(marathon.url).port or 0)  # somebody answers there
        for name, (asked, _, _) in ASKED.items():
            given = {"INTERVAL": "1s"} | {key: value.format(port=port) for key, value in asked.items()}
            marathon.put_app(f"/{name}", labels={f"SERVICE_CHECK_{key}": value for key, value in given.items()})
            marathon.put_task(f"/{name}", ports=[port])
        daemon = registrator(sources=["framework"], marathon=[marathon.url], consul=consul.url)

        def found() -> dict[str, tuple[str, str]]:
            checks = consul.http.get("agent/checks").json().values()
            return {check["ServiceName"]: (check["Type"], check["Status"]) for check in checks}

        eventually(
            lambda: found() == {name: (kind, status) for name, (_, kind, status) in ASKED.items()}, what="checks"
        )
        assert daemon.status()["refused"] == {}
