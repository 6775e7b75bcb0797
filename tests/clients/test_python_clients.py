"""PyPI's `marathon` and `marathon-deploy`, unmodified, against a running framework."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.clients import python_with_clients
from tests.support.framework import Framework

pytestmark = pytest.mark.timeout(900)  # the clients are installed first, where they are not there yet

PROGRAMS = Path(__file__).parent / "programs"


def run(program: str, *arguments: str, timeout: float = 400.0) -> str:
    done = subprocess.run(
        [str(python_with_clients()), str(PROGRAMS / program), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_app_lives_and_dies_by_the_marathon_client(framework: Framework) -> None:
    assert "lived and died" in run("marathon_client.py", framework.url)
    assert framework.get("/v2/apps") == {"apps": []}


def test_marathon_deploy_creates_updates_scales_restarts_and_tells_what_is_refused(
    framework: Framework, tmp_path: Path
) -> None:
    definition = tmp_path / "app.json"
    app = {"id": "deployed/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32, "instances": 1}
    definition.write_text(json.dumps(app))

    refused = tmp_path / "refused.json"
    refused.write_text(json.dumps({**app, "cpus": -1}))
    command = [str(python_with_clients()), str(PROGRAMS / "marathon_deploy_shim.py"), "--marathon", framework.url]
    told = subprocess.run([*command, "--put", str(refused)], capture_output=True, text=True, timeout=400.0)
    assert "got -1, expected 0 or more" in told.stdout + told.stderr
    assert framework.request("GET", "/v2/apps/deployed/web").status_code == 404

    def deploy(*arguments: str) -> str:
        output = run("marathon_deploy_shim.py", "--marathon", framework.url, *arguments)
        framework.settled()
        return output

    assert "Creating app: /deployed/web" in deploy("--put", str(definition)).replace("app: deployed", "app: /deployed")
    assert len(framework.tasks("/deployed/web")) == 1
    before = framework.app("/deployed/web")["version"]
    definition.write_text(json.dumps({**app, "env": {"A": "b"}}))
    assert "Updating app" in deploy("--put", str(definition))
    assert framework.app("/deployed/web")["env"] == {"A": "b"} and framework.app("/deployed/web")["version"] > before
    deploy("--appid", "deployed/web", "--scale", "2")
    assert len(framework.tasks("/deployed/web")) == 2
    assert deploy("--appid", "deployed/web", "--instances").splitlines()[-1] == "2"
    tasks = {task["id"] for task in framework.tasks("/deployed/web")}
    deploy("--appid", "deployed/web", "--restart")
    assert not tasks & {task["id"] for task in framework.tasks("/deployed/web")}
    framework.change("DELETE", "/v2/apps/deployed/web")
    framework.settled()
