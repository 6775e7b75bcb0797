"""What is around every page: search, keyboard, themes, languages; and the overview and the events."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import BROKEN, WORKER, delete, put, unlocked
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


def test_the_overview_answers_whether_anything_is_wrong(ui: Ui) -> None:
    page = ui.open()
    attention = page.locator(".card").filter(has=page.get_by_role("heading", name="Needs attention"))
    expect(attention.get_by_role("listitem").filter(has_text="/stuck")).to_contain_text("too few CPUs free")
    expect(attention.get_by_role("listitem").filter(has_text="/broken").first).to_contain_text("TASK_FAILED")
    expect(page.get_by_role("link", name=re.compile("Running deployments"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("2 healthy"))).to_be_visible()
    # A third failure within ten minutes, and it flaps.
    expect(attention.get_by_role("listitem").filter(has_text="/broken")).to_contain_text("Flapping", timeout=90_000)


def test_what_has_been_mended_does_not_flap_any_more(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**BROKEN, "id": "/mended", "backoffSeconds": 0.1, "backoffFactor": 1})
    page = ui.open()
    mended = page.locator(".card .problems").get_by_role("listitem").filter(has_text="/mended")
    expect(mended).to_contain_text("Flapping")
    put(dromos, {**WORKER, "id": "/mended"})
    expect(mended).to_have_count(0)
    delete(dromos, "/mended")


def test_slash_searches_over_everything(ui: Ui) -> None:
    page = ui.open("events")
    page.keyboard.press("/")
    box = page.get_by_role("dialog", name="Search").get_by_role("searchbox")
    expect(box).to_be_focused()
    box.fill("shop wor")
    # The application, and what there is of it.
    expect(page.locator(".hits li").first).to_contain_text("/shop/worker")
    expect(page.locator(".hits li").filter(has_text="shop_worker.instance-")).to_have_count(1)
    for wanted, kind in (("shop.web", "Service"), ("127.0.0.1", "Agent"), ("shop/", "Group")):
        box.fill(wanted)
        expect(page.locator(".hits li").filter(has_text=kind).first).to_be_visible()
    box.fill("shop wor")
    expect(page.locator(".hits li").first).to_contain_text("/shop/worker")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/app/shop/worker$"))
    page.keyboard.press("/")
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.get_by_text("Nothing matches these filters.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_keyboard_goes_everywhere(ui: Ui) -> None:
    page = ui.open()
    for keys, there in (("ga", "#/apps$"), ("gd", "#/deployments$"), ("ge", "#/events$")):
        for key in keys:
            page.keyboard.press(key)
        expect(page).to_have_url(re.compile(there))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("go to deployments")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("c")
    expect(page.get_by_role("dialog", name="Create application")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    ui.go("app", "shop", "web")
    page.get_by_role("button", name="Scale", exact=True).wait_for()
    page.keyboard.press("s")
    expect(page.get_by_role("dialog", name="Scale")).to_be_visible()
    # Letters that are typed into a field are text.
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    ui.go("apps", view="flat")
    page.get_by_role("searchbox", name="Filter by name").press_sequentially("c?")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_list_is_walked_and_opened_with_the_keyboard_alone(ui: Ui) -> None:
    page = ui.open("apps", view="flat")
    link = page.get_by_role("link", name="shop/web", exact=True)
    link.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if link.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/app/shop/web$"))


def test_an_application_is_created_scaled_and_destroyed_with_the_keyboard_alone(ui: Ui, dromos: Platform) -> None:
    page = ui.open("apps")
    page.get_by_role("link", name="stuck", exact=True).wait_for()
    keyboard = page.keyboard
    keyboard.press("c")
    expect(page.get_by_role("textbox", name="Name")).to_be_focused()
    keyboard.type("typed")  # after the "/" that is there
    keyboard.press("Tab")
    keyboard.type("sleep 100000")
    for _ in range(2):
        keyboard.press("Tab")
    keyboard.press("ControlOrMeta+a")
    keyboard.type("0")
    keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/app/typed$"))
    expect(page.get_by_text("0 / 0 instances")).to_be_visible()
    unlocked(dromos, "/typed")
    keyboard.press("s")
    expect(page.get_by_role("dialog").get_by_label("Instances")).to_be_focused()
    keyboard.press("ControlOrMeta+a")
    keyboard.type("1")
    keyboard.press("Enter")
    expect(page.get_by_text("1 / 1 instances")).to_be_visible()
    unlocked(dromos, "/typed")
    page.get_by_role("button", name="Destroy").focus()
    keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("textbox")).to_be_focused()
    keyboard.type("/typed")
    keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/apps"))
    eventually(lambda: all(app["id"] != "/typed" for app in dromos.get("/v2/apps")["apps"]), 60)


def test_theme_and_language_are_chosen_and_kept(ui: Ui) -> None:
    page = ui.open()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Language: English").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("navigation").get_by_role("link", name="应用")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("heading", level=1)).to_have_text("总览")
    page.evaluate("localStorage.clear()")


def test_events_appear_as_they_happen_and_are_searched(ui: Ui, dromos: Platform) -> None:
    page = ui.open("events")
    put(dromos, {"id": "/shop/worker", "labels": {"team": "jobs", "touched": "1"}})
    entry = page.get_by_role("listitem").filter(has_text="/shop/worker").filter(has_text="TASK_RUNNING")
    expect(entry.first).to_be_visible()
    page.get_by_role("searchbox", name="Search").fill("task_running")
    expect(page.get_by_role("listitem").filter(has_text="deployment")).to_have_count(0)
    # What the server still has is there after a reload too, for each application.
    page = ui.load("app", "shop", "worker", tab="events")
    expect(page.get_by_role("listitem").filter(has_text="TASK_RUNNING").first).to_be_visible()


def test_an_address_that_leads_nowhere_says_so(ui: Ui) -> None:
    page = ui.open("nowhere")
    expect(page.get_by_text("There is no such page.")).to_be_visible()
    ui.go("app", "not", "there")
    expect(page.get_by_text("/not/there does not exist")).to_be_visible()
