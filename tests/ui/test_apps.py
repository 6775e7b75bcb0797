"""The list of applications: grouped and flat, filtered and sorted by what stands in the address."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Ui

pytestmark = pytest.mark.xdist_group("ui")


def expect_names(page: Page, *names: str) -> None:
    expect(page.locator("tbody th.name > a:first-child")).to_have_text(list(names))


def test_groups_are_folded_and_open_one_by_one(ui: Ui) -> None:
    page = ui.open("apps")
    expect(page.get_by_role("row", name="shop")).to_be_visible()
    expect_names(page, "shop", "broken", "hostile", "stuck")
    group = page.get_by_role("row").filter(has=page.get_by_role("link", name="shop", exact=True))
    expect(group).to_contain_text("3 / 3")
    expect(group.get_by_role("img", name="2 healthy, 1 unknown")).to_be_visible()
    page.get_by_role("link", name="shop", exact=True).click()
    expect(page).to_have_url(re.compile("#/apps/shop$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("shop")
    expect_names(page, "web", "worker")
    page.get_by_role("navigation", name="Applications").get_by_role("link", name="Applications").click()
    expect(page.get_by_role("link", name="stuck", exact=True)).to_be_visible()


def test_the_flat_list_shows_every_application_with_its_status(ui: Ui) -> None:
    page = ui.open("apps")
    page.get_by_role("button", name="Flat").click()
    expect(page).to_have_url(re.compile("view=flat"))
    expect_names(page, "broken", "hostile", "shop/web", "shop/worker", "stuck")
    expect(page.get_by_role("row", name="shop/web")).to_contain_text("Running")
    expect(page.get_by_role("row", name="stuck")).to_contain_text("Waiting")
    expect(page.get_by_role("row", name="stuck").get_by_role("img", name="2 unscheduled")).to_be_visible()
    expect(page.get_by_role("row", name="broken")).to_contain_text(re.compile("Delayed|Waiting|Deploying"))


def test_filters_stand_in_the_address_and_come_from_it(ui: Ui) -> None:
    page = ui.open("apps", view="flat")
    page.get_by_role("searchbox", name="Filter by name").fill("sho")
    expect(page.locator("tbody th")).to_have_count(2)
    expect_names(page, "shop/web", "shop/worker")
    page.get_by_role("button", name="healthy", exact=True).click()
    expect(page.locator("tbody th")).to_have_count(1)
    expect(page).to_have_url(re.compile("text=sho.*health=healthy"))
    colleague = ui.open("apps", view="flat", label="team==jobs")
    expect_names(colleague, "shop/worker")
    colleague = ui.open("apps", view="flat", status="Waiting")
    expect(colleague.get_by_role("link", name="stuck", exact=True)).to_be_visible()
    expect(colleague.get_by_role("link", name="shop/web", exact=True)).to_have_count(0)
    ui.go("apps", view="flat", text="nothing-of-the-kind")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_role("row", name="shop/web")).to_be_visible()


def test_a_label_is_a_filter(ui: Ui) -> None:
    page = ui.open("apps", view="flat")
    page.get_by_role("link", name="team: jobs").click()
    expect(page.locator("tbody th")).to_have_count(1)
    expect_names(page, "shop/worker")


def test_columns_sort_and_the_order_stands_in_the_address(ui: Ui) -> None:
    page = ui.open("apps", view="flat")
    page.get_by_role("button", name="CPUs").click()
    expect(page).to_have_url(re.compile("sort=cpus"))
    heading = page.get_by_role("columnheader", name="CPUs")
    expect(heading).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("tbody th").last).to_contain_text("stuck")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody th").first).to_contain_text("stuck")


def test_an_empty_group_says_so(ui: Ui) -> None:
    page = ui.open("apps", "no-such-group")
    expect(page.get_by_text("No application yet")).to_be_visible()


def test_groups_are_created_and_destroyed_with_typed_confirmation(ui: Ui) -> None:
    page = ui.open("apps")
    page.get_by_role("button", name="Create group").click()
    dialog = page.get_by_role("dialog", name="Create group")
    dialog.get_by_role("textbox", name="Name").fill("/made-here")
    dialog.get_by_role("button", name="Create group").click()
    expect(page).to_have_url(re.compile("#/apps/made-here$"))
    page.get_by_role("button", name="Destroy").click()
    dialog = page.get_by_role("dialog", name="Destroy")
    confirm = dialog.get_by_role("button", name="Destroy")
    expect(confirm).to_be_disabled()
    dialog.get_by_role("textbox").fill("/made-here")
    confirm.click()
    expect(page).to_have_url(re.compile("#/apps$|#/apps/$"))
