"""Usable by all: what axe-core finds on each page, in both themes, wide and narrow; nothing is wider than its window."""

import pytest
from playwright.sync_api import expect

from tests.support.browser import NARROW, WIDE, Ui
from tests.support.platform import Platform
from tests.support.ui_pages import pages

pytestmark = pytest.mark.xdist_group("ui")


def test_axe_finds_nothing_on_any_page(ui: Ui, dromos: Platform) -> None:
    ui.open()
    found = {}
    for name, (path, query) in pages(dromos).items():
        ui.show(path, query)
        if wrong := ui.axe():
            found[name] = wrong
    assert found == {}


def test_every_page_fits_a_phone_and_is_legible_in_the_dark(ui: Ui, dromos: Platform) -> None:
    page = ui.open(theme="dark")
    page.set_viewport_size(NARROW)
    found, wide = {}, []
    for name, (path, query) in pages(dromos).items():
        ui.show(path, query)
        # What theme and width can change.
        if wrong := ui.axe("color-contrast", "target-size", "scrollable-region-focusable"):
            found[name] = wrong
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > NARROW["width"]:
            wide.append((name, width))
    page.set_viewport_size(WIDE)  # after a failure the tab is another one
    assert (found, wide) == ({}, [])


def test_axe_finds_nothing_in_the_dialogs(ui: Ui) -> None:
    page = ui.open("app", "shop", "web")
    found = {}
    for name in ("Scale", "Edit", "Destroy", "Search", "Keyboard shortcuts"):
        page.get_by_role("button", name=name, exact=name != "Search").click()
        page.get_by_role("dialog").wait_for()
        # The page behind cannot be reached, and is looked at by itself.
        if wrong := ui.axe(within="dialog[open]"):
            found[name] = wrong
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert found == {}
