"""Pictures of every page, in both themes and at both widths: `make screenshots`, into build/screenshots; `--docs` those of docs/ui.md.

python -m tests.ui.screenshots [--docs] [--only NAME]…
"""

import argparse
import tempfile
import threading
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Page, expect

from tests.support import ui_pages
from tests.support.browser import NARROW, WIDE, Ui, chromium
from tests.support.platform import ROOT, Platform, platform
from tests.support.ui_apps import DATABASE, POD, WORKER, deploy_all, put
from tests.support.waiting import eventually

OUT = ROOT / "build" / "screenshots"
DOCS = ROOT / "docs" / "images"
# Page and theme of what docs/ui.md shows.
SHOWN = {
    ("overview", "light"),
    ("apps", "dark"),
    ("log", "dark"),
    ("edit", "light"),
    ("service", "light"),
    ("autoscaling", "light"),
    ("agents", "light"),
    ("debug", "light"),
    ("pod", "light"),
    ("volumes", "light"),
    ("deployments", "dark"),
}
LONG = "/platform-of-the-department-for-long-names/europe-west/customer-facing/web-frontend-with-a-really-long-name-v2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="take those of docs/ui.md again")
    parser.add_argument("--only", action="append", default=[], help="one page; may be given several times")
    given = parser.parse_args()
    expect.set_options(timeout=30_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        platform(Path(folder), "--agents", "2") as dromos,
        chromium() as browser,
    ):
        prepare(dromos)
        with traffic(dromos):
            context = browser.new_context(viewport=WIDE, locale="en-GB")
            context.set_default_timeout(30_000)
            take_all(Ui(context.new_page(), dromos.api_url), dromos, given.docs, given.only)
            if not given.only:
                take_chinese(Ui(context.new_page(), dromos.api_url), dromos, given.docs)
            context.close()
    print(f"{DOCS if given.docs else OUT}")


def prepare(dromos: Platform) -> None:
    deploy_all(dromos)
    for name in ("payments/api", "payments/ledger", "search/index", "search/query", "internal/mail"):
        put(dromos, {**WORKER, "id": f"/{name}", "labels": {"team": name.split("/")[0]}})
    put(
        dromos,
        {**WORKER, "id": LONG, "labels": {"a-label-with-a-long-name": "and-a-value-that-does-not-end-soon-either"}},
    )
    put(dromos, {**DATABASE, "instances": 2})
    eventually(lambda: dromos.get("/v2/apps/prod/db")["app"]["tasksRunning"] == 2, 60)
    put(dromos, {"id": "/prod/db", "instances": 1})  # one volume in use, one that waits
    put(dromos, {**WORKER, "id": "/internal/mail", "instances": 4})
    eventually(lambda: dromos.get("/v2/apps/internal/mail")["app"]["tasksRunning"] == 4, 60)
    tried = {**WORKER, "id": "/internal/mail", "instances": 4, "cmd": "sleep 200000"}
    put(dromos, tried, strategy="canary", share="25%")
    for pod_id, instances in (("/teams/batch", 0), (f"{LONG}-as-a-pod", 1)):
        pod = {**POD, "id": pod_id, "scaling": {"kind": "fixed", "instances": instances}}
        requests.post(f"{dromos.api_url}/v2/pods", json=pod, timeout=30).raise_for_status()
    put(dromos, {**WORKER, "id": "/shop/worker", "mem": 48})
    put(dromos, {**WORKER, "id": "/shop/worker", "mem": 32, "env": {"MODE": "fast"}})
    eventually(lambda: dromos.edge("web.localhost").status_code == 200, 60)


class traffic:  # noqa: N801
    """Requests to /shop/web, some of which are not found, as long as the block lasts."""

    def __init__(self, dromos: Platform) -> None:
        self._dromos, self._over = dromos, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        sent = 0
        while not self._over.wait(0.02 if sent % 200 < 120 else 0.06):
            sent += 1
            try:
                self._dromos.edge("web.localhost", "/" if sent % 9 else "/missing")
            except requests.RequestException:
                continue


def take_all(ui: Ui, dromos: Platform, docs: bool, only: list[str]) -> None:
    for theme in ("light", "dark"):
        for width, size in (("1440", WIDE), ("360", NARROW)):
            wanted = [name for name in pages(dromos) if not only or name in only]
            if docs:
                wanted = [name for name in wanted if width == "1440" and (name, theme) in SHOWN]
            if not wanted:
                continue
            ui.page.set_viewport_size(size)
            ui.open(theme=theme)
            for name in wanted:
                path, query, prepared = pages(dromos)[name]
                ui.go(*path, **query)
                ready(ui.page)
                if prepared:
                    prepared(ui.page)
                    ready(ui.page)
                folder = DOCS if docs else OUT / f"{theme}-{width}"
                folder.mkdir(parents=True, exist_ok=True)
                ui.page.screenshot(path=folder / f"{'ui-' if docs else ''}{name}.png", animations="disabled")
                ui.page.keyboard.press("Escape")
            print(f"{theme} {width}: {len(wanted)}", flush=True)


