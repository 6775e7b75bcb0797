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
from tests.support.platform import Platform, platform
from tests.support.waiting import eventually

AGENTS = 20
RESOURCES = "cpus:2000;mem:2000000;disk:2000000;ports:[31000-32000]"
MIB = 1024 * 1024
# Two seconds of scrolling with the wheel's pace; the time between frames in ms.
SCROLL = """async () => {
  const gaps = [];
  let before = performance.now(), top = 0;
  const end = before + 2000;
  while (before < end) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - before);
    before = now;
    scrollTo(0, top += 90);
  }
  return gaps.slice(2).sort((a, b) => a - b);
}"""


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
        f"{'page':24}{'first view':>12}{'rows':>8}{'in the page':>13}{'median frame':>14}{'p95 frame':>11}{'heap':>10}"
    )
    for name, path, query in (
        ("applications, flat", ("apps",), {"view": "flat"}),
        ("applications, grouped", ("apps",), {}),
        ("instances", ("instances",), {}),
        ("overview", (), {}),
    ):
        page = ui.open(*path, **query)
        (page.locator("tbody th") if path else page.locator(".tile")).first.wait_for()
        shown = page.evaluate("performance.getEntriesByName('dromos-first-view')[0].startTime")
        page.wait_for_timeout(2_000)  # the first loads
        gaps = page.evaluate(SCROLL)
        rows = page.get_by_role("table").first.get_attribute("aria-rowcount") if path else "-"
        print(
            f"{name:24}{shown:>9.0f} ms{rows:>8}{page.locator('tbody tr').count():>13}"
            f"{gaps[len(gaps) // 2]:>11.1f} ms{gaps[int(len(gaps) * 0.95)]:>8.1f} ms{heap(page):>6.0f} MiB",
            flush=True,
        )
    assert not ui.wrongs, ui.wrongs


def heap(page: Page) -> float:
    """The tab's JavaScript heap after a collection."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("HeapProfiler.collectGarbage")
    cdp.send("Performance.enable")
    metrics = {item["name"]: item["value"] for item in cdp.send("Performance.getMetrics")["metrics"]}
    return metrics["JSHeapUsedSize"] / MIB


if __name__ == "__main__":
    main()
