"""A cluster of 2,000 applications and 20,000 simulated tasks in a real Chromium: `make ui-large`. Prints a table; takes minutes.

python -m tests.ui.large [--apps N] [--instances N]
"""

import argparse
import tempfile
import time
from pathlib import Path

import requests
from playwright.sync_api import Page

from tests.support.browser import WIDE, Ui, chromium
from tests.support.frames import percentile, scroll_work
from tests.support.platform import Platform, platform
from tests.support.waiting import eventually

AGENTS = 20
RESOURCES = "cpus:2000;mem:2000000;disk:2000000;ports:[31000-32000]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=2_000)
    parser.add_argument("--instances", type=int, default=10, help="of each")
    given = parser.parse_args()
    flags = ("--simulate", "--agents", str(AGENTS))
    with (
        tempfile.TemporaryDirectory() as folder,
        platform(Path(folder), *flags, DROMOS_MESOS_RESOURCES=RESOURCES) as dromos,
    ):
        began = time.monotonic()
        fill(dromos, given.apps, given.instances)
        print(
            f"{given.apps} apps, {given.apps * given.instances} tasks run after {time.monotonic() - began:.0f} s",
            flush=True,
        )
        with chromium() as browser:
            context = browser.new_context(viewport=WIDE, locale="en-GB")
            context.set_default_timeout(120_000)
            measure(Ui(context.new_page(), dromos.api_url))
            context.close()


def fill(dromos: Platform, apps: int, instances: int) -> None:
    one = {"cmd": "x", "cpus": 0.01, "mem": 1, "instances": instances, "portDefinitions": []}
    for first in range(0, apps, 200):
        body = [{"id": f"/group-{n // 100}/app-{n:04}", **one} for n in range(first, min(apps, first + 200))]
        answer = requests.put(f"{dromos.api_url}/v2/apps", json=body, timeout=120)
        assert answer.ok, answer.text[:500]

    def running() -> bool:
        found = requests.get(f"{dromos.api_url}/v2/apps?embed=apps.counts", timeout=120).json()["apps"]
        return sum(app["tasksRunning"] for app in found) == apps * instances

    eventually(running, 600, interval=3, what="all tasks run")


def measure(ui: Ui) -> None:
    print(
        f"{'page':24}{'first view':>12}{'rows':>8}{'in the page':>13}{'frame, median':>15}{'p95':>9}{'most':>9}{'tab':>10}"
    )
    for name, path, query in (
        ("applications, flat", ("apps",), {"view": "flat"}),
        ("applications, grouped", ("apps",), {}),
        ("instances", ("instances",), {}),
        ("overview", (), {}),
        ("events", ("events",), {}),
    ):
        page = ui.load(*path, **query)
        page.locator("tbody th, .tile, .timeline li").first.wait_for()
        shown = page.evaluate("performance.getEntriesByName('dromos-first-view')[0].startTime")
        page.wait_for_timeout(2_000)  # the first loads
        work = scroll_work(page)
        table = page.get_by_role("table")
        rows = table.first.get_attribute("aria-rowcount") if table.count() else "-"
        print(
            f"{name:24}{shown:>9.0f} ms{rows:>8}{page.locator('tbody tr, .timeline li').count():>13}"
            f"{percentile(work, 0.5):>12.1f} ms{percentile(work, 0.95):>6.1f} ms{work[-1]:>6.1f} ms{tab(page):>6.0f} MiB",
            flush=True,
        )
    assert not ui.wrongs, ui.wrongs


def tab(page: Page) -> float:
    """MiB of memory that is the tab's process' alone, after a collection."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("HeapProfiler.collectGarbage")
    assert page.context.browser is not None
    processes = page.context.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return max(private(process["id"]) for process in processes if process["type"] == "renderer")


def private(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


if __name__ == "__main__":
    main()