def take_chinese(ui: Ui, dromos: Platform, docs: bool) -> None:
    ui.page.set_viewport_size(WIDE)
    folder = DOCS if docs else OUT / "chinese-1440"
    folder.mkdir(parents=True, exist_ok=True)
    ui.open(language="zh")
    for name, (path, query) in ui_pages.pages(dromos).items():
        if docs and name != "overview":
            continue
        ui.show(path, query)
        ready(ui.page)
        ui.page.screenshot(path=folder / (f"ui-{name}-zh.png" if docs else f"{name}.png"), animations="disabled")


def ready(page: Page) -> None:
    expect(page.locator("main").filter(has_text="connecting")).to_have_count(0)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(400)  # what is asked for by the page itself


def pages(dromos: Platform) -> dict[str, Any]:
    """Name -> (path, query, what is done on the page first)."""
    task = dromos.tasks("/shop/web")[0]
    broken = dromos.get("/v2/apps/broken?embed=app.lastTaskFailure")["app"]["lastTaskFailure"]
    service = next(one["name"] for one in dromos.get("/v2/services")["services"] if one["app"] == "/shop/web")
    app: tuple[str, ...] = ("app", "shop", "web")
    long = ("app", *LONG.strip("/").split("/"))

    def press(name: str) -> Any:
        return lambda page: page.get_by_role("button", name=name, exact=True).click()

    def refused(page: Page) -> None:
        page.get_by_role("button", name="Create application").click()
        page.get_by_label("JSON").fill('{"id": "/NOT an id", "cmd": "x", "cpus": -1, "mem": 64, "instances": 1}')
        page.get_by_role("dialog").get_by_role("button", name="Create application").click()
        page.locator(".field-error").first.wait_for()

    def changed(page: Page) -> None:
        press("Edit")(page)
        page.get_by_label("Memory").fill("64")

    def pod_changed(page: Page) -> None:
        press("Edit")(page)
        source = page.get_by_label("JSON")
        source.fill(source.input_value().replace("100000", "200000"))

    def older(page: Page) -> None:
        page.locator(".versions button").nth(1).click()
        page.locator(".changes").wait_for()

    def charted(page: Page) -> None:
        page.locator(".chart canvas").first.wait_for()
        page.wait_for_timeout(12_000 if "service" not in page.url or page.viewport_size == WIDE else 500)

    def searched(page: Page) -> None:
        page.keyboard.press("/")
        page.get_by_role("searchbox").last.fill("sho")

    def forced(page: Page) -> None:
        press("Restart")(page)
        page.get_by_role("dialog").get_by_role("button", name="Restart").click()
        page.get_by_role("button", name="Force").wait_for()

    return {
        "overview": ((), {}, None),
        "apps": (("apps",), {}, None),
        "apps-flat": (("apps",), {"view": "flat"}, None),
        "apps-empty": (("apps", "nothing"), {}, None),
        "apps-no-match": (("apps",), {"text": "zzz"}, None),
        "app": (app, {}, None),
        "app-long": (long, {}, None),
        "configuration": (("app", "shop", "worker"), {"tab": "configuration"}, older),
        "autoscaling": (app, {"tab": "autoscaling"}, None),
        "debug": (("app", "stuck"), {"tab": "debug"}, None),
        "failure": (("app", "broken"), {"tab": "debug"}, None),
        "volumes": (("app", "prod", "db"), {"tab": "volumes"}, None),
        "wipe": (
            ("app", "prod", "db"),
            {"tab": "volumes"},
            lambda page: page.get_by_role("button", name="Wipe").first.click(),
        ),
        "no-volumes": (app, {"tab": "volumes"}, None),
        "statistics": (app, {"tab": "debug"}, None),
        "pods": (("pods",), {}, None),
        "pod": (("pod", "teams", "pair"), {}, None),
        "pod-long": (("pod", *f"{LONG}-as-a-pod".strip("/").split("/")), {}, None),
        "pod-container": (("pod", "teams", "pair"), {}, lambda page: page.get_by_role("link", name="sidecar").click()),
        "pod-edit": (("pod", "teams", "pair"), {}, pod_changed),
        "pod-create": (("pods",), {}, press("Create pod")),
        "app-events": (("app", "broken"), {"tab": "events"}, None),
        "edit": (app, {}, changed),
        "refused": (("apps",), {}, refused),
        "destroy": (app, {}, press("Destroy")),
        "force": (("app", "stuck"), {}, forced),
        "deployments": (("deployments",), {}, None),
        "events": (("events",), {}, None),
        "instances": (("instances",), {}, None),
        "log": (("instance", task["id"]), {"app": "/shop/web", "tab": "stderr"}, None),
        "files": (("instance", task["id"]), {"app": "/shop/web", "tab": "files"}, None),
        "ended": (
            ("instance", broken["taskId"]),
            {"app": "/broken", "agent": broken["slaveId"], "tab": "stderr"},
            None,
        ),
        "agents": (("agents",), {}, None),
        "agent": (("agents", task["slaveId"]), {}, None),
        "services": (("services",), {}, None),
        "service": (("services", service), {}, charted),
        "search": ((), {}, searched),
        "help": ((), {}, lambda page: page.keyboard.press("?")),
        "scale": (app, {}, press("Scale")),
        "chosen": (app, {}, lambda page: page.get_by_role("checkbox").nth(1).check()),
        "missing": (("nowhere",), {}, None),
    }


if __name__ == "__main__":
    main()
