"""Usable by all: what axe-core finds on each page, in both themes, wide and narrow; nothing is wider than its window."""

import pytest
from playwright.sync_api import expect

from tests.support.browser import NARROW, WIDE, Ui
from tests.support.platform import Platform

pytestmark = pytest.mark.xdist_group("ui")

PAGES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "overview": ((), {}),
    "apps": (("apps",), {}),
    "apps-flat": (("apps",), {"view": "flat"}),
    "apps-empty": (("apps", "nothing"), {}),
    "app": (("app", "shop", "web"), {}),
    "configuration": (("app", "shop", "web"), {"tab": "configuration"}),
    "autoscaling": (("app", "shop", "web"), {"tab": "autoscaling"}),
    "debug": (("app", "stuck"), {"tab": "debug"}),
    "failure": (("app", "broken"), {"tab": "debug"}),
    "volumes": (("app", "shop", "web"), {"tab": "volumes"}),
    "events": (("events",), {}),
    "deployments": (("deployments",), {}),
    "instances": (("instances",), {}),
    "agents": (("agents",), {}),
    "services": (("services",), {}),
    "missing": (("nowhere",), {}),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(ui: Ui, dromos: Platform, theme: str) -> None:
    task = dromos.tasks("/shop/web")[0]
    service = next(one["name"] for one in dromos.get("/v2/services")["services"] if one["app"] == "/shop/web")
    pages = {
        **PAGES,
        "log": (("instance", task["id"]), {"app": "/shop/web"}),
        "files": (("instance", task["id"]), {"app": "/shop/web", "tab": "files"}),
        "agent": (("agents", task["slaveId"]), {}),
        "service": (("services", service), {}),
    }
    page = ui.open(theme=theme)
    found = {}
    for name, (path, query) in pages.items():
        ui.go(*path, **query)
        expect(page.get_by_role("heading", level=1).or_(page.locator(".empty")).first).to_be_visible()
        page.set_viewport_size(NARROW if theme == "dark" else WIDE)
        if wrong := ui.axe():
            found[name] = wrong
    page.set_viewport_size(WIDE)
    assert found == {}


def test_axe_finds_nothing_in_the_dialogs(ui: Ui) -> None:
    page = ui.open("app", "shop", "web")
    found = {}
    for name in ("Scale", "Edit", "Destroy", "Search", "Keyboard shortcuts"):
        page.get_by_role("button", name=name, exact=name != "Search").click()
        page.get_by_role("dialog").wait_for()
        if wrong := ui.axe():
            found[name] = wrong
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert found == {}


def test_no_page_is_wider_than_a_phone(ui: Ui) -> None:
    page = ui.open()
    page.set_viewport_size(NARROW)
    wide = []
    for name, (path, query) in PAGES.items():
        ui.go(*path, **query)
        expect(page.get_by_role("heading", level=1).or_(page.locator(".empty")).first).to_be_visible()
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > NARROW["width"]:
            wide.append((name, width))
    page.set_viewport_size(WIDE)
    assert wide == []
