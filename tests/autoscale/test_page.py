"""What the daemon serves, over HTTP as browsers and the command line ask for it."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from autoscale.api import Api
from autoscale.autoscaler import Autoscaler
from autoscale.daemon import command
from autoscale.page import routes
from autoscale.settings import AutoscaleSettings
from daemonkit.errors import OperatorError
from daemonkit.health import Health
from daemonkit.http import bind, serving, status_app
from tests.support.answering import answering
from tests.support.memory_cluster import running_framework


@dataclass
class Served:
    url: str

    async def get(self, path: str) -> requests.Response:
        return await asyncio.to_thread(requests.get, f"{self.url}{path}", timeout=60)

    async def run(self, *words: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, command, [*words, "--url", self.url])
        return f"{done.exit_code} {done.output}{done.exception or ''}"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """After five minutes of an app's life."""
    clock = {"now": 1_000_000.0}
    async with contextlib.AsyncExitStack() as stack:
        edge = stack.enter_context(answering())
        framework = await stack.enter_async_context(running_framework())
        await framework.app("/web", labels={"DROMOS_AUTOSCALE_TARGET": "20", "DROMOS_AUTOSCALE_MAX": "7"})
        settings = AutoscaleSettings.model_validate(
            {"marathon": framework.url, "edge": (edge.url,), "state_dir": tmp_path, "timeout": 60}
        )
        health = Health()
        api = Api(framework.url, timeout=60)
        autoscaler = Autoscaler(settings, api, health, clock=lambda: clock["now"])
        for look in range(60):
            clock["now"] += 5
            edge.body = f'dromos_edge_start_time_seconds 1\ndromos_edge_requests_total{{app="/web"}} {300 * look}\n'
            await asyncio.to_thread(autoscaler.round)
        sock = bind("127.0.0.1", 0, what="the page", mend="")
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        await stack.enter_async_context(serving(status_app(health, *routes(autoscaler)), sock))
        yield Served(url)


async def test_the_list_the_series_and_the_journal_tell_one_story(served: Served) -> None:
    answer = (await served.get("/apps")).json()
    [app] = answer["apps"]
    assert answer["leads"] is True
    assert (app["app"], app["min"], app["max"], app["instances"]) == ("/web", 1, 7, 3)
    assert app["needed"] == pytest.approx(3.0)
    points = (await served.get("/series?app=/web")).json()["series"]
    assert len(points) >= 5 and points[-1]["needed"] == pytest.approx(3.0) and points[-1]["instances"] == 3
    journal = (await served.get("/journal?app=/web&most=100")).json()["journal"]
    assert [entry["outcome"] for entry in journal].count("scaled") == 1
    assert journal[-1]["quality"] == "fresh" and "60.0 requests/s" in journal[-1]["reason"]


async def test_charts_and_the_page_are_served_with_a_strict_policy(served: Served) -> None:
    kinds = {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}
    kinds |= {"/chart.svg?app=/web": "image/svg+xml", "/chart.png?app=/web": "image/png"}
    for path, kind in kinds.items():
        answer = await served.get(path)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(kind), path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in (await served.get("/")).headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/series", "/series?app=/none", "/chart.svg?app=%3Cscript%3E", "/chart.png?app=x"])
async def test_what_is_not_known_is_a_404(served: Served, path: str) -> None:
    answer = await served.get(path)
    assert answer.status_code == 404 and answer.json()["message"].startswith("nothing is known of")


async def test_metrics_tell_what_is_decided_and_how_good_the_data_is(served: Served) -> None:
    text = (await served.get("/metrics")).text
    assert 'dromos_autoscale_wanted_instances{app="/web"} 3.0' in text
    assert 'dromos_autoscale_needed_instances{app="/web"} 3.0' in text
    assert 'dromos_autoscale_samples_total{quality="fresh"}' in text
    assert "dromos_autoscale_leader 1.0" in text


async def test_explain_tells_why_and_draws(served: Served) -> None:
    told = await served.run("explain", "web", "--chart")
    assert told.startswith("0 instances asked for") and "60.0 requests/s of 20 an instance: 3 needed" in told
    assert "instances in rotation" in told
    as_json = await served.run("explain", "/web", "-n", "2", "--json")
    assert len(json.loads(as_json.removeprefix("0 "))) == 2
    assert "nothing is known of /none" in await served.run("explain", "none")


async def test_explain_says_in_one_line_where_there_is_no_autoscaler(served: Served) -> None:
    with answering() as other:
        for other.status, other.body in ((404, "{}"), (200, "[]"), (200, "{}"), (200, "<html>"), (500, "")):
            done = await asyncio.to_thread(CliRunner().invoke, command, ["explain", "web", "--url", other.url])
            assert isinstance(done.exception, OperatorError) and done.exception.exit_code == 3, other
            assert other.url in str(done.exception) and "DROMOS_AUTOSCALE_URL" in str(done.exception)


def test_a_policy_file_is_checked_and_shown_in_our_own_keys(tmp_path: Path) -> None:
    path = tmp_path / "flags"
    path.write_text("--apps web_10001 --target-rps 40 --samples 5")
    shown = CliRunner().invoke(command, ["policy", str(path)]).output
    assert "target: 40.0" in shown and "# --samples has no effect" in shown
    path.write_text("apps: {web: {max: 0}}")
    done = subprocess.run(
        [sys.executable, "-m", "dromos", "autoscale", "policy", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_explain_shows_no_password_of_the_address() -> None:
    done = CliRunner().invoke(command, ["explain", "web", "--url", "http://user:hush@127.0.0.1:1"])
    told = str(done.exception)
    assert "no autoscaler answers at http://127.0.0.1:1" in told and "hush" not in told + done.output
