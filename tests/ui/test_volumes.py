"""Persistent volumes: where they are, how large, in use or waiting; and destroying one with its data."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import DATABASE, POD, delete, put, unlocked
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


@pytest.fixture
def database(dromos: Platform) -> Iterator[str]:
    # The volumes of an app that was deleted go a moment later.
    eventually(lambda: volumes(dromos) == [], 60)
    put(dromos, DATABASE)
    eventually(lambda: [volume["status"] for volume in volumes(dromos)] == ["attached"], 60)
    unlocked(dromos, "/prod/db")
    yield "/prod/db"
    delete(dromos, "/prod/db")


def volumes(dromos: Platform, owner: str = "/prod/db") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dromos.get(f"/v2/volumes?app={owner}")["volumes"]
    return found


def test_the_volumes_of_an_application_are_shown_and_one_is_wiped(ui: Ui, dromos: Platform, database: str) -> None:
    [before] = volumes(dromos)
    assert (before["status"], before["size"], before["containerPath"]) == ("attached", 64, "data")
    page = ui.open("app", "prod", "db", tab="volumes")
    declared = page.get_by_role("table", name="Volumes", exact=True)
    expect(declared.get_by_role("row", name="data")).to_contain_text("root · 64 MiB")
    expect(declared.get_by_role("row", name="shared")).to_contain_text("of the host")
    kept = page.get_by_role("table", name="Persistent volumes").locator("tbody tr")
    expect(kept).to_have_count(1)
    for part in ("64 MiB", "in use", before["host"]):
        expect(kept).to_contain_text(part)

    # Scaled down, it waits with its data for the next scaling up; wiped, it is gone for good.
    put(dromos, {"id": "/prod/db", "instances": 0})
    expect(kept).to_contain_text("waiting")
    assert "taskId" not in volumes(dromos)[0]
    kept.get_by_role("button", name="Wipe").click()
    dialog = page.get_by_role("dialog", name="Wipe")
    expect(dialog).to_contain_text("cannot be undone")
    expect(dialog).to_contain_text(before["instanceId"])
    dialog.get_by_role("button", name="Wipe").click()
    expect(page.get_by_text("No persistent volume has been made yet.")).to_be_visible()
    assert volumes(dromos) == []


def test_an_instance_is_killed_with_its_data_and_another_begins_anew(ui: Ui, dromos: Platform, database: str) -> None:
    [before] = volumes(dromos)
    page = ui.open("app", "prod", "db")
    page.get_by_role("checkbox", name=before["taskId"]).check()
    page.get_by_role("button", name="Kill and wipe").click()
    dialog = page.get_by_role("dialog", name="Kill and wipe")
    expect(dialog).to_contain_text("their persistent volumes destroyed")
    dialog.get_by_role("button", name="Kill and wipe").click()
    [after] = eventually(
        lambda: [v for v in volumes(dromos) if v["instanceId"] != before["instanceId"] and v.get("taskId")], 60
    )
    eventually(lambda: before["persistenceId"] not in [volume["persistenceId"] for volume in volumes(dromos)], 60)
    expect(page.get_by_role("checkbox", name=after["taskId"])).to_be_visible()


def test_applications_with_volumes_are_a_filter_in_the_address(ui: Ui, database: str) -> None:
    page = ui.open("apps", view="flat")
    page.get_by_role("button", name="with volumes").click()
    expect(page).to_have_url(re.compile("volumes=1"))
    expect(page.locator("tbody th.name > a:first-child")).to_have_text(["prod/db"])


def test_the_volumes_of_a_pod_are_shown_and_wiped_with_their_instance_and_without(ui: Ui, dromos: Platform) -> None:
    [first, *_] = POD["containers"]
    first = {
        **first,
        "exec": {"command": {"shell": "echo kept > data/file; sleep 100000"}},
        "volumeMounts": [{"name": "kept", "mountPath": "data"}, {"name": "hosts", "mountPath": "hosts"}],
    }
    declared = [{"name": "kept", "persistent": {"size": 32}}, {"name": "hosts", "host": "/tmp"}]
    pod = {**POD, "id": "/prod/twin", "role": "prod", "containers": [first], "volumes": declared}
    eventually(lambda: volumes(dromos, "/prod/twin") == [], 60)
    requests.post(f"{dromos.api_url}/v2/pods", json=pod, timeout=60).raise_for_status()
    [before] = eventually(lambda: [v for v in volumes(dromos, "/prod/twin") if v["status"] == "attached"], 60)
    unlocked(dromos, "/prod/twin")
    page = ui.open("pod", "prod", "twin", tab="volumes")
    asked = page.get_by_role("table", name="Volumes", exact=True)
    expect(asked.get_by_role("row", name="kept")).to_contain_text("root · 32 MiB")
    expect(asked.get_by_role("row", name="hosts")).to_contain_text("/tmp")
    kept = page.get_by_role("table", name="Persistent volumes").locator("tbody tr")
    for part in ("32 MiB", "in use", before["host"]):
        expect(kept).to_contain_text(part)

    # With its instance; another one begins anew.
    ui.go("pod", "prod", "twin")
    page.get_by_role("button", name="Kill and wipe").click()
    dialog = page.get_by_role("dialog", name="Kill and wipe")
    expect(dialog).to_contain_text(before["instanceId"])
    dialog.get_by_role("button", name="Kill and wipe").click()
    [after] = eventually(
        lambda: [
            v
            for v in volumes(dromos, "/prod/twin")
            if v["instanceId"] != before["instanceId"] and v["status"] == "attached"
        ],
        60,
    )
    expect(page.get_by_title(after["instanceId"], exact=True)).to_be_visible()
    expect(page.get_by_text("1 / 1 instances")).to_be_visible()

    # Without one: suspended, it waits with its data.
    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("dialog", name="Suspend").get_by_role("button", name="Suspend").click()
    ui.go("pod", "prod", "twin", tab="volumes")
    expect(kept).to_have_count(1)
    expect(kept).to_contain_text("waiting")
    kept.get_by_role("button", name="Wipe").click()
    page.get_by_role("dialog", name="Wipe").get_by_role("button", name="Wipe").click()
    expect(page.get_by_text("No persistent volume has been made yet.")).to_be_visible()
    assert volumes(dromos, "/prod/twin") == []
    requests.delete(f"{dromos.api_url}/v2/pods/prod/twin", params={"force": "true"}, timeout=60)
