"""What can be done to an application and to a deployment: each action changes the platform, not only the page."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.support.answering import answering
from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import WORKER, delete, put, unlocked
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


@pytest.fixture
def app(dromos: Platform) -> Iterator[str]:
    put(dromos, {**WORKER, "id": "/acted-on"})
    eventually(lambda: [task["state"] for task in dromos.tasks("/acted-on")] == ["TASK_RUNNING"], 60)
    unlocked(dromos, "/acted-on")
    yield "/acted-on"
    delete(dromos, "/acted-on")


def test_scale_suspend_restart_and_destroy(ui: Ui, dromos: Platform, app: str) -> None:
    page = ui.open("app", "acted-on")
    page.get_by_role("button", name="Scale", exact=True).click()
    dialog = page.get_by_role("dialog", name="Scale")
    dialog.get_by_label("Instances").fill("2")
    dialog.get_by_role("button", name="Scale").click()
    expect(page.get_by_text("2 / 2 instances")).to_be_visible()

    unlocked(dromos, app)
    before = {task["id"] for task in dromos.tasks(app)}
    page.get_by_role("button", name="Restart").click()
    page.get_by_role("dialog", name="Restart").get_by_role("button", name="Restart").click()
    eventually(lambda: len(now := {t["id"] for t in dromos.tasks(app)}) == 2 and not now & before, 60)

    unlocked(dromos, app)
    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("dialog", name="Suspend").get_by_role("button", name="Suspend").click()
    expect(page.get_by_text("No instance runs.")).to_be_visible()
    expect(page.locator(".status-suspended")).to_be_visible()

    page.get_by_role("button", name="Destroy").click()
    dialog = page.get_by_role("dialog", name="Destroy")
    confirm = dialog.get_by_role("button", name="Destroy")
    expect(confirm).to_be_disabled()
    dialog.get_by_role("textbox").fill("/acted")
    expect(confirm).to_be_disabled()
    dialog.get_by_role("textbox").fill(app)
    confirm.click()
    expect(page).to_have_url(re.compile("#/apps"))
    eventually(lambda: all(one["id"] != app for one in dromos.get("/v2/apps")["apps"]), 60)


def test_an_instance_is_killed_and_another_with_scaling_down(ui: Ui, dromos: Platform, app: str) -> None:
    page = ui.open("app", "acted-on")
    first = dromos.tasks(app)[0]["id"]
    page.get_by_role("checkbox", name=first).check()
    page.get_by_role("button", name="Kill", exact=True).click()
    page.get_by_role("dialog", name="Kill").get_by_role("button", name="Kill", exact=True).click()

    def the_next() -> str | None:
        [(task, state)] = [(task["id"], task["state"]) for task in dromos.tasks(app)]
        return str(task) if task != first and state == "TASK_RUNNING" else None

    second = eventually(the_next, 60)
    expect(page.get_by_role("checkbox", name=first)).to_have_count(0)
    page.get_by_role("checkbox", name=second).check()
    page.get_by_role("button", name="Kill and scale down").click()
    page.get_by_role("dialog").get_by_role("button", name="Kill and scale down").click()
    expect(page.get_by_text("No instance runs.")).to_be_visible()
    assert dromos.get(f"/v2/apps{app}")["app"]["instances"] == 0


def test_an_instance_that_drains_is_shown_as_such(ui: Ui, dromos: Platform, tmp_path: Path) -> None:
    end = tmp_path / "end"
    cmd = f"until [ -e {end} ]; do sleep 0.2; done"
    try:
        put(dromos, {**WORKER, "id": "/drains", "cmd": cmd, "labels": {"DROMOS_DRAIN_SECONDS": "300"}})
        eventually(lambda: dromos.get("/v2/apps/drains")["app"]["tasksRunning"] == 1, 60)
        page = ui.open("app", "drains")
        task = dromos.tasks("/drains")[0]["id"]
        requests.post(f"{dromos.api_url}/v2/tasks/delete", json={"ids": [task]}, timeout=60).raise_for_status()
        row = page.get_by_role("row").filter(has=page.get_by_role("checkbox", name=task))
        expect(row).to_contain_text("draining")
        row.get_by_role("link").click()
        expect(page.locator(".facts")).to_contain_text("draining")
        delete(dromos, "/drains")
    finally:
        end.touch()  # or it would be on its agent for so long


def test_a_deployment_in_the_way_is_asked_about_and_forced(ui: Ui, dromos: Platform) -> None:
    # /stuck deploys for ever: nobody has so many CPUs.
    page = ui.open("app", "stuck")
    page.get_by_role("button", name="Scale", exact=True).click()
    dialog = page.get_by_role("dialog", name="Scale")
    dialog.get_by_label("Instances").fill("3")
    dialog.get_by_role("button", name="Scale").click()
    expect(dialog.get_by_text("Another deployment has locked this application")).to_be_visible()
    dialog.get_by_role("button", name="Force").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("0 / 3 instances")).to_be_visible()
    put(dromos, {"id": "/stuck", "instances": 2})


def test_a_deployment_shows_its_progress_and_is_stopped_or_rolled_back(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**WORKER, "id": "/held", "instances": 0})
    unlocked(dromos, "/held")
    for action, instances in (("Roll back", 0), ("Stop here", 1)):
        put(dromos, {"id": "/held", "instances": 1, "cpus": 400})
        page = ui.open("deployments")
        card = page.locator(".card").filter(has=page.get_by_role("link", name="/held"))
        expect(card.get_by_role("progressbar", name=re.compile(r"Step \d of \d"))).to_be_visible()
        expect(card).to_contain_text("replace instances")
        card.get_by_role("button", name=action).click()
        page.get_by_role("dialog", name=action).get_by_role("button", name=action).click()
        expect(card).to_have_count(0)
        eventually(lambda wanted=instances: dromos.get("/v2/apps/held")["app"]["instances"] == wanted, 60)
        put(dromos, {"id": "/held", "instances": 0})
        unlocked(dromos, "/held")
    delete(dromos, "/held")


def test_a_deployment_shows_all_its_steps(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**WORKER, "id": "/stepwise", "cpus": 400})
    page = ui.open("deployments")
    card = page.locator(".card").filter(has=page.get_by_role("link", name="/stepwise"))
    card.get_by_text("Steps").click()
    steps = card.locator(".steps li")
    expect(steps).to_have_text(["create /stepwise", "scale /stepwise"])
    expect(card.locator('.steps li[aria-current="step"]')).to_have_text("scale /stepwise")
    delete(dromos, "/stepwise")


def test_a_delay_is_reset(ui: Ui) -> None:
    page = ui.open("app", "broken")
    expect(page.locator(".summary .status-delayed")).to_be_visible()
    with page.expect_response(lambda answer: answer.url.endswith("/v2/queue/broken/delay")) as answer:
        page.get_by_role("button", name="Reset delay").click()
    assert answer.value.status == 204


def test_a_canary_waits_for_its_go(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**WORKER, "id": "/tried", "instances": 2})
    eventually(lambda: dromos.get("/v2/apps/tried")["app"]["tasksRunning"] == 2, 60)
    unlocked(dromos, "/tried")
    put(dromos, {**WORKER, "id": "/tried", "instances": 2, "cmd": "sleep 200000"}, strategy="canary", share="50%")
    page = ui.open("deployments")
    card = page.locator(".card").filter(has=page.get_by_role("link", name="/tried"))
    expect(card).to_contain_text("canary 50 %: waiting for go")
    card.get_by_role("button", name="Go on").click()
    page.get_by_role("dialog", name="Go on").get_by_role("button", name="Go on").click()
    expect(card).to_have_count(0)
    version = dromos.get("/v2/apps/tried")["app"]["version"]
    assert [task["version"] for task in dromos.tasks("/tried")] == [version] * 2
    delete(dromos, "/tried")


@pytest.fixture
def unheard() -> Iterator[int]:
    """A port that nobody listens on, nor can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_version_that_is_not_well_goes_on_only_by_force(ui: Ui, dromos: Platform, unheard: int) -> None:
    put(dromos, {**WORKER, "id": "/doubted"})
    eventually(lambda: dromos.get("/v2/apps/doubted")["app"]["tasksRunning"] == 1, 60)
    unlocked(dromos, "/doubted")
    # It is told of as unhealthy, and never killed for it.
    ill = {"protocol": "TCP", "port": unheard, "maxConsecutiveFailures": 0, "delaySeconds": 0, "gracePeriodSeconds": 0}
    put(dromos, {**WORKER, "id": "/doubted", "mem": 33, "healthChecks": [ill]}, strategy="blue-green")
    page = ui.open("app", "doubted")
    expect(page.locator(".summary").get_by_role("img", name="1 unhealthy, 1 over capacity")).to_be_visible()
    ui.go("deployments")
    card = page.locator(".card").filter(has=page.get_by_role("link", name="/doubted"))
    expect(card).to_contain_text("blue/green: starting")
    card.get_by_role("button", name="Go on").click()
    dialog = page.get_by_role("dialog", name="Go on")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog).to_contain_text("The new version is not there, or not well, yet. Go on all the same?")
    dialog.get_by_role("button", name="Force").click()
    expect(dialog).to_have_count(0)
    expect(card).to_contain_text("blue/green: completing")
    expect(card.get_by_role("button", name="Go on")).to_have_count(0)
    delete(dromos, "/doubted")


def test_an_instance_whose_files_are_on_their_way_is_staged_in_the_health_bar(ui: Ui, dromos: Platform) -> None:
    with answering() as files:
        files.ready.clear()
        put(dromos, {**WORKER, "id": "/fetching", "fetch": [{"uri": f"{files.url}/data.txt"}]})
        page = ui.open("app", "fetching")
        expect(page.locator(".summary").get_by_role("img", name="1 staged")).to_be_visible()
        files.ready.set()
        expect(page.locator(".summary").get_by_role("img", name="1 unknown")).to_be_visible()
    delete(dromos, "/fetching")
