"""Pods: listed, created, looked at, edited, rolled back, killed and destroyed."""

import json
import re
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import POD
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


def status(dromos: Platform, pod_id: str = "/teams/pair") -> dict[str, Any]:
    found: dict[str, Any] = dromos.get(f"/v2/pods{pod_id}::status")
    return found


def settled(dromos: Platform) -> None:
    def done() -> bool:
        deployments = dromos.get("/v2/deployments")
        return status(dromos)["status"] == "STABLE" and all(not one["affectedPods"] for one in deployments)

    eventually(done, 60)


def destroy(dromos: Platform, pod_id: str) -> None:
    requests.delete(f"{dromos.api_url}/v2/pods{pod_id}", params={"force": "true"}, timeout=60)
    # Not declared any more, and its deployment over.
    eventually(
        lambda: (
            all(pod["id"] != pod_id for pod in dromos.get("/v2/pods"))
            and all(pod_id not in one["affectedPods"] for one in dromos.get("/v2/deployments"))
        ),
        60,
    )


def test_a_pod_is_created_as_json_scaled_and_destroyed(ui: Ui, dromos: Platform) -> None:
    page = ui.open("pods")
    page.get_by_role("button", name="Create pod").click()
    dialog = page.get_by_role("dialog", name="Create pod")
    source = dialog.get_by_label("JSON")
    source.fill("[1]")
    expect(dialog.get_by_role("alert")).to_contain_text("A definition is a JSON object")
    source.fill(json.dumps({**POD, "id": "/Not An Id"}))
    dialog.get_by_role("button", name="Create pod").click()
    expect(dialog.get_by_role("alert")).to_contain_text("/id")
    source.fill(json.dumps({**POD, "id": "/made-pod", "scaling": {"kind": "fixed", "instances": 0}}))
    dialog.get_by_role("button", name="Create pod").click()
    expect(page).to_have_url(re.compile("#/pod/made-pod$"))
    expect(page.get_by_text("No instance runs.")).to_be_visible()
    expect(page.locator(".status-suspended")).to_be_visible()

    page.get_by_role("button", name="Scale", exact=True).click()
    dialog = page.get_by_role("dialog", name="Scale")
    dialog.get_by_label("Instances").fill("1")
    dialog.get_by_role("button", name="Scale").click()
    expect(page.get_by_text("1 / 1 instances")).to_be_visible()
    ui.go("pods")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="made-pod"))
    expect(row).to_contain_text("web, sidecar")
    expect(row).to_contain_text("Running")
    row.get_by_role("link").click()

    page.get_by_role("button", name="Destroy").click()
    dialog = page.get_by_role("dialog", name="Destroy")
    expect(dialog.get_by_role("button", name="Destroy")).to_be_disabled()
    dialog.get_by_role("textbox").fill("/made-pod")
    dialog.get_by_role("button", name="Destroy").click()
    expect(page).to_have_url(re.compile("#/pods$"))
    expect(page.get_by_role("link", name="made-pod")).to_have_count(0)


def test_a_pods_instances_show_their_containers_and_are_killed(ui: Ui, dromos: Platform) -> None:
    [before] = status(dromos)["instances"]
    port = before["containers"][0]["endpoints"][0]["allocatedHostPort"]
    page = ui.open("pod", "teams", "pair")
    web = page.get_by_role("row").filter(has=page.get_by_role("link", name="web"))
    expect(web).to_contain_text("running")
    expect(web).to_contain_text(f"http:{port}")
    web.get_by_role("link").click()
    expect(page.get_by_role("log", name="stdout")).to_contain_text("web speaks")
    expect(page.locator(".facts")).to_contain_text(str(port))
    page.get_by_role("link", name="teams/pair").click()
    page.get_by_role("link", name="sidecar").click()
    expect(page.get_by_role("log", name="stdout")).to_contain_text("sidecar speaks")
    page.keyboard.press("/")
    page.get_by_role("dialog", name="Search").get_by_role("searchbox").fill("teams/pair")
    expect(page.locator(".hits li").filter(has_text="Pod")).to_contain_text("/teams/pair")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Kill").click()
    page.get_by_role("dialog", name="Kill").get_by_role("button", name="Kill").click()
    eventually(lambda: [i for i in status(dromos)["instances"] if i["id"] != before["id"]], 60)
    expect(page.get_by_title(before["id"])).to_have_count(0)


def test_a_pod_is_edited_with_a_diff_and_rolled_back(ui: Ui, dromos: Platform) -> None:
    page = ui.open("pod", "teams", "pair")
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog", name="Edit /teams/pair")
    source = dialog.get_by_label("JSON")
    written = json.loads(source.input_value())
    assert "version" not in written
    source.fill(json.dumps({**written, "labels": {"team": "pairs"}}))
    expect(dialog.get_by_role("row", name="/labels/team").locator("ins")).to_have_text('"pairs"')
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    eventually(lambda: status(dromos)["spec"]["labels"] == {"team": "pairs"}, 60)
    settled(dromos)
    ui.go("pod", "teams", "pair", tab="configuration")
    page.locator(".versions button").nth(1).click()
    expect(page.get_by_role("row", name="/labels/team").locator("del")).to_have_text('"pairs"')
    page.get_by_role("button", name="Roll back to this version").click()
    page.get_by_role("dialog", name="Roll back").get_by_role("button", name="Roll back").click()
    eventually(lambda: not status(dromos)["spec"].get("labels"), 60)


def test_a_pod_that_waits_says_why_and_shows_in_the_overview(ui: Ui, dromos: Platform) -> None:
    huge = {**POD["containers"][0], "resources": {"cpus": 300, "mem": 32}}
    answer = requests.post(f"{dromos.api_url}/v2/pods", json={"id": "/huge", "containers": [huge]}, timeout=60)
    assert answer.status_code == 201
    page = ui.open("pod", "huge", tab="debug")
    expect(page.get_by_text(re.compile("too few CPUs free"))).to_be_visible()
    ui.go()
    attention = page.locator(".card").filter(has=page.get_by_role("heading", name="Needs attention"))
    expect(attention.get_by_role("listitem").filter(has_text="/huge")).to_contain_text("too few CPUs free")
    ui.go("deployments")
    expect(page.get_by_role("link", name="/huge")).to_be_visible()
    ui.go("pod", "huge", tab="events")
    expect(page.get_by_role("listitem").filter(has_text="/huge").filter(has_text="deployment").first).to_be_visible()
    ui.go("pod", "huge", tab="volumes")
    expect(page.get_by_text("has no volumes")).to_be_visible()
    destroy(dromos, "/huge")
    expect(page.get_by_text("/huge does not exist")).to_be_visible()
