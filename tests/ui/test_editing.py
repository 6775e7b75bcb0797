"""Creating and editing an application: a form and its JSON, two views of one value, checked by the server."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import WORKER, delete, put
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


def test_an_application_is_created_with_the_form(ui: Ui, dromos: Platform) -> None:
    page = ui.open("apps")
    page.get_by_role("button", name="Create application").click()
    dialog = page.get_by_role("dialog", name="Create application")
    dialog.get_by_label("Name").fill("/made/with-form")
    dialog.get_by_label("Command").fill("sleep 1000")
    dialog.get_by_label("Memory").fill("16")
    dialog.get_by_label("Labels").fill("team=ui\nempty")
    written = json.loads(dialog.get_by_label("JSON").input_value())
    assert written["mem"] == 16 and written["labels"] == {"team": "ui", "empty": ""}
    dialog.get_by_role("button", name="Create application").click()
    expect(page).to_have_url(re.compile("#/app/made/with-form$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("with-form")
    app = dromos.get("/v2/apps/made/with-form")["app"]
    assert (app["cmd"], app["labels"]["team"]) == ("sleep 1000", "ui")
    delete(dromos, "/made/with-form")


def test_what_is_written_as_json_shows_in_the_form(ui: Ui, dromos: Platform) -> None:
    page = ui.open("apps", create="1")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("JSON").fill('{"id": "/made/json", "cmd": "sleep 9", "cpus": 0.1, "mem": 16, "instances": 0}')
    expect(dialog.get_by_label("Name")).to_have_value("/made/json")
    expect(dialog.get_by_label("Instances")).to_have_value("0")
    dialog.get_by_label("JSON").fill('{"id": ')
    expect(dialog.get_by_role("alert")).to_contain_text("This is not JSON")
    expect(dialog.get_by_role("button", name="Create application")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_what_the_server_refuses_is_said_at_its_field(ui: Ui) -> None:
    page = ui.open("apps", create="1")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("JSON").fill(
        '{"id": "/NOT an id", "cmd": "x", "cpus": -1, "upgradeStrategy": {"minimumHealthCapacity": 7}}'
    )
    dialog.get_by_role("button", name="Create application").click()
    field = dialog.locator("label.field")
    expect(field.filter(has_text="CPUs").get_by_role("alert")).to_be_visible()
    # Not the pattern that the server answers with.
    expect(field.filter(has_text="Name").get_by_role("alert")).to_contain_text("of small letters, digits, hyphens")
    expect(dialog.get_by_label("CPUs")).to_have_attribute("aria-invalid", "true")
    # What has no field of its own is listed by its path.
    expect(dialog.get_by_text("/upgradeStrategy/minimumHealthCapacity")).to_be_visible()


def test_an_edit_shows_what_it_changes_before_it_is_saved(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**WORKER, "id": "/made/edited", "instances": 0})
    page = ui.open("app", "made", "edited")
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog", name="Edit /made/edited")
    expect(dialog.get_by_text("No difference.")).to_be_attached()
    expect(dialog.get_by_label("Name")).to_be_disabled()
    dialog.get_by_label("Memory").fill("48")
    change = dialog.get_by_role("row", name="/mem")
    expect(change.locator("del")).to_have_text("32")
    expect(change.locator("ins")).to_have_text("48")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    eventually(lambda: dromos.get("/v2/apps/made/edited")["app"]["mem"] == 48, 60)
    delete(dromos, "/made/edited")
