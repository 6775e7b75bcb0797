"""What is around the applications: agents, services, the autoscaler, the daemons."""

import os
import re
import signal

import pytest
from playwright.sync_api import expect

from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import DATABASE, SCRIPT, WORKER, delete, put, unlocked
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


def test_agents_show_what_they_have_and_are_drained_and_brought_back(ui: Ui, dromos: Platform) -> None:
    put(dromos, DATABASE)
    eventually(lambda: dromos.get("/v2/apps/prod/db")["app"]["tasksRunning"] == 1, 60)
    where = dromos.tasks("/prod/db")[0]["slaveId"]
    [agent] = [one for one in dromos.get("/v2/agents")["agents"] if one["id"] == where]
    page = ui.open("agents")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first.get_by_role("img", name=re.compile("CPUs: .* . 8"))).to_be_visible()
    page.get_by_title(agent["id"]).first.click()
    expect(page.locator(".facts")).to_contain_text(agent["id"])
    page.get_by_role("button", name="Drain").click()
    dialog = page.get_by_role("dialog", name="Drain")
    expect(dialog).to_contain_text("are stopped and start elsewhere")
    dialog.get_by_role("button", name="Drain").click()
    expect(page.locator(".facts").get_by_text("drained")).to_be_visible()
    expect(page.get_by_text("No instance runs here.")).to_be_visible()
    ui.go()
    expect(page.get_by_role("link", name=re.compile("drained: 1"))).to_be_visible()
    # Where its data is, and nowhere else, it is to run again.
    ui.go("app", "prod", "db", tab="debug")
    expect(page.get_by_text("waits for an offer of 127.0.0.1, where its volumes are")).to_be_visible()
    ui.go("agents", agent["id"])
    page.get_by_role("button", name="Back into service").click()
    expect(page.locator(".facts").get_by_text("active")).to_be_visible()
    eventually(lambda: dromos.get("/v2/apps/shop/web")["app"]["tasksHealthy"] == 2, 60)
    expect(page.get_by_role("link", name="/prod/db").first).to_be_visible()
    delete(dromos, "/prod/db")


def test_services_are_shown_with_their_route_and_traffic(ui: Ui, dromos: Platform) -> None:
    eventually(lambda: dromos.edge("web.localhost").status_code == 200, 60)
    page = ui.open("services")
    row = page.get_by_role("row").filter(has_text="web.localhost")
    expect(row).to_contain_text("Consul")
    expect(row).to_contain_text("edge")
    row.get_by_role("link").first.click()
    expect(page.locator(".facts").get_by_role("link", name="/shop/web")).to_be_visible()
    expect(page.get_by_role("table", name="Instances").get_by_text("healthy", exact=True)).to_have_count(2)
    rate = page.locator(".chart").filter(has_text="Requests/s").locator("figcaption b")

    def measured() -> bool:
        for _ in range(5):
            dromos.edge("web.localhost")
        return rate.count() == 1 and float(rate.inner_text()) > 0

    eventually(measured, 60, interval=0.3)
    expect(page.locator(".chart canvas")).to_have_count(3)
    expect(page.locator(".chart").filter(has_text="Latency")).to_contain_text("p99")
    # What the charts hold is gone with the tab, and the page says so.
    expect(page.get_by_text(re.compile("what this tab has measured since .*Prometheus keeps more"))).to_be_visible()


def test_autoscaling_shows_demand_supply_bounds_and_the_journal(ui: Ui, dromos: Platform) -> None:
    eventually(lambda: dromos.get("/v2/autoscale/journal?app=/shop/web")["journal"], 60)
    page = ui.open("app", "shop", "web", tab="autoscaling")
    chart = page.locator(".chart")
    for part in ("demand", "supply", "least 2", "most 4"):
        expect(chart).to_contain_text(part)
    expect(chart.locator("canvas")).to_be_visible()
    entries = page.get_by_role("table", name="Journal").locator("tbody tr")
    expect(entries.first).to_be_visible()
    expect(entries.first.locator("td").last).not_to_be_empty()
    ui.go("app", "shop", "worker", tab="autoscaling")
    expect(page.get_by_text("This application is not autoscaled")).to_be_visible()


def test_the_overview_shows_every_daemon_and_the_leader(ui: Ui, dromos: Platform) -> None:
    page = ui.open()
    for daemon in ("framework", "mesos", "consul", "registrator", "edge", "autoscale"):
        expect(page.locator(".daemons li").filter(has_text=daemon)).to_contain_text("well")
    expect(page.get_by_text(dromos.get("/v2/leader")["leader"])).to_be_visible()


def test_the_overview_names_a_daemon_that_does_not_answer(ui: Ui, dromos: Platform) -> None:
    page = ui.open()
    pid = dromos.daemon_pid("autoscale")
    os.kill(pid, signal.SIGSTOP)
    try:
        attention = page.locator(".card").filter(has=page.get_by_role("heading", name="Needs attention"))
        expect(attention.get_by_role("listitem").filter(has_text="autoscale")).to_contain_text("is not healthy")
    finally:
        os.kill(pid, signal.SIGCONT)
    expect(page.locator(".daemons li").filter(has_text="autoscale")).to_contain_text("well")


def test_history_is_compared_and_rolled_back(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**WORKER, "id": "/changed"})
    unlocked(dromos, "/changed")
    before = len(dromos.get("/v2/apps/changed/versions")["versions"])  # one of that name may have been there before
    put(dromos, {"id": "/changed", "instances": 0, "mem": 40})
    unlocked(dromos, "/changed")
    page = ui.open("app", "changed", tab="configuration")
    versions = page.locator(".versions button")
    expect(versions).to_have_count(before + 1)
    versions.nth(1).click()
    change = page.get_by_role("row", name="/mem")
    expect(change.locator("del")).to_have_text("40")
    expect(change.locator("ins")).to_have_text("32")
    page.get_by_role("button", name="Edit as a new version").click()
    draft = page.get_by_role("dialog", name="Edit /changed")
    expect(draft.get_by_label("Memory")).to_have_value("32")
    expect(draft.get_by_role("row", name="/mem").locator("ins")).to_have_text("32")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Roll back to this version").click()
    page.get_by_role("dialog", name="Roll back").get_by_role("button", name="Roll back").click()
    eventually(lambda: dromos.get("/v2/apps/changed")["app"]["mem"] == 32, 60)
    eventually(lambda: dromos.get("/v2/apps/changed")["app"]["tasksRunning"] == 1, 60)
    delete(dromos, "/changed")


def test_debug_says_in_plain_words_why_it_waits(ui: Ui) -> None:
    page = ui.open("app", "stuck", tab="debug")
    expect(page.get_by_text(re.compile("too few CPUs free"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ offers looked at"))).to_be_visible()
    ui.go("app", "shop", "worker", tab="debug")
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    expect(page.get_by_text("No instance has failed.")).to_be_visible()
    ui.go("app", "shop", "web", tab="debug")
    statistics = page.get_by_role("table", name="Statistics")
    expect(statistics.get_by_role("row", name="of the current configuration").get_by_role("cell").first).to_have_text(
        "2"
    )


def test_volumes_are_listed(ui: Ui, dromos: Platform) -> None:
    page = ui.open("app", "shop", "web", tab="volumes")
    expect(page.get_by_text("This application has no volumes.")).to_be_visible()
    assert SCRIPT not in page.content()
